"""Which waiting calls become one forward pass, and how long to wait for more: pure, without threads or clocks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

LONGEST_WINDOW = 0.02
SHORTEST_WINDOW = 0.001
WINDOW_SHARE = 0.25
"""The window's share of the last pass: waiting may cost a quarter of what joining one more call saves at most."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits. Calls of equal keys may be joined; `units` is its cost in rows times positions."""

    key: Hashable
    units: int


def choose(waiting: Sequence[Waiting], limit: int) -> list[int]:
    """Indices of the calls to run now, of calls given in order of arrival.

    The oldest call always runs, so that none starves; calls of its key join it in order of arrival while the units of
    all stay within `limit`. A call larger than the limit runs alone.
    """
    if not waiting:
        return []
    first, *others = waiting
    chosen, units = [0], first.units
    for index, call in enumerate(others, 1):
        if call.key != first.key:
            continue
        if units + call.units > limit:
            break
        chosen.append(index)
        units += call.units
    return chosen


def window(taking_part: int, waiting: int, last_pass: float) -> float:
    """Seconds to wait for more calls: none when everyone who takes part waits already.

    `taking_part` counts the requests that are between their first and their last call, `last_pass` the seconds of the
    last forward pass.
    """
    if waiting >= taking_part:
        return 0.0
    return min(LONGEST_WINDOW, max(SHORTEST_WINDOW, WINDOW_SHARE * last_pass))
