"""The keyed work queue: one reconcile per object at a time, many objects at once, failures with growing pauses.

A key that is added while it waits is there once; one that is added while it is worked on is worked on once more after.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from easel_operator.core.resources import Key

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """When to do it again: after a failure with a growing pause, else after so many seconds, else when something happens."""

    failed: bool = False
    requeue_after: float | None = None


Work = Callable[[Key], Awaitable[Outcome]]


class WorkQueue:
    """Runs `work` on keys; `on_depth` hears how many wait."""

    def __init__(self, work: Work, concurrency: int, on_depth: Callable[[int], None] = lambda _: None) -> None:
        self._work, self._concurrency, self._on_depth = work, concurrency, on_depth
        self._waiting: dict[Key, None] = {}
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Condition()
        self._wakers: set[asyncio.Task[None]] = set()
        self._stopping = False

    def add(self, key: Key) -> None:
        """Work on a key soon."""
        if key in self._active:
            self._again.add(key)
            return
        self._waiting.setdefault(key)
        self._on_depth(len(self._waiting))
        self._wake()

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on a key later, or earlier if it is added before; the last word counts."""
        self._forget_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    async def run(self) -> None:
        """Work until `stop`; an error that `work` does not turn into an outcome ends everything."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self._concurrency):
                workers.create_task(self._worker(), name=f"worker-{number}")

    async def stop(self) -> None:
        """Take up nothing more; what is being worked on is finished."""
        self._stopping = True
        for key in list(self._timers):
            self._forget_timer(key)
        async with self._changed:
            self._changed.notify_all()

    def _wake(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify()

        task = asyncio.get_running_loop().create_task(notify())
        self._wakers.add(task)
        task.add_done_callback(self._wakers.discard)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _forget_timer(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def _worker(self) -> None:
        while key := await self._next():
            try:
                self._done(key, await self._work(key))
            finally:
                self._active.discard(key)

    async def _next(self) -> Key | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._stopping or self._waiting)
            if self._stopping:
                return None
            key = next(iter(self._waiting))
            del self._waiting[key]
        self._active.add(key)
        self._forget_timer(key)
        self._on_depth(len(self._waiting))
        return key

    def _done(self, key: Key, outcome: Outcome) -> None:
        self._active.discard(key)
        again = key in self._again
        self._again.discard(key)
        failures = self._failures.pop(key, 0)
        if again:
            self.add(key)  # something has changed: what failed may go well now
        elif outcome.failed:
            self._failures[key] = failures + 1
            self.add_after(key, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 16)))
        elif outcome.requeue_after is not None:
            self.add_after(key, max(0.0, outcome.requeue_after))
