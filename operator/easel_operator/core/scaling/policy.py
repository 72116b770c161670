"""How many replicas a model has, given what is known. Read `scale` from the top: each rule outranks those below it.

1. Never above the most nor below the least of the moment.
2. A new model is loaded once, so that its status can say whether it works and what its steps cost.
3. Work wakes a model that sleeps, whatever Prometheus says.
4. Without knowing the demand nothing else changes: no scale-down on missing data.
5. Up when the demand asked for it all through the window for rises, down when it did all through the one for falls.
6. A replica goes only when it is idle, and none while another still loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from easel_api.scaling import Scaling

from .hours import Bounds, bounds_at

POLL_SECONDS = 15.0
"""How often the demand is asked for, as a HorizontalPodAutoscaler does."""
LONGEST_GAP = timedelta(seconds=4 * POLL_SECONDS)
"""Recommendations further apart are not one history: what happened between them is not known."""
TOLERANCE = 0.1
"""A demand so near to what the replicas can do changes nothing, as for a HorizontalPodAutoscaler."""


@dataclass(frozen=True, slots=True)
class Work:
    """Queued and running work of a model, as its jobs say."""

    items: int = 0
    gpu_seconds: float | None = 0.0
    """None while the model was not measured."""
    complete: bool = True
    """Whether every job was looked at since this process began to lead."""


NO_WORK = Work()


@dataclass(frozen=True, slots=True)
class Blind:
    """Why the demand is not known, in one word and one sentence that do not change while the cause is the same."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the demand alone asked for at a moment."""

    at: datetime
    replicas: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that the number of replicas depends on, besides `spec.scaling`."""

    now: datetime
    current: int | None
    """Replicas that are wanted up to now; None: there never were any."""
    work: Work = NO_WORK
    demand: float | Blind | None = None
    """GPU-seconds; None: nobody was asked yet."""
    busy: int = 0
    """Replicas that hold requests, or do not say whether they do."""
    loading: bool = False
    """Whether a replica is on its way."""
    idle_since: datetime | None = None
    """When the last work ended; None: there is some, or nobody knows."""
    history: tuple[Recommendation, ...] = ()
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The number of replicas, and what to remember."""

    replicas: int
    bounds: Bounds
    asks: bool
    """Whether it depends on the demand."""
    blind: Blind | None = None
    idle_since: datetime | None = None
    history: tuple[Recommendation, ...] = ()


def scale(scaling: Scaling, seen: Seen) -> Scale:
    """The number of replicas now."""
    bounds = bounds_at(scaling, seen.now)
    idle_since = _idle_since(seen)
    current = max(bounds.least, 1) if seen.current is None else seen.current
    seen = replace(seen, current=current)
    woken = max(current, 1 if seen.work.items else 0)
    held = bounds.clip(woken)
    if not _asks(scaling, seen, bounds):
        return Scale(held, bounds, asks=False, idle_since=idle_since)
    if not isinstance(seen.demand, float) or not seen.work.complete:
        blind = seen.demand if isinstance(seen.demand, Blind) else None
        return Scale(held, bounds, asks=True, blind=blind, idle_since=idle_since, history=_recent(scaling, seen))
    wanted = _wanted(scaling, seen, seen.demand, idle_since)
    history = (*_recent(scaling, seen), Recommendation(seen.now, wanted))
    target = _stable(scaling, history, woken, seen.now)
    if target < woken:
        # A fall spares the busy ones and is never a rise: more may be busy than are wanted, while some stop.
        target = woken if seen.loading else min(woken, max(target, seen.busy))
    return Scale(bounds.clip(target), bounds, asks=True, idle_since=idle_since, history=history)


def _idle_since(seen: Seen) -> datetime | None:
    if seen.work.items:
        return None
    # A clock that was put back would else have the model rest only once it is where it was.
    since = min(seen.idle_since, seen.now) if seen.idle_since else None
    return since or (seen.now if seen.work.complete else None)


def _asks(scaling: Scaling, seen: Seen, bounds: Bounds) -> bool:
    if bounds.least == bounds.most:
        return False
    if scaling.query is not None:
        return True
    # Our own query says nothing of a model that was never measured, and of one that sleeps nothing that we do not know.
    return seen.work.gpu_seconds is not None and bool(seen.current or seen.work.items)


def _wanted(scaling: Scaling, seen: Seen, demand: float, idle_since: datetime | None) -> int:
    """What the demand asks for, before windows and bounds."""
    current, share = seen.current or 0, demand / scaling.target_backlog_seconds
    wanted = current if current and abs(share / current - 1) <= TOLERANCE else math.ceil(share)
    if seen.work.items:
        return max(wanted, 1)
    rested = idle_since is not None and seen.now - idle_since >= timedelta(seconds=scaling.idle_seconds)
    return max(wanted, 0 if rested or not current else 1)


def _recent(scaling: Scaling, seen: Seen) -> tuple[Recommendation, ...]:
    """The history without holes, as far back as the longer window needs, and one before that."""
    windows = (scaling.behavior.scale_up, scaling.behavior.scale_down)
    start = seen.now - timedelta(seconds=max(rules.stabilization_window_seconds for rules in windows))
    kept: list[Recommendation] = []
    later = seen.now
    for past in reversed(seen.history):
        if past.at == seen.now:
            continue  # what is said now takes its place
        if later - past.at > LONGEST_GAP or past.at > later:
            break
        kept.append(past)
        if past.at <= start:
            break
        later = past.at
    return tuple(reversed(kept))


def _stable(scaling: Scaling, history: tuple[Recommendation, ...], current: int, now: datetime) -> int:
    """The least that was asked for in the window for rises, or the most in the one for falls; a short history asks for nothing."""

    def within(seconds: int) -> list[int]:
        start = now - timedelta(seconds=seconds)
        return [past.replicas for past in history if past.at >= start] if history[0].at <= start else [current]

    rise = min(within(scaling.behavior.scale_up.stabilization_window_seconds))
    fall = max(within(scaling.behavior.scale_down.stabilization_window_seconds))
    return rise if rise > current else min(fall, current)
