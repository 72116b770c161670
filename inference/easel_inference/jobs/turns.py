"""When the next call to a Provider may be made: so many at once, evenly over a minute, of which each worker has its share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from easel_api.errors import CapacityQueued

from .wallet import Share

LOOK_AGAIN_SECONDS = 0.5


class NoTurn(CapacityQueued):
    """Other calls leave none for this one; never leaves `jobs`."""


class Turns:
    """Of one Provider, for all threads of a worker."""

    def __init__(self, at_once: int, per_minute: int | None, share: Callable[[], Share]) -> None:
        """The limits are those of all workers together."""
        self._at_once, self._per_minute, self._share = at_once, per_minute, share
        self._free = threading.Condition()
        self._calls = 0
        self._next = 0.0

    @contextlib.contextmanager
    def one(self, check: Callable[[], None], patience_seconds: float) -> Iterator[None]:
        """Blocks until a call may be made, which the block makes.

        Raises `NoTurn` when none came for so long; `check` raises when it is of no use to wait on.
        """
        until = time.monotonic() + patience_seconds

        def look() -> None:
            check()
            if time.monotonic() >= until:
                raise NoTurn("other calls leave no turn for this one", found=f"{patience_seconds:.0f} s")

        self._begin(look)
        try:
            self._pace(look)
            check()
            yield
        finally:
            with self._free:
                self._calls -= 1
                self._free.notify()

    def _begin(self, check: Callable[[], None]) -> None:
        while True:
            allowed = self._share().part(self._at_once)
            with self._free:
                if self._calls < allowed:
                    self._calls += 1
                    return
                self._free.wait(LOOK_AGAIN_SECONDS)
            check()

    def _pace(self, check: Callable[[], None]) -> None:
        if self._per_minute is None:
            return
        every = 60.0 * self._share().of / self._per_minute
        # No turn is taken ahead of its time: whoever gives up would leave it unused.
        while True:
            with self._free:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + every
                    return
                self._free.wait(min(self._next - now, LOOK_AGAIN_SECONDS))
            check()
