"""Conditions with a deadline: nothing here or in a test sleeps for a fixed time and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from easel_api.errors import Stalled

Seen = TypeVar("Seen")

PERIOD_SECONDS = 0.25


def until(what: str, look: Callable[[], Seen], *, seconds: float, period: float = PERIOD_SECONDS) -> Seen:
    """Look again and again until there is something to see (a true value), and return it; `Stalled` at the deadline."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise Stalled(f"waited {seconds:.0f} s in vain for {what}", found=repr(seen))
        time.sleep(period)
    return seen
