"""What a job may pay, over all of its Providers: taken before a call, settled behind it by what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from easel_api.errors import AmbiguousSubmit, BilledBadOutput, BudgetSpent, EaselError, Transient
from easel_inference.backends.base import OnEvent, PaidBlock, Result, StillOut
from easel_inference.generation import Message, Withdrawn

BILLED = frozenset({AmbiguousSubmit.reason, BilledBadOutput.reason})
"""Errors of calls that the provider may have been paid for."""
NONE = Decimal(0)


def provider_of(backend: str) -> str:
    """`bedrock-west` of `bedrock-west/stability.stable-image-core-v1:1`, `west.platform` of one of another namespace."""
    return backend.partition("/")[0]


class LedgerAway(Transient):
    """The API server keeps the ledger, and is away; never leaves `jobs`."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a Provider's limits is this worker's: it is the `place`-th, from 0, `of` so many that buy there."""

    place: int = 0
    of: int = 1

    def part(self, limit: int) -> int:
        """Of a number of calls at once: the parts of all workers add up to it, so that some may be 0."""
        return limit // self.of + (self.place < limit % self.of)


class Money(Protocol):
    """The money of a job at one Provider: `purses.Purse`."""

    def take(self, price: Decimal, more: int) -> None:
        """Reserve for a call, and while at it for up to `more` that will follow; `BudgetSpent` when there is no room."""
        ...

    def settle(self, price: Decimal, cost: Decimal) -> None:
        """A call has ended for which `price` was taken: `cost` was or may have been paid for it, which may be nothing."""
        ...

    def share(self) -> Share:
        """This worker's part of the Provider's limits, as it was a few seconds ago."""
        ...

    def rests(self, model: str) -> float:
        """For how many seconds more another worker says that a model is to be left alone; 0: it is not."""
        ...

    def tell(self, model: str, seconds: float, reason: str) -> None:
        """Has all workers leave a model alone for so long; never raises."""
        ...


class Wallet:
    """What a job may pay in all, and to whom. The purses are those of its Providers. Safe for many threads."""

    def __init__(self, budget: Decimal | None, spent: Decimal, purses: Mapping[str, Money], out: int = 0) -> None:
        """`spent` is what an earlier worker of the job has paid, or has taken for calls that are still `out`."""
        self._budget, self._spent, self.purses = budget, spent, purses
        self._lock = threading.Lock()
        self.held = out
        """Sums that are taken, or about to be, and may come back in part."""
        self.underway = out
        """Calls among them."""
        self.settled = 0
        """How many calls have ended, which may have left money."""

    def left(self) -> Decimal | None:
        """What is left of the job's budget; None: it has none."""
        with self._lock:
            return None if self._budget is None else self._budget - self._spent

    def take(self, provider: str, price: Decimal, more: int) -> None:
        """Reserve for a call; `BudgetSpent` when budget or Provider have no room."""
        with self._lock:
            if self._budget is not None and self._spent + price > self._budget:
                raise BudgetSpent(
                    "the job's budget is spent", where="spec.budget.max", found=f"{self._spent} of {self._budget}"
                )
            self._spent += price
            self.held += 1
        try:
            self.purses[provider].take(price, more)
        except BaseException:
            with self._lock:
                self._spent -= price
                self.held -= 1
            raise
        with self._lock:
            self.underway += 1

    def settle(self, provider: str, price: Decimal, cost: Decimal) -> None:
        """The call has ended."""
        self.purses[provider].settle(price, cost)
        with self._lock:
            self._spent += cost - price
            self.held, self.underway, self.settled = self.held - 1, self.underway - 1, self.settled + 1

    def called(self, provider: str, price: Decimal, call: Callable[[], Result], on_event: OnEvent) -> Result:
        """What a call gives for which `price` was taken, settled by how it ends; one that is still out is not."""
        cost: Decimal | None = price  # whatever happens and is no error of the tree
        try:
            result = call()
            cost = price if result.billed is None else result.billed
        except StillOut:
            cost = None
            raise
        except EaselError as error:
            if error.reason not in BILLED and not isinstance(error, PaidBlock):
                cost = NONE
                on_event(Message(Withdrawn()))
            raise
        else:
            return result
        finally:
            if cost is not None:
                self.settle(provider, price, cost)
