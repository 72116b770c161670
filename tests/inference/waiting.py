"""Waiting on conditions, with a deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 60
TURN = 0.05


def until(holds: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until `holds`; fail with `what` did not come true."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        pause.wait(TURN)


@contextlib.contextmanager
def held(batcher: Any, calls: int) -> Iterator[None]:
    """Hold the batcher until so many calls wait, so that what is joined does not depend on who was quick."""
    from easel_inference.engine.batcher import Job

    holding = threading.Event()

    def hold() -> tuple[()]:
        holding.set()
        until(lambda: len(batcher._calls) >= calls, f"{calls} calls wait")
        return ()

    thread = threading.Thread(target=batcher.call, args=(Job("hold", hold, (), 1, 1),))
    thread.start()
    assert holding.wait(SECONDS)
    yield
    thread.join()
