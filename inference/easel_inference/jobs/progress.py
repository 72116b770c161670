"""What is done and how long the rest takes, over all items of a job.

Counts denoising steps rather than items: a single clip shows progress too. Steps of an attempt that failed are taken back.
The estimate counts this run's own steps alone, so items found finished do not make it look fast.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from easel_api.errors import EaselError
from easel_inference.artifacts.manifest import Delivered
from easel_inference.generation import Chosen

FIRST_ARTIFACTS = 20
"""Results that a job's status names; the manifest has all."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """The latest failure, of an attempt or for good."""

    error: EaselError
    item: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class StoredResult:
    """One stored result, as a status names it."""

    item: str
    seed: int
    delivered: Delivered
    choice: Chosen | None = None
    """Why it was made there; None without a class."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a backend of a class has of the job."""

    items: int
    """That it made and that are stored."""
    choice: Chosen
    """The latest of it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All a reporter shows."""

    total: int
    succeeded: int
    failed: int
    running: int
    steps_done: int
    steps_total: int
    eta_seconds: int | None
    manifest: str
    artifacts: tuple[StoredResult, ...]
    last_failure: LastFailure | None
    spent: Decimal | None = None
    """US dollars that providers were paid; None: none was, or nobody knows of any how much."""
    unpriced: int = 0
    """Results that were paid for, or may have been, and of which nobody knows how much."""
    estimated: Decimal | None = None
    """US dollars that the whole job will cost, by what was known when this worker began; None: nobody can tell."""
    backends: tuple[Share, ...] = ()
    """Of a job of a class: who makes it, those with most items first."""
    waiting: Chosen | None = None
    """Of a job of a class: the latest item that is under way and that nobody may make at this moment."""

    @property
    def percent(self) -> int:
        """Share of the steps done; 100 only when every item is."""
        if self.total and self.succeeded + self.failed == self.total:
            return 100
        return min(99, 100 * self.steps_done // max(1, self.steps_total))


class Tally:
    """Adds up what happens. Safe for many threads."""

    def __init__(self, total: int, steps_each: int, clock: Callable[[], float]) -> None:
        """`steps_each` is asked for; an item whose engine runs fewer (strength) still counts in full when done."""
        self._total, self._steps_each, self._clock = total, steps_each, clock
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._stored: dict[str, StoredResult] = {}
        self._failed: set[str] = set()
        self._found = 0
        self._started: float | None = None
        self._manifest = ""
        self._last_failure: LastFailure | None = None
        self._paid: dict[str, str] = {}
        self._estimated: Decimal | None = None
        self._choices: dict[str, Chosen] = {}
        """By item, the latest last."""

    def expect(self, amount: Decimal | None) -> None:
        """What the whole job will cost."""
        with self._lock:
            self._estimated = amount

    def chosen(self, item: str, choice: Chosen) -> None:
        """Who of a class's backends is to make an item."""
        with self._lock:
            self._choose(item, choice)

    def paid(self, item: str, amount: str | None) -> None:
        """What a provider was paid for an item, or may have been, as in the manifest: empty, nobody knows how much; None: nothing after all."""
        with self._lock:
            self._paid.pop(item, None)
            if amount is not None:
                self._paid[item] = amount

    def manifest_at(self, uri: str) -> None:
        """Where the manifest is."""
        with self._lock:
            self._manifest = uri

    def found(self, result: StoredResult) -> None:
        """An earlier worker made and stored it."""
        with self._lock:
            self._running.pop(result.item, None)
            self._stored[result.item] = result
            self._choose(result.item, result.choice)
            self._found += 1

    def started(self, item: str) -> None:
        """An attempt begins."""
        with self._lock:
            self._running[item] = 0.0
            if self._started is None:
                self._started = self._clock()

    def stepped(self, item: str, step: int, steps: int) -> None:
        """A step of a running item ended."""
        with self._lock:
            if item in self._running:
                self._running[item] = step / max(1, steps)

    def stopped(self, item: str, failure: LastFailure | None = None) -> None:
        """An attempt ended without a result."""
        with self._lock:
            self._running.pop(item, None)
            self._last_failure = failure or self._last_failure

    def stored(self, result: StoredResult) -> None:
        """An item is stored and read back."""
        with self._lock:
            self._running.pop(result.item, None)
            self._stored[result.item] = result
            self._choose(result.item, result.choice)

    def failed(self, failure: LastFailure) -> None:
        """An item is given up."""
        with self._lock:
            self._running.pop(failure.item, None)
            self._failed.add(failure.item)
            self._last_failure = failure

    def broke(self, error: EaselError) -> None:
        """The job itself failed."""
        with self._lock:
            self._last_failure = LastFailure(error)

    def snapshot(self) -> Snapshot:
        """The state of this moment."""
        with self._lock:
            first = sorted(self._stored)[:FIRST_ARTIFACTS]
            done = len(self._stored) + len(self._failed)
            priced = [Decimal(amount) for amount in self._paid.values() if amount]
            return Snapshot(
                total=self._total,
                succeeded=len(self._stored),
                failed=len(self._failed),
                running=len(self._running),
                steps_done=int((done + sum(self._running.values())) * self._steps_each),
                steps_total=self._total * self._steps_each,
                eta_seconds=self._eta(done),
                manifest=self._manifest,
                artifacts=tuple(self._stored[item] for item in first),
                last_failure=self._last_failure,
                spent=sum(priced, Decimal(0)) if priced else None,
                unpriced=len(self._paid) - len(priced),
                estimated=self._estimated,
                backends=self._shares(),
                waiting=self._waiting(),
            )

    def _choose(self, item: str, choice: Chosen | None) -> None:
        self._choices.pop(item, None)
        if choice is not None:
            self._choices[item] = choice

    def _waiting(self) -> Chosen | None:
        return next(
            (each for item, each in reversed(self._choices.items()) if item in self._running and not each.backend), None
        )

    def _shares(self) -> tuple[Share, ...]:
        made = Counter(choice.backend for item, choice in self._choices.items() if item in self._stored)
        latest = {choice.backend: choice for choice in self._choices.values() if choice.backend}
        shares = (Share(made[backend], choice) for backend, choice in latest.items())
        return tuple(sorted(shares, key=lambda each: (-each.items, each.choice.backend)))

    def _eta(self, done: int) -> int | None:
        made = done - self._found + sum(self._running.values())
        if self._started is None or made <= 0:
            return None
        rate = made / max(self._clock() - self._started, 1e-3)
        return max(0, round((self._total - self._found - made) / rate))
