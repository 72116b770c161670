"""The batcher's policy: what runs together and in which order, and how long to wait for more."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from easel_inference.engine.joining import LONGEST_WINDOW, PATIENCE, Waiting, choose, rank, window

calls = st.lists(
    st.builds(
        Waiting,
        key=st.sampled_from("abc"),
        units=st.integers(1, 10),
        priority=st.integers(-2, 2),
        deadline=st.sampled_from([1.0, 5.0, math.inf]),
        work_left=st.integers(1, 100),
        since=st.floats(0, 3),
    ),
    max_size=20,
)
limits = st.integers(1, 30)
NOW = 3.0


@given(calls, limits)
def test_the_first_in_rank_always_runs_with_its_own_kind(waiting: list[Waiting], limit: int) -> None:
    chosen = choose(waiting, limit, NOW)
    assert bool(chosen) == bool(waiting)
    assert len(set(chosen)) == len(chosen)
    if chosen:
        assert rank(waiting[chosen[0]], NOW) == min(rank(call, NOW) for call in waiting)
        assert {waiting[index].key for index in chosen} == {waiting[chosen[0]].key}


@given(calls, limits)
def test_a_pass_stays_within_its_limit_unless_one_call_is_larger(waiting: list[Waiting], limit: int) -> None:
    chosen = choose(waiting, limit, NOW)
    assert len(chosen) <= 1 or sum(waiting[index].units for index in chosen) <= limit


@given(calls, limits)
def test_nobody_who_fits_is_left_behind(waiting: list[Waiting], limit: int) -> None:
    chosen = choose(waiting, limit, NOW)
    units = sum(waiting[index].units for index in chosen)
    for index, call in enumerate(waiting):
        if chosen and index not in chosen and call.key == waiting[chosen[0]].key:
            assert units + call.units > limit


@given(calls, limits)
def test_everyone_runs_in_the_end(waiting: list[Waiting], limit: int) -> None:
    left, passes = list(waiting), 0
    while left:
        left = [call for index, call in enumerate(left) if index not in choose(left, limit, NOW)]
        passes += 1
    assert passes <= len(waiting)


@given(calls)
def test_priority_comes_before_deadline_and_deadline_before_work(waiting: list[Waiting]) -> None:
    fresh = [replace(call, since=NOW) for call in waiting]
    for one in fresh:
        for other in fresh:
            if (
                one.priority > other.priority
                or (one.priority == other.priority and one.deadline < other.deadline)
                or (
                    (one.priority, one.deadline) == (other.priority, other.deadline) and one.work_left < other.work_left
                )
            ):
                assert rank(one, NOW) < rank(other, NOW)


@given(st.integers(1, 12), st.floats(0.05, 1.5))
def test_a_long_clip_moves_however_many_short_requests_come(rivals: int, pass_seconds: float) -> None:
    """Simulated: rivals of less work and higher priority that are always there. The clip still gets its passes."""
    clip = Waiting("clip", 100, priority=-5, work_left=1e9, since=0.0)
    now, passes_of_clip, waits = 0.0, 0, [0.0]
    for _ in range(400):
        waiting = [clip, *(Waiting("short", 1, priority=5, work_left=1, since=now) for _ in range(rivals))]
        now += pass_seconds
        if choose(waiting, 30, now)[0] == 0:
            passes_of_clip += 1
            waits.append(now - clip.since)
            clip = replace(clip, since=now)
    assert passes_of_clip >= int(now / (PATIENCE + 2 * pass_seconds))
    assert max(waits) <= PATIENCE + 2 * pass_seconds


@given(st.integers(0, 50), st.floats(0, 10), st.floats(0, 1000))
def test_the_window_is_bounded_and_none_when_nobody_else_can_come(absent: int, since: float, seconds: float) -> None:
    pause = window(absent, since, seconds)
    assert 0 <= pause <= LONGEST_WINDOW
    if absent == 0 or since >= LONGEST_WINDOW:
        assert pause == 0


def test_a_lone_request_waits_for_nobody() -> None:
    assert window(0, 0.0, 10.0) == 0


def test_someone_who_left_a_while_ago_is_not_waited_for() -> None:
    assert window(1, 0.001, 0.4) > 0
    assert window(1, 0.2, 0.4) == 0
