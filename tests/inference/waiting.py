"""Waiting on conditions, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SECONDS = 30
TURN = 0.05


def until(holds: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until `holds`; fail with `what` did not come true."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        pause.wait(TURN)
