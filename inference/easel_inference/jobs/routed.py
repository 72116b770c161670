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
    BudgetSpent,
    Cancelled,
    CapacityQueued,
    EaselError,
    Throttled,
    Unsupported,
)
from easel_api.offers import in_words
from easel_inference.backends.base import Backend, Cancellable, OnEvent, Paid, PaidBlock, Result, Resumable, StillOut
from easel_inference.generation import GenerationRequest, Handed, Inputs, Message, Submitted
from easel_inference.routing.breaker import AT_ONCE, CLOSED, Breaker
from easel_inference.routing.decision import Decision, Fallback, Now, decide
from easel_inference.routing.plan import Candidate, Plan
from easel_inference.routing.request import Resolved

from .turns import Turns
from .wallet import BILLED, NONE, LedgerAway, Wallet

_log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""How long an attempt waits for a backend that rests, or asks to slow down."""
LOOK_AGAIN_SECONDS = 1.0
QUEUED_SECONDS = 60.0
"""How long a queue that was seen counts: while all items go elsewhere nobody sees it shrink."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """The team's own model of a job, as far as it is known at a moment."""

    patient: Backend
    """Waits for a replica."""
    impatient: Backend
    """Raises `CapacityQueued` when there is none."""
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
    price: Decimal


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

    def decide(self, failures: Mapping[str, EaselError], out: Mapping[str, str]) -> Decision:
        """Who makes an item that failed in some places, and is out of others for a reason that is no failure."""
        with self._lock:
            known = {name: self._now(name, state, failures, out) for name, state in self._states.items()}
        return decide(
            self.plan,
            known,
            self.fallback,
            now=time.monotonic(),
            budget_left=self.wallet.left(),
            dice=random.random(),  # noqa: S311 - weights of a trial
        )

    def _now(self, name: str, state: _State, failures: Mapping[str, EaselError], out: Mapping[str, str]) -> Now:
        failure = failures[name].reason if name in failures else ""
        common = Now(run_seconds=state.run_seconds, failure=failure)
        if name not in self.own:
            return replace(common, breaker=state.breaker, obstacle=out.get(name, ""))
        if self.own[name].ready():
            fresh = time.monotonic() - state.queued_at < QUEUED_SECONDS
            return replace(common, wait_seconds=state.queued if fresh else 0.0)
        wait = 0.0 if self.wakes() else float("inf")
        return replace(common, ready=False, wait_seconds=wait, obstacle=out.get(name, ""))

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

    def to_mend(self) -> EaselError | None:
        """What keeps a Provider from making anything until a person acts."""
        return next((each.mend for each in self._states.values() if each.mend), None)

    def make(self, chosen: Candidate, attempt: _Attempt, *, patient: bool) -> Result:
        """By the chosen one; what it says of itself is remembered."""
        state = self._states[chosen.name]
        with self._lock:
            state.breaker = state.breaker.tried(time.monotonic())
        began = time.monotonic()
        try:
            if chosen.own:
                own = self.own[chosen.name]
                result = (own.patient if patient else own.impatient).generate(
                    attempt.request, attempt.inputs, attempt.on_event, attempt.stop
                )
            else:
                result = self._bought(chosen, attempt)
        except LedgerAway:
            raise
        except EaselError as error:
            wait = error.retry_after if isinstance(error, Throttled) else None
            # A spent budget says nothing of the backend, and is none of the reasons that a breaker counts.
            with self._lock:
                state.breaker = state.breaker.failed(error.reason, time.monotonic(), wait)
                state.mend = error if error.reason in AT_ONCE else None
            self._tell(chosen, state.breaker)
            raise
        now = time.monotonic()
        with self._lock:
            state.breaker = state.breaker.succeeded(now)
            state.queued, state.queued_at = result.finished.timings.queued, now
            state.run_seconds = (
                now - began if state.run_seconds is None else 0.8 * state.run_seconds + 0.2 * (now - began)
            )
        return result

    def _bought(self, chosen: Candidate, attempt: _Attempt) -> Result:
        cloud, price = self.clouds[chosen.name], chosen.price if chosen.price is not None else NONE
        client = self._client(chosen.name)
        with self._turns[cloud.provider].one(attempt.check):
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

    def resume(self, call: Outstanding, attempt: _Attempt) -> Result:
        """The result of a call that an earlier worker made."""
        if call.backend not in self.clouds:
            raise AmbiguousSubmit(
                "an earlier worker made the call, and the Provider is gone or offers the model no more",
                where=call.backend,
                found=call.handle[:200],
                fix="Look at the account's usage; another job makes it anew",
            )
        chosen = next(
            (each for each in self.plan.candidates if each.name == call.backend),
            Candidate(call.backend, own=False, resolved=Resolved(), price=call.price),
        )
        client = self._client(call.backend)
        assert isinstance(client, Resumable)  # noqa: S101 - others never tell a handle
        with self._lock:
            self._out[attempt.request.id] = (call.backend, call.handle)
        result = self.wallet.called(
            self.clouds[call.backend].provider,
            call.price,
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
        self._left_out: dict[str, str] = {}
        """Backends without money or a replica for it, by the reason: nothing failed there."""
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    def run(self) -> Result:
        while not self.ended:
            decision = self._backend.decide(self._failures, self._left_out)
            chosen = decision.chosen
            if chosen is None:
                self._wait(decision)
            elif not self._awaits(chosen):
                try:
                    result = self._backend.make(chosen, self, patient=self._patient(chosen))
                except EaselError as error:
                    self._failed(chosen, error)
                else:
                    return replace(result, passed_over=(*decision.skipped, *self._backend.plan.refused))
        raise Cancelled("the job was stopped")

    def go_on(self, earlier: Outstanding) -> Result:
        """With the call of an earlier worker; when that ended without a result and a bill, with any backend."""
        try:
            return self._backend.resume(earlier, self)
        except Cancelled:
            raise
        except EaselError as error:
            if error.reason in BILLED or isinstance(error, PaidBlock) or not error.retryable:
                raise
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

    def _awaits(self, chosen: Candidate) -> bool:
        """Waits a moment when an own model may wake in time, or a Provider that the item may go to rests; whether it did."""
        if not chosen.own or self._backend.own[chosen.name].ready():
            return False
        if self._backend.wakes():
            self.stop.wait(0.25)
            return True
        if time.monotonic() >= self._deadline:
            return False
        left = self._backend.rest(self._out) if self._may_leave else None
        if left is not None:
            self.stop.wait(min(left, LOOK_AGAIN_SECONDS))
        return left is not None

    def _wait(self, decision: Decision) -> None:
        """Until a Provider that rests may be tried again; raises when there is none."""
        left = self._backend.rest(self._out)
        if left is None or time.monotonic() >= self._deadline:
            raise self._nobody(decision)
        self.stop.wait(min(left, LOOK_AGAIN_SECONDS))

    def _patient(self, chosen: Candidate) -> bool:
        """Whether an own model waits for a replica: where it has none and is chosen all the same, or nobody else may have the item."""
        if not chosen.own or not self._backend.own[chosen.name].ready():
            return True
        return not (self._may_leave and self._backend.clouds)

    @property
    def _may_leave(self) -> bool:
        """Whether the class lets an item leave an own model that has no replica."""
        fallback = self._backend.fallback
        return fallback.unavailable or fallback.wake_seconds is not None or CapacityQueued.reason in fallback.failures

    @property
    def _out(self) -> frozenset[str]:
        return frozenset(self._failures) | frozenset(self._left_out)

    def _failed(self, chosen: Candidate, error: EaselError) -> None:
        """Returns when another backend may have the item, or the same one later; raises the error when none may."""
        late = time.monotonic() >= self._deadline
        match error:
            case BudgetSpent():
                self._left_out[chosen.name] = str(error)
            case PaidBlock():
                raise error  # another would be paid for the same item
            case LedgerAway() if not late:
                self.stop.wait(LOOK_AGAIN_SECONDS)  # says nothing of the Provider
            case Throttled() if not late and not chosen.own:
                pass  # no failure of the model: its breaker knows for how long it is left alone
            case CapacityQueued() if chosen.own and not late:
                # Its last replica is gone: no failure of the item, which may go elsewhere if the class says so.
                if error.reason in self._backend.fallback.failures:
                    self._left_out[chosen.name] = error.what
                self.stop.wait(0.1)
            case _:
                self._failures[chosen.name] = error
                if not self._goes_on(error):
                    raise error
                _log.warning("item %s: %s failed: %s; another may have it", self.request.id, chosen.name, error.reason)

    def _goes_on(self, error: EaselError) -> bool:
        if error.reason not in self._backend.fallback.failures:
            return False
        after = self._backend.decide(self._failures, self._left_out).chosen
        return (after is not None and after.name not in self._failures) or self._backend.rest(self._out) is not None

    def _nobody(self, decision: Decision) -> EaselError:
        """Why no backend may make the item now."""
        if self._failures:
            return list(self._failures.values())[-1]
        told = "; ".join(f"{each.name}: {each.reason}" for each in (*decision.skipped, *self._backend.plan.refused))
        if (mend := self._backend.to_mend()) is not None:
            return mend
        if not self._backend.plan.candidates:
            return Unsupported("no backend of the class can make it", where="spec.generationClassName", found=told)
        if any("spent" in why for why in self._left_out.values()) or any(
            "of the budget" in each.reason for each in decision.skipped
        ):
            return BudgetSpent("no backend of the class may make it", where="spec.budget", found=told)
        return CapacityQueued("no backend of the class may make it now", found=told)
