"""Which waiting calls become one forward pass, and how long to wait for more: pure, without threads or clocks.

The order is: whoever waited longer than `PATIENCE`, then the higher priority, the earlier deadline, the least work left,
the earlier arrival. So a short request overtakes a long clip at every step, and the clip still moves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

PATIENCE = 2.0
"""Seconds that a call waits at most while better ones come: then it goes first, whatever its rank."""

LONGEST_WINDOW = 0.05
SHORTEST_WINDOW = 0.001
WINDOW_SHARE = 0.25
"""The window's share of a pass: waiting may cost a quarter of what joining one more call saves at most."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits. Calls of equal keys may be joined; `units` is its cost in rows times positions."""

    key: Hashable
    units: int
    priority: int = 0
    deadline: float = math.inf
    work_left: float = 0.0
    """Units that its request still has to compute, this call included."""
    since: float = 0.0
    """When it came, on the same clock as `deadline`."""


def choose(waiting: Sequence[Waiting], limit: int, now: float = 0.0) -> list[int]:
    """Indices of the calls to run now, the first in rank first; empty when none waits.

    Calls of the first one's key join it in rank while the units of all stay within `limit`. A call larger than the limit
    runs alone.
    """
    if not waiting:
        return []
    ranked = sorted(range(len(waiting)), key=lambda index: rank(waiting[index], now))
    first = waiting[ranked[0]]
    chosen, units = ranked[:1], first.units
    for index in ranked[1:]:
        call = waiting[index]
        if call.key == first.key and units + call.units <= limit:
            chosen.append(index)
            units += call.units
    return chosen


def rank(call: Waiting, now: float) -> tuple[float, ...]:
    """Sorts before another call's rank when it goes first. Among those out of patience the oldest leads."""
    if now - call.since > PATIENCE:
        return (0, call.since)
    return (1, -call.priority, call.deadline, call.work_left, call.since)


def window(absent: int, since_answer: float, pass_seconds: float) -> float:
    """Seconds to wait for calls that are about to come; zero for a lone request.

    `absent` counts the requests between their first and their last call that do not wait now, `since_answer` the seconds
    since the latest of them got its last answer, `pass_seconds` what the pass that would run now takes.
    """
    if absent == 0:
        return 0.0
    longest = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, WINDOW_SHARE * pass_seconds))
    return max(0.0, longest - since_answer)
