"""Bounds of the number of replicas at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from easel_api.scaling import Scaling, Schedule, Weekday

DAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True)
class Bounds:
    """At least and at most so many replicas, and until when that is so; None: for ever."""

    least: int
    most: int
    until: datetime | None = None

    def clip(self, replicas: int) -> int:
        """The nearest number within them."""
        return min(max(replicas, self.least), self.most)


def bounds_at(scaling: Scaling, now: datetime) -> Bounds:
    """The bounds at a moment, which has a time zone."""
    changes: list[datetime] = []
    least = scaling.min_replicas
    for schedule in scaling.schedules:
        for start, end in _spans(schedule, now):
            if start <= now < end:
                least = max(least, schedule.min_replicas)
            changes += [moment for moment in (start, end) if moment > now]
    return Bounds(min(least, scaling.max_replicas), scaling.max_replicas, min(changes, default=None))


def _spans(schedule: Schedule, now: datetime) -> list[tuple[datetime, datetime]]:
    """The spans that began since yesterday or begin within a week, in UTC: clocks go back and forward."""
    zone = ZoneInfo(schedule.time_zone)
    start, end = time.fromisoformat(schedule.start), time.fromisoformat(schedule.end)
    overnight = timedelta(days=1 if end <= start else 0)
    today = now.astimezone(zone).date()
    spans = []
    for day in (today + timedelta(days=offset) for offset in range(-1, 8)):
        if DAYS[day.weekday()] in schedule.days:
            first = datetime.combine(day, start, zone)
            last = datetime.combine(day + overnight, end, zone)
            spans.append((first.astimezone(UTC), last.astimezone(UTC)))
    return spans
