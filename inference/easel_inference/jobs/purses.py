"""What a job may spend at a Provider: reserved at the Kubernetes API before a call, settled behind it.

Workers of many jobs change one object, each time on top of the version that they have read. A purse reserves for several items at a
time and settles several at once, so that a thousand items are not two thousand writes; what it has reserved and not used goes back at its end.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import ValidationError

from easel_api import API_VERSION, GROUP, VERSION
from easel_api.errors import BudgetSpent, Cancelled, EaselError, EnvironmentFault, InvalidInput, Transient
from easel_api.provider import KIND, Account, Provider, Spend
from easel_api.spend import NOTHING, account_of, booked

from .access import MERGE, Api, Conflict
from .wallet import LedgerAway

_log = logging.getLogger(__name__)

AT_ONCE = 16
"""Items that are reserved for together: as many as a worker makes at a time."""
TRIES = 60
"""Of a change that others are faster with each time; half a minute together."""


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
    try:
        return Provider.model_validate_json(api.read(name.path, str(name)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(
            f"this worker does not understand the Provider: {first['msg']}",
            where=f"{name}: {'.'.join(str(part) for part in first['loc'])}",
            fix="Run operator, worker and CRDs of one release",
        ) from error


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

    def __enter__(self) -> Purse:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with self._booking:
                with self._lock:
                    needed = bool(self._free or self._underway or self._paid)
                    self._free = NOTHING
                if needed:
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
            if self._free < price:
                return False
            self._free -= price
            self._underway += price
            return True

    def settle(self, price: Decimal, cost: Decimal) -> None:
        """A call has ended for which `price` was taken: `cost` was or may have been paid for it."""
        with self._lock:
            self._underway -= price
            self._paid += cost
            self._free += max(price - cost, NOTHING)

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
            after = booked(before, provider.spec.spend, account, self._today())
            if after is None:
                return _limits(provider)
            try:
                self._write(provider, after)
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
            return read_provider(self._api, self._name)
        except EnvironmentFault as error:
            raise LedgerAway(
                "the Provider's ledger cannot be read", where=str(self._name), found=error.found
            ) from error

    def _write(self, provider: Provider, spend: Spend) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND.kind,
            "metadata": {"resourceVersion": provider.metadata.resource_version},
            "status": {"spend": spend.model_dump(mode="json", by_alias=True, exclude_none=True)},
        }
        path = f"{self._name.path}/status?fieldManager=easel-worker"
        self._api.answer("PATCH", path, str(self._name), json.dumps(body).encode(), MERGE)


def _limits(provider: Provider) -> str:
    limits = provider.spec.spend
    told = ((limits.per_day, "a day"), (limits.per_month, "a month"))
    return (
        ", ".join(f"{amount} {name}" for amount, name in told if amount is not None)
        or "the jobs that one Provider takes"
    )
