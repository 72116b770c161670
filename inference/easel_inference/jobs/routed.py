"""A job of a GenerationClass: each item goes to the backend that the class prefers at that moment, and to the next one if it may.

Before money is spent it is reserved, and the manifest says that the item was submitted; so an item whose end nobody heard of is never
asked for again, whoever takes the job over.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from easel_api.errors import (
    AmbiguousSubmit,
    BilledBadOutput,
    BudgetSpent,
    Cancelled,
    CapacityQueued,
    EaselError,
    Throttled,
    Unsupported,
)
from easel_api.offers import in_words
from easel_inference.backends.base import Backend, Cancellable, OnEvent, Paid, PaidBlock, Result, Resumable, StillOut
from easel_inference.generation import Chosen, GenerationRequest, Handed, Inputs, Message, Submitted
from easel_inference.routing.breaker import AT_ONCE, CLOSED, Breaker
from easel_inference.routing.decision import Decision, Fallback, Now, decide
from easel_inference.routing.plan import Candidate, Plan
from easel_inference.routing.request import Resolved

from .turns import NoTurn, Turns
from .wallet import BILLED, NONE, LedgerAway, Wallet

_log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""How long an attempt waits in all for Providers that rest or ask to slow down, and for each turn to call one; nobody works meanwhile."""
NOT_TRIED = frozenset({Throttled.reason, BudgetSpent.reason, CapacityQueued.reason})
"""Errors behind which nobody knows how fast a backend is, and another item may try it."""
LOOK_AGAIN_SECONDS = 1.0
WAKES_SECONDS = 0.25
"""Between two looks at an own model that is about to come."""
FORGET_SECONDS = 60.0
"""How long it counts that a backend was left out, while nobody else is there: a new day may have begun."""
MONEY_SECONDS = 5.0
"""Between two questions for money that a Provider had none of; each reads the ledger."""
LONGEST_PAUSE_SECONDS = 30.0
"""Between two tries of a Provider while an own model may come."""
QUEUED_SECONDS = 60.0
"""How long a queue that was seen counts: while all items go elsewhere nobody sees it shrink."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """The team's own model of a job, as far as it is known at a moment."""

    backend: Backend
    """Raises `CapacityQueued` when there is no replica."""
    ready: Callable[[], bool]
    """Whether a replica serves."""


@dataclass(slots=True)
class _State:
    """What this worker knows of a backend."""

    breaker: Breaker = CLOSED
    run_seconds: float | None = None
    queued: float = 0.0
    """What the last result waited in the engine."""
    queued_at: float = float("-inf")
    mend: EaselError | None = None
    """What a person must mend before it is of use again."""
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Cloud:
    """A candidate of a Provider: who makes it, how many at a time, and how fast."""

    provider: str
    client: Callable[[], Backend]
    """Made when it is first needed; raises what is wrong with its settings."""
    max_concurrent: int
    per_minute: int | None


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A call that an earlier worker made, and whose end nobody has heard of."""

    backend: str
    handle: str
    price: Decimal | None
    """None: nobody knows."""
    settled: bool = False
    """It ended with a result, which is paid for and lies at the provider alone."""


class RoutedBackend:
    """Makes items by the class's policy. Safe for many threads."""

    def __init__(
        self,
        plan: Plan,
        fallback: Fallback,
        own: Mapping[str, OwnModel],
        clouds: Mapping[str, Cloud],
        wallet: Wallet,
        items: int,
        ended: threading.Event,
        job: str = "",
        outstanding: Mapping[str, Outstanding] | None = None,
    ) -> None:
        """`items` is how many the job still has to make; `ended` is set once it has failed, and nothing more shall be bought.

        `job` is its uid; `outstanding` has, by item, the calls of an earlier worker that are still out.
        """
        self.ended, self._job = ended, job
        self._outstanding = dict(outstanding or {})
        self._out: dict[str, tuple[str, str]] = {}
        """By item: backend and handle of calls that have not ended."""
        self.plan, self.fallback, self.own, self.clouds, self.wallet = plan, fallback, own, clouds, wallet
        self._left = items
        self._clients: dict[str, Backend] = {}
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._states = {name: _State() for name in (*(each.name for each in plan.candidates), *clouds)}
        self._turns = {
            cloud.provider: Turns(cloud.max_concurrent, cloud.per_minute, wallet.purses[cloud.provider].share)
            for cloud in clouds.values()
        }

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. An attempt ends when no other backend may have it."""
        with self._lock:
            self._left -= 1
            earlier = self._outstanding.pop(request.id, None)
        attempt = _Attempt(self, request, inputs, on_event, stop)
        try:
            result = attempt.run() if earlier is None else attempt.go_on(earlier)
        except StillOut:
            raise
        except BaseException:
            self._ended(request.id)
            raise
        self._ended(request.id)
        return result

    def _ended(self, item: str) -> None:
        with self._lock:
            self._out.pop(item, None)

    def decide(self, failures: Mapping[str, EaselError], out: Mapping[str, EaselError], dice: float) -> Decision:
        """Who makes an item that failed in some places, and is out of others for a reason that is no failure; `dice` as for `routing.decide`."""
        left = self.wallet.left()
        with self._lock:
            return self._decided(failures, out, dice, left)

    def begin(self, failures: Mapping[str, EaselError], out: Mapping[str, EaselError], dice: float) -> Decision:
        """The same for an item that goes there at once: of many threads one alone is the first to try a backend."""
        left = self.wallet.left()
        with self._lock:
            decision = self._decided(failures, out, dice, left)
            if decision.chosen is not None and self.away(decision.chosen) is None:
                self._states[decision.chosen.name].tried = True
            return decision

    def _decided(
        self, failures: Mapping[str, EaselError], out: Mapping[str, EaselError], dice: float, left: Decimal | None
    ) -> Decision:
        known = {name: self._now(name, state, failures, out) for name, state in self._states.items()}
        return decide(self.plan, known, self.fallback, now=time.monotonic(), budget_left=left, dice=dice)

    def away(self, chosen: Candidate | None) -> OwnModel | None:
        """It, if it is an own model without a replica."""
        own = self.own[chosen.name] if chosen is not None and chosen.own else None
        return None if own is None or own.ready() else own

    def _now(self, name: str, state: _State, failures: Mapping[str, EaselError], out: Mapping[str, EaselError]) -> Now:
        failure = failures[name].reason if name in failures else ""
        obstacle = _told(out[name]) if name in out else ""
        if not obstacle and name not in self.own:
            obstacle = _to_mend(state)
        common = Now(run_seconds=state.run_seconds, tried=state.tried, failure=failure)
        if name not in self.own:
            return replace(common, breaker=state.breaker, obstacle=obstacle)
        if self.own[name].ready():
            fresh = time.monotonic() - state.queued_at < QUEUED_SECONDS
            return replace(common, wait_seconds=state.queued if fresh else 0.0)
        wait = 0.0 if self.wakes() else float("inf")
        return replace(common, ready=False, wait_seconds=wait, obstacle=obstacle)

    def wakes(self) -> bool:
        """Whether the class still waits for its own model to wake."""
        limit = self.fallback.wake_seconds
        return limit is not None and time.monotonic() - self._began < limit

    def rest(self, but: Container[str]) -> float | None:
        """Seconds until a Provider that rests may be tried; None when none does, or only those that a person must mend."""
        now = time.monotonic()
        with self._lock:
            breakers = [self._states[name].breaker for name in self.clouds if name not in but]
        return min((left for each in breakers if (left := _rest_of(each, now)) > 0), default=None)

    def too_dear(self) -> bool:
        """Whether a candidate costs more than is left of the job's budget."""
        left = self.wallet.left()
        return left is not None and any(each.price is not None and each.price > left for each in self.plan.candidates)

    def to_mend(self) -> EaselError | None:
        """What keeps a Provider from making anything until a person acts."""
        return next((each.mend for each in self._states.values() if each.mend), None)

    def make(self, chosen: Candidate, attempt: _Attempt) -> Result:
        """By the chosen one; what it says of itself is remembered."""
        state = self._states[chosen.name]
        with self._lock:
            state.breaker = state.breaker.tried(time.monotonic())
        began = time.monotonic()
        try:
            if chosen.own:
                result = self.own[chosen.name].backend.generate(
                    attempt.request, attempt.inputs, attempt.on_event, attempt.stop
                )
            else:
                result = self._bought(chosen, attempt)
        except (LedgerAway, NoTurn):  # they say nothing of the backend
            with self._lock:
                state.breaker = replace(state.breaker, probe=None)
                state.tried = state.run_seconds is not None
            raise
        except EaselError as error:
            wait = error.retry_after if isinstance(error, Throttled) else None
            # A spent budget says nothing of the backend, and is none of the reasons that a breaker counts.
            with self._lock:
                state.breaker = state.breaker.failed(error.reason, time.monotonic(), wait)
                if error.reason in AT_ONCE:
                    state.mend = error
                if error.reason in NOT_TRIED:
                    state.tried = state.run_seconds is not None
            self._tell(chosen, state.breaker)
            raise
        now, queued = time.monotonic(), result.finished.timings.queued
        # Without the queue of an own model, which is counted apart and is over some day; with a Provider's turn, which is all that tells of it.
        took = max(0.0, now - began - queued)
        with self._lock:
            state.breaker = state.breaker.succeeded(now)
            if now >= state.breaker.open_until:  # else it began before the fault
                state.mend = None
            state.queued, state.queued_at = queued, now
            state.run_seconds = took if state.run_seconds is None else 0.8 * state.run_seconds + 0.2 * took
        return result

    def _bought(self, chosen: Candidate, attempt: _Attempt) -> Result:
        cloud, price = self.clouds[chosen.name], chosen.price if chosen.price is not None else NONE
        client = self._client(chosen.name)
        with self._turns[cloud.provider].one(attempt.check, PATIENCE_SECONDS):
            self._heed(chosen)
            self.wallet.take(cloud.provider, price, max(0, self._left))
            told = "" if chosen.price is None else in_words(price)
            try:
                attempt.on_event(Message(Submitted(backend=chosen.name, price=told)))
            except BaseException:  # it was not kept, so that no call is made
                self.wallet.settle(cloud.provider, price, NONE)
                raise
            request = attempt.request.model_copy(update={"id": self._token(attempt.request.id)})
            result = self.wallet.called(
                cloud.provider,
                price,
                lambda: client.generate(request, attempt.inputs, self._following(chosen.name, attempt), attempt.stop),
                attempt.on_event,
            )
        return self._paid(chosen, result)

    def _heed(self, chosen: Candidate) -> None:
        """Leaves a model alone that another worker was asked to leave alone."""
        provider, _, model = chosen.name.partition("/")
        left = self.wallet.purses[provider].rests(model)
        if left > 0:
            raise Throttled("another worker was told to wait", where=chosen.name, retry_after=left)

    def _tell(self, chosen: Candidate, breaker: Breaker) -> None:
        """Has other workers leave it alone, too. What a person must mend each finds out by itself, since it may be mended by now."""
        left = max(breaker.open_until, breaker.paused_until) - time.monotonic()
        if left > 0 and not chosen.own and breaker.reason not in AT_ONCE:
            provider, _, model = chosen.name.partition("/")
            self.wallet.purses[provider].tell(model, left, breaker.reason or Throttled.reason)

    def _paid(self, chosen: Candidate, result: Result) -> Result:
        cost = chosen.price if result.billed is None else result.billed
        return Result(result.finished, result.payload, chosen.name, Paid(chosen.resolved, cost))

    def _token(self, item: str) -> str:
        """What a provider may know the call by: of this job and item, and of no other try."""
        return f"{self._job}.{item}.{secrets.token_hex(4)}"

    def _following(self, backend: str, attempt: _Attempt) -> OnEvent:
        """Passes events on, and remembers under which handle a call is out."""

        def hear(message: Message) -> None:
            if isinstance(message.event, Handed):
                with self._lock:
                    self._out[attempt.request.id] = (backend, message.event.handle)
            attempt.on_event(message)

        return hear

    def asker(self, call: Outstanding) -> Resumable:
        """Who can be asked for the result of a call that an earlier worker made. What is raised here says nothing of the call, which is still out."""
        if call.backend not in self.clouds:
            raise AmbiguousSubmit(
                "an earlier worker made the call, and the Provider is gone or offers the model no more",
                where=call.backend,
                found=call.handle[:200],
                fix="Look at the account's usage; another job makes it anew",
            )
        client = self._client(call.backend)
        assert isinstance(client, Resumable)  # noqa: S101 - others never tell a handle
        return client

    def resume(self, call: Outstanding, client: Resumable, attempt: _Attempt) -> Result:
        """The result of that call."""
        chosen = next(
            (each for each in self.plan.candidates if each.name == call.backend),
            Candidate(call.backend, own=False, resolved=Resolved(), price=call.price),
        )
        with self._lock:
            self._out[attempt.request.id] = (call.backend, call.handle)
        if call.settled:
            result = client.resume(call.handle, attempt.request, attempt.on_event, attempt.stop)
            return self._paid(replace(chosen, price=call.price), replace(result, billed=None))
        result = self.wallet.called(
            self.clouds[call.backend].provider,
            NONE if call.price is None else call.price,
            lambda: client.resume(call.handle, attempt.request, attempt.on_event, attempt.stop),
            attempt.on_event,
        )
        return self._paid(replace(chosen, price=call.price), result)

    def call_off(self) -> None:
        """Has providers stop what is still out, where they can: the job is over, and nobody will ask for it."""
        with self._lock:
            out = dict(self._out)
        for item, (backend, handle) in out.items():
            client = self._client(backend)
            if isinstance(client, Cancellable):
                try:
                    client.cancel(handle)
                except EaselError as error:
                    _log.warning("item %s: %s could not be told to stop: %s", item, backend, error.reason)
                else:
                    _log.info("item %s: %s was told to stop", item, backend)

    def _client(self, name: str) -> Backend:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self.clouds[name].client()
            return self._clients[name]


def _told(error: EaselError) -> str:
    """Why a backend is left out, in the words of a manifest: of money with the window that is spent."""
    return str(error) if isinstance(error, BudgetSpent) else error.what


def _to_mend(state: _State) -> str:
    """What a person must mend there, while it rests for that; without what was found, which is for the job's own failure."""
    breaker, mend = state.breaker, state.mend
    if mend is None or breaker.reason not in AT_ONCE or time.monotonic() >= breaker.open_until:
        return ""
    text = f"{mend.where}: {mend.what}" if mend.where else mend.what
    return f"{text}. {mend.fix}" if mend.fix else text


def _rest_of(breaker: Breaker, now: float) -> float:
    """Seconds; 0 for one that does not rest, or that a person must mend. Behind a rest one request tries first."""
    if breaker.reason in AT_ONCE and now < breaker.open_until:
        return 0.0
    left = max(breaker.open_until, breaker.paused_until) - now
    return left if left > 0 else (LOOK_AGAIN_SECONDS if breaker.obstacle(now) else 0.0)


class _Attempt:
    """One item on its way through the backends of a class."""

    def __init__(
        self,
        backend: RoutedBackend,
        request: GenerationRequest,
        inputs: Inputs,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self.request, self.inputs, self.on_event, self.stop = request, inputs, on_event, stop
        self._backend = backend
        self._failures: dict[str, EaselError] = {}
        self._left_out: dict[str, EaselError] = {}
        """Backends without money or a replica for it, by what said so: nothing failed there."""
        self._left_out_at = time.monotonic()
        self._dice = random.random()  # noqa: S311 - weights of a trial; one that is drawn is waited for
        self._told: Chosen | None = None
        self._waited = 0.0
        """Seconds for which nobody worked."""
        self._tries = 0
        """Of Providers, while an own model may come."""
        self._settled = self._short_at = 0
        """Calls that had ended before the last decision, and before the last one by which a Provider had no money."""

    def run(self) -> Result:
        while not self.ended:
            self._settled = self._backend.wallet.settled
            decision = self._backend.begin(self._failures, self._left_out, self._dice)
            chosen = decision.chosen
            away = self._backend.away(chosen)
            self._tell(decision, waits=away is not None)
            if chosen is None:
                self._wait(decision)
            elif away is not None:
                self._await_own()
            else:
                began = time.monotonic()
                try:
                    result = self._backend.make(chosen, self)
                except EaselError as error:
                    self._failed(chosen, error, time.monotonic() - began)
                else:
                    return result
        raise Cancelled("the job was stopped")

    def _tell(self, decision: Decision, *, waits: bool) -> None:
        """Who is to make it, and why no other, where that is not what was told last; `waits` for an own model that is away."""
        chosen, others = decision.chosen, {**decision.skipped, **self._backend.plan.refused}
        if chosen is None or waits:
            away = {chosen.name: "it has no replica that serves, and is waited for"} if chosen else {}
            told = Chosen(backend="", selected_reason="", passed_over=away | others)
        else:
            told = Chosen(backend=chosen.name, selected_reason=decision.reason, passed_over=others)
        if told != self._told:
            self._told = told
            self.on_event(Message(told))

    def go_on(self, earlier: Outstanding) -> Result:
        """With the call of an earlier worker; when that ended without a result and a bill, with any backend."""
        client = self._backend.asker(earlier)
        try:
            return self._backend.resume(earlier, client, self)
        except Cancelled:
            raise
        except EaselError as error:
            if earlier.settled:
                raise BilledBadOutput(
                    "the provider does not give the result again", where=earlier.backend, found=error.reason
                ) from error
            if error.reason in BILLED or isinstance(error, PaidBlock):
                raise
            if not error.retryable:
                if error.reason not in self._backend.fallback.failures:
                    raise
                self._failures[earlier.backend] = error
            _log.warning("item %s: the earlier call failed: %s", self.request.id, error.reason)
        return self.run()

    @property
    def ended(self) -> bool:
        """Whether the job was stopped, or has failed."""
        return self.stop.is_set() or self._backend.ended.is_set()

    def check(self) -> None:
        """Raises `Cancelled` when it is of no use to go on."""
        if self.ended:
            raise Cancelled("the job was stopped")

    @property
    def _late(self) -> bool:
        return self._waited >= PATIENCE_SECONDS

    def _pause(self, seconds: float) -> None:
        """What counts as waiting in vain."""
        began = time.monotonic()
        self.stop.wait(min(seconds, LOOK_AGAIN_SECONDS))
        self._waited += time.monotonic() - began

    def _await_own(self) -> None:
        """Waits a moment for an own model that has no replica, however long it takes.

        Meanwhile a Provider may be of use again: it has rested, or has money for a new day.
        """
        if time.monotonic() - self._left_out_at >= FORGET_SECONDS:
            self._forget()
        self.stop.wait(WAKES_SECONDS if self._backend.wakes() else LOOK_AGAIN_SECONDS)

    def _wait(self, decision: Decision) -> None:
        """Until a Provider that rests may be tried again, or a call under way has left some of its money; raises when there is none."""
        left, wallet = self._backend.rest(self._out), self._backend.wallet
        if left is not None and not self._late:
            self._pause(left)
            if time.monotonic() - self._left_out_at >= FORGET_SECONDS:
                self._forget()
        elif self._failures:
            raise self._nobody(decision)
        elif any(isinstance(each, NoTurn) for each in self._left_out.values()):
            self._forget()  # its next turn may come
        elif self._lacks_money() and (wallet.underway or wallet.settled != self._short_at):
            self.stop.wait(MONEY_SECONDS)
            self._forget()
        elif self._backend.too_dear() and (wallet.held or wallet.settled != self._settled):
            self.stop.wait(LOOK_AGAIN_SECONDS)
        else:
            raise self._nobody(decision)

    def _lacks_money(self) -> bool:
        """Whether a Provider was left out since it had none."""
        return any(isinstance(each, BudgetSpent) for each in self._left_out.values())

    def _forget(self) -> None:
        """Has those looked at again that were left out."""
        self._left_out.clear()
        self._left_out_at = time.monotonic()

    @property
    def _out(self) -> frozenset[str]:
        return frozenset(self._failures) | frozenset(self._left_out)

    def _leave_out(self, chosen: Candidate, error: EaselError) -> None:
        self._left_out[chosen.name] = error
        self._dice = random.random()  # noqa: S311 - among the others
        self._left_out_at = time.monotonic()

    def _failed(self, chosen: Candidate, error: EaselError, seconds: float) -> None:
        """Returns when another backend may have the item, or the same one later; raises the error when none may."""
        match error:
            case BudgetSpent():
                self._short_at = self._settled
                self._leave_out(chosen, error)
            case PaidBlock():
                raise error  # another would be paid for the same item
            case LedgerAway() if not self._late:
                self._waited += seconds
                self._pause(LOOK_AGAIN_SECONDS)  # says nothing of the Provider
            case NoTurn():
                # No failure of the item either: it waits on, unless somebody else may have it.
                if self._goes_on(error, chosen, self._next(error, chosen)):
                    self._leave_out(chosen, error)
            case Throttled() if not self._late and not chosen.own:
                pass  # no failure of the model: its breaker knows for how long it is left alone
            case CapacityQueued() if chosen.own and not self._late:
                # Its last replica is gone: no failure of the item, which may go elsewhere if the class says so.
                if error.reason in self._backend.fallback.failures:
                    self._leave_out(chosen, error)
                self._waited += seconds
                self._pause(0.1)
            case _:
                self._tries_again_or_leaves(chosen, error)

    def _tries_again_or_leaves(self, chosen: Candidate, error: EaselError) -> None:
        self._dice = random.random()  # noqa: S311 - among the others
        after = self._next(error, chosen)
        if error.retryable and not self._late and (own := self._backend.away(after)) is not None:
            # The Provider may be well the next time, and the own model there: the item goes to whoever can make it first.
            self._tries += 1
            until = time.monotonic() + min(2.0 ** (self._tries - 1), LONGEST_PAUSE_SECONDS)
            while (left := until - time.monotonic()) > 0 and not (self.ended or own.ready()):
                self._pause(left)
            return
        self._failures[chosen.name] = error
        if not self._goes_on(error, chosen, after):
            raise error
        _log.warning("item %s: %s failed: %s; another may have it", self.request.id, chosen.name, error.reason)

    def _next(self, error: EaselError, failed: Candidate) -> Candidate | None:
        """Who would have the item after this error; None where the class lets it go nowhere, or nobody is there."""
        if error.reason not in self._backend.fallback.failures:
            return None
        after = self._backend.decide(self._failures | {failed.name: error}, self._left_out, self._dice).chosen
        return None if after is None or after.name in (failed.name, *self._failures) else after

    def _goes_on(self, error: EaselError, failed: Candidate, after: Candidate | None) -> bool:
        """Whether another backend may have the item; an own model that is away is none for what may be tried again where it was."""
        if after is not None:
            return not error.retryable or self._backend.away(after) is None
        may_leave = error.reason in self._backend.fallback.failures
        return may_leave and self._backend.rest(self._out | {failed.name}) is not None

    def _nobody(self, decision: Decision) -> EaselError:
        """Why no backend may make the item now."""
        if self._failures:
            return list(self._failures.values())[-1]
        told = "; ".join(
            f"{name}: {reason}" for name, reason in {**decision.skipped, **self._backend.plan.refused}.items()
        )
        if (mend := self._backend.to_mend()) is not None:
            return mend
        if not self._backend.plan.candidates:
            return Unsupported("no backend of the class can make it", where="spec.generationClassName", found=told)
        if self._lacks_money() or self._backend.too_dear():
            return BudgetSpent("no backend of the class may make it", where="spec.budget", found=told)
        return CapacityQueued("no backend of the class may make it now", found=told)
