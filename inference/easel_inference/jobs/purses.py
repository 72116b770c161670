"""What a job may spend at a Provider: reserved at the Kubernetes API before a call, settled behind it.

Workers of many jobs change one object, each time on top of the version that they have read. A purse reserves for several items at a
time and settles several at once, so that a thousand items are not two thousand writes; what it has reserved and not used goes back at its end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from easel_api import API_VERSION, GROUP, VERSION
from easel_api.errors import BudgetSpent, Cancelled, EaselError, EnvironmentFault, Transient
from easel_api.provider import KIND, Account, Provider, Rest, Spend
from easel_api.spend import NOTHING, account_of, booked, recorded

from .access import MERGE, Api, Conflict, parsed
from .wallet import LedgerAway, Share

_log = logging.getLogger(__name__)

AT_ONCE = 16
"""Items that are reserved for together: as many as a worker makes at a time."""
TRIES = 60
"""Of a change that others are faster with each time; half a minute together."""


KNOWN_SECONDS = 3.0
"""How old what is known of other workers may be."""
TOLD_SECONDS = 1.0
"""A rest that is longer by less than that is not told again."""
IDLE_SECONDS = 5.0
"""Behind the last call, after which what is reserved for calls that did not follow goes back to the others."""
TELLS = 5
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class ProviderName:
    """Which Provider."""

    namespace: str
    name: str

    @property
    def path(self) -> str:
        """At the API server."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{KIND.plural}/{self.name}"

    def __str__(self) -> str:
        return f"provider {self.namespace}/{self.name}"


def read_provider(api: Api, name: ProviderName) -> Provider:
    """The Provider as it is; `InvalidInput` when this worker does not understand it."""
    return parsed(Provider, api.read(name.path, str(name)), "the Provider", f"{name}: ")


class Purse:
    """The money of one job at one Provider. Safe for many threads; use it as a context manager."""

    def __init__(
        self, api: Api, name: ProviderName, holder: Account, today: Callable[[], date], stop: threading.Event
    ) -> None:
        """`holder` names the job."""
        self._api, self._name, self._today, self._stop = api, name, today, stop
        self._holder = holder.model_copy(update={"worker": uuid.uuid4().hex[:16]})
        self._lock, self._booking = threading.Lock(), threading.Lock()
        """Of the sums, and of what goes to the API server, which no call that has ended waits for."""
        self._free = NOTHING
        """Reserved, and of no call."""
        self._underway = NOTHING
        """Reserved, and of calls that have not ended."""
        self._paid = NOTHING
        """All that the job has paid here."""
        self._booked = False
        self._idle: threading.Timer | None = None
        """Runs while no call is under way and something is reserved."""
        self._seen: Provider | None = None
        self._seen_at = float("-inf")
        self._looking = threading.Lock()

    def __enter__(self) -> Purse:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._wake()
            needed = bool(self._free or self._underway or self._paid)
        if needed:
            self._release()

    def _release(self) -> None:
        """Gives back what is reserved for no call."""
        try:
            with self._booking:
                with self._lock:
                    self._free = NOTHING
                self._book(NOTHING)
        except EaselError as error:
            # The results are there; what stays reserved counts as paid once the job is over.
            _log.warning("%s: the job's account was not settled: %s", self._name, error.reason)

    def recover(self, paid: Decimal, out: Decimal = NOTHING) -> None:
        """Put right what an earlier worker of this job left, by its manifest.

        `paid` is all that the job has paid here, `out` what it has taken for calls that are still out.
        """
        with self._booking:
            account = account_of(read_provider(self._api, self._name).status.spend or Spend(), self._holder.holder)
            # Without an account nothing is owed: the manifest is that of an earlier job of this name, which has paid.
            self._paid = NOTHING if account is None else max(paid, account.paid)
            self._underway = out
            if account is not None:
                self._book(NOTHING)

    def take(self, price: Decimal, more: int) -> None:
        """Reserve for one call, and while at it for up to `more` that will follow; `BudgetSpent` when there is no room for it."""
        with self._booking:
            if not self._took(price):
                self._reserve(price, max(1, min(AT_ONCE, more + 1)))
                self._took(price)

    def _took(self, price: Decimal) -> bool:
        with self._lock:
            # What a call without a price costs goes to an account, too, so that there must be one.
            if self._free < price or not self._booked:
                return False
            self._wake()
            self._free -= price
            self._underway += price
            return True

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def settle(self, price: Decimal, cost: Decimal) -> None:
        """A call has ended for which `price` was taken: `cost` was or may have been paid for it."""
        with self._lock:
            self._underway -= price
            self._paid += cost
            self._free += max(price - cost, NOTHING)
            if self._free and not self._underway:
                self._wake()
                self._idle = threading.Timer(IDLE_SECONDS, self._release)
                self._idle.daemon = True
                self._idle.start()

    def share(self) -> Share:
        """This worker's part of the Provider's limits: of the jobs that have reserved money it is the so-many-th."""
        known = self._known()
        spend = (known.status.spend if known else None) or Spend()
        holders = {account.holder for account in spend.accounts if account.reserved} | {self._holder.holder}
        return Share(sorted(holders).index(self._holder.holder), len(holders))

    def rests(self, model: str) -> float:
        """For how many seconds more a worker says that a model is to be left alone."""
        known = self._known()
        until = next((each.until for each in (known.status.rests if known else ()) if each.model == model), None)
        return 0.0 if until is None else _seconds_until(until)

    def tell(self, model: str, seconds: float, reason: str) -> None:
        """Has all workers leave a model alone for so long; when that cannot be written, each finds out by itself."""
        if self.rests(model) >= seconds - TOLD_SECONDS:
            return
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(TIME)
        told = Rest(model=model, until=until, reason=reason)
        try:
            for _ in range(TELLS):
                provider = self._read()
                rests = [
                    each for each in provider.status.rests if each.model != model and _seconds_until(each.until) > 0
                ]
                try:
                    self._write(
                        provider, {"rests": [each.model_dump(mode="json", by_alias=True) for each in (*rests, told)]}
                    )
                except Conflict:
                    continue
                return
        except EaselError as error:
            _log.info("%s: other workers were not told that %s rests: %s", self._name, model, error.reason)

    def _known(self) -> Provider | None:
        """The Provider as it was some seconds ago; older, or None, where the API server is away."""
        with self._looking:
            if time.monotonic() - self._seen_at > KNOWN_SECONDS:
                self._seen_at = time.monotonic()
                with contextlib.suppress(EaselError, ValidationError):  # asked once: a call does not wait for it
                    self._seen = Provider.model_validate_json(self._api.answer("GET", self._name.path, str(self._name)))
            return self._seen

    def _reserve(self, price: Decimal, calls: int) -> None:
        limits: str | None = ""
        while calls:
            limits = self._book(price * calls)
            if limits is None:
                with self._lock:
                    self._free += price * calls
                return
            calls //= 2
        raise BudgetSpent(
            "what may be spent at this Provider is spent",
            where=f"{self._name}: spec.spend",
            found=f"{price} more than {limits}",
            fix="Wait for the next day or month, or raise the limit",
        )

    def _book(self, more: Decimal) -> str | None:
        """Have the account say what is so, and `more` reserved; the limits when there is no room for that."""
        with self._lock:
            told = {"reserved": self._free + self._underway + more, "paid": self._paid}
        account = self._holder.model_copy(update=told)
        for attempt in range(TRIES):
            provider = self._read()
            before = provider.status.spend or Spend()
            there = account_of(before, account.holder)
            if self._booked and there is None:
                # The operator has closed it, since the job is over or gone: what was reserved counts as paid.
                return None if not more else "nothing: the job is over"
            if self._booked and there is not None and there.worker != account.worker:
                raise Cancelled("another worker of this job has taken over", where=str(self._name))
            if more or there is None:
                after = booked(before, provider.spec.spend, account, self._today())
            else:
                after = recorded(before, account, self._today())
            if after is None:
                return _limits(provider)
            try:
                spend = after.model_dump(mode="json", by_alias=True, exclude_none=True)
                self._write(provider, {"spend": spend})
            except Transient as error:
                # Somebody was faster, or nobody knows whether it was written: what it says is whole, and is said again.
                level = logging.DEBUG if isinstance(error, Conflict) else logging.INFO
                _log.log(level, "%s: %s", self._name, error)
                if self._stop.is_set() and attempt >= 3:
                    break
                self._stop.wait(random.uniform(0, min(0.02 * 2**attempt, 1.0)))  # noqa: S311 - jitter
            else:
                self._booked = True
                return None
        raise LedgerAway("the Provider's ledger is changed by others all the time", where=str(self._name))

    def _read(self) -> Provider:
        try:
            self._seen, self._seen_at = read_provider(self._api, self._name), time.monotonic()
        except EnvironmentFault as error:
            raise LedgerAway(
                "the Provider's ledger cannot be read", where=str(self._name), found=error.found
            ) from error
        return self._seen

    def _write(self, provider: Provider, status: dict[str, Any]) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND.kind,
            "metadata": {"resourceVersion": provider.metadata.resource_version},
            "status": status,
        }
        path = f"{self._name.path}/status?fieldManager=easel-worker"
        self._api.answer("PATCH", path, str(self._name), json.dumps(body).encode(), MERGE)


def _seconds_until(moment: str) -> float:
    """From now; by the clock of this machine, which may be seconds off that of the worker that wrote it."""
    try:
        return (datetime.strptime(moment, TIME).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return 0.0


def _limits(provider: Provider) -> str:
    limits, each = provider.spec.spend, provider.spec.spend.per_namespace
    told = (
        (limits.per_day, "a day"),
        (limits.per_month, "a month"),
        (each.per_day, "a day for each namespace"),
        (each.per_month, "a month for each namespace"),
    )
    return (
        ", ".join(f"{amount} {name}" for amount, name in told if amount is not None)
        or "the jobs that one Provider takes"
    )
