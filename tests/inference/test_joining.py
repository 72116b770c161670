"""The batcher's policy: what runs together, and how long to wait for more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from easel_inference.engine.joining import LONGEST_WINDOW, Waiting, choose, window

calls = st.lists(st.builds(Waiting, key=st.sampled_from("abc"), units=st.integers(1, 10)), max_size=20)
limits = st.integers(1, 30)


@given(calls, limits)
def test_the_oldest_always_runs_with_its_own_kind(waiting: list[Waiting], limit: int) -> None:
    chosen = choose(waiting, limit)
    assert bool(chosen) == bool(waiting)
    assert chosen == sorted(set(chosen))
    if chosen:
        assert chosen[0] == 0
        assert {waiting[index].key for index in chosen} == {waiting[0].key}


@given(calls, limits)
def test_a_pass_stays_within_its_limit_unless_one_call_is_larger(waiting: list[Waiting], limit: int) -> None:
    chosen = choose(waiting, limit)
    assert len(chosen) <= 1 or sum(waiting[index].units for index in chosen) <= limit


@given(calls, limits)
def test_equal_keys_keep_their_order(waiting: list[Waiting], limit: int) -> None:
    """No call overtakes an older one of its key: what was chosen is a prefix of the calls of that key."""
    chosen = choose(waiting, limit)
    same = [index for index, call in enumerate(waiting) if call.key == waiting[0].key]
    assert chosen == same[: len(chosen)]


@given(calls, limits)
def test_everyone_runs_in_the_end(waiting: list[Waiting], limit: int) -> None:
    left, passes = list(waiting), 0
    while left:
        left = [call for index, call in enumerate(left) if index not in choose(left, limit)]
        passes += 1
    assert passes <= len(waiting)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1000))
def test_the_window_is_bounded_and_none_when_nobody_else_can_come(taking_part: int, waiting: int, last: float) -> None:
    seconds = window(taking_part, waiting, last)
    assert 0 <= seconds <= LONGEST_WINDOW
    assert (seconds == 0) == (waiting >= taking_part)


def test_a_lone_request_waits_for_nobody() -> None:
    assert window(1, 1, 10.0) == 0
