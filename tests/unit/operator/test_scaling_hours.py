"""The bounds of the number of replicas, by schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from easel_api.scaling import Scaling
from easel_operator.core.scaling.hours import bounds_at

OFFICE = {
    "name": "office",
    "days": ["Mon", "Tue", "Wed", "Thu", "Fri"],
    "start": "08:00",
    "end": "18:00",
    "timeZone": "Europe/Berlin",
    "minReplicas": 2,
}

MOMENTS = st.integers(0, 365 * 86400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))


def scaling(*schedules: dict[str, Any]) -> Scaling:
    return Scaling.model_validate({"maxReplicas": 4, "schedules": list(schedules)})


def least(spec: Scaling, text: str) -> int:
    return bounds_at(spec, datetime.fromisoformat(text)).least


def test_office_hours() -> None:
    spec = scaling(OFFICE)
    assert least(spec, "2026-03-04T06:59:59+00:00") == 0  # 07:59:59 in Berlin
    assert least(spec, "2026-03-04T07:00:00+00:00") == 2
    assert least(spec, "2026-03-04T16:59:59+00:00") == 2
    assert least(spec, "2026-03-04T17:00:00+00:00") == 0
    assert least(spec, "2026-03-07T10:00:00+00:00") == 0  # Saturday


def test_the_clocks_go_forward() -> None:
    spec = scaling(OFFICE | {"days": ["Sun"]})
    assert least(spec, "2026-03-29T06:00:00+00:00") == 2  # 08:00 in summer time, which began that night
    assert least(spec, "2026-03-22T06:00:00+00:00") == 0


def test_a_night_belongs_to_the_day_on_which_it_starts() -> None:
    spec = scaling(OFFICE | {"days": ["Fri"], "start": "22:00", "end": "06:00", "timeZone": "Etc/UTC"})
    assert [least(spec, f"2026-03-{moment}+00:00") for moment in ("06T21:00", "06T22:00", "07T05:59", "07T06:00")] == [
        0,
        2,
        2,
        0,
    ]
    assert least(spec, "2026-03-06T05:00:00+00:00") == 0


def test_the_same_start_and_end_is_a_whole_day() -> None:
    spec = scaling(OFFICE | {"days": ["Wed"], "start": "09:00", "end": "09:00", "timeZone": "Etc/UTC"})
    assert least(spec, "2026-03-04T08:59:00+00:00") == 0
    assert least(spec, "2026-03-05T08:59:00+00:00") == 2


def test_the_highest_counts_and_never_above_the_most() -> None:
    noon = OFFICE | {"name": "noon", "start": "11:00", "end": "13:00", "minReplicas": 4}
    assert least(scaling(OFFICE, noon), "2026-03-04T11:00:00+00:00") == 4
    assert least(scaling(OFFICE, noon), "2026-03-04T15:00:00+00:00") == 2


def test_without_schedules_nothing_changes_by_itself() -> None:
    assert bounds_at(scaling(), datetime(2026, 3, 4, tzinfo=UTC)).until is None


@given(MOMENTS, st.integers(0, 3600 * 24))
def test_until_the_moment_that_is_named_the_bounds_stay(moment: datetime, seconds: int) -> None:
    spec = scaling(OFFICE, OFFICE | {"name": "night", "start": "23:30", "end": "04:15", "minReplicas": 1})
    found = bounds_at(spec, moment)
    assert found.until is not None
    assert found.until > moment
    inside = min(moment + timedelta(seconds=seconds), found.until - timedelta(seconds=1))
    assert bounds_at(spec, max(moment, inside)).least == found.least
