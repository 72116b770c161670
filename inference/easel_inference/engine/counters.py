"""What the engine counts, as plain numbers; `serving.model` turns them into metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["succeeded", "failed", "cancelled"]
Lookup = Literal["hit", "miss"]
LOOKUPS: tuple[Lookup, ...] = ("hit", "miss")
OUTCOMES: tuple[Outcome, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Counts:
    """A snapshot. `joined` counts forward passes by how many calls they joined."""

    generations: dict[Outcome, int]
    reused_results: int
    steps: int
    running: int
    waiting: int
    joined: dict[int, int]
    embeddings: dict[Lookup, int]


@dataclass(slots=True)
class Counters:
    """Thread-safe counters, all of them from zero."""

    _generations: Counter[Outcome] = field(default_factory=Counter)
    _joined: Counter[int] = field(default_factory=Counter)
    _embeddings: Counter[Lookup] = field(default_factory=Counter)
    _reused: int = 0
    _steps: int = 0
    _running: int = 0
    _waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def generation(self, outcome: Outcome) -> None:
        """A generation ended; a reused result is none."""
        with self._lock:
            self._generations[outcome] += 1

    def reused(self) -> None:
        """A request got the result of another one's generation."""
        with self._lock:
            self._reused += 1

    def step(self) -> None:
        """A request took a denoising step."""
        with self._lock:
            self._steps += 1

    def forward_pass(self, calls: int) -> None:
        """A forward pass of the denoiser served so many calls."""
        with self._lock:
            self._joined[calls] += 1

    def embedding(self, lookup: Lookup) -> None:
        """An encoder's result was asked for, and was kept or not."""
        with self._lock:
            self._embeddings[lookup] += 1

    def queued(self) -> None:
        """A generation waits for its turn."""
        with self._lock:
            self._waiting += 1

    def dequeued(self) -> None:
        """A generation's turn came, or it was cancelled before."""
        with self._lock:
            self._waiting -= 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """A generation runs."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def reset(self) -> None:
        """Forget what the warm-up counted."""
        with self._lock:
            self._generations.clear()
            self._joined.clear()
            self._embeddings.clear()
            self._reused = self._steps = 0

    def snapshot(self) -> Counts:
        """All numbers at one moment."""
        with self._lock:
            return Counts(
                {outcome: self._generations[outcome] for outcome in OUTCOMES},
                self._reused,
                self._steps,
                self._running,
                self._waiting,
                dict(self._joined),
                {lookup: self._embeddings[lookup] for lookup in LOOKUPS},
            )
