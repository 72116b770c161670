"""Which steps are computed, and what stands in for the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import Cancelled
from easel_api.tasks import Quality
from easel_inference.engine.participant import Participant
from easel_inference.engine.stepplan import SHORTEST, computed

steps = st.integers(1, 200)
qualities = st.sampled_from(list(Quality))


@given(steps, qualities)
def test_the_first_two_and_the_last_are_always_computed(count: int, quality: Quality) -> None:
    plan = computed(count, quality)
    assert len(plan) == count
    assert all(plan[:2])
    assert plan[-1]


@given(steps)
def test_exact_computes_all_and_a_draft_no_more_than_standard(count: int) -> None:
    assert all(computed(count, Quality.EXACT))
    assert sum(computed(count, Quality.DRAFT)) <= sum(computed(count, Quality.STANDARD)) <= count


@given(st.integers(1, SHORTEST - 1), qualities)
def test_short_loops_lose_nothing(count: int, quality: Quality) -> None:
    assert all(computed(count, quality))


def test_twenty_steps() -> None:
    assert sum(computed(20, Quality.STANDARD)) == 14
    assert sum(computed(20, Quality.DRAFT)) == 10


@given(st.integers(SHORTEST, 60), st.sampled_from([Quality.STANDARD, Quality.DRAFT]), st.integers(1, 3))
def test_outputs_on_a_straight_line_are_guessed_exactly(count: int, quality: Quality, slots: int) -> None:
    """Whatever the plan and however many calls a step makes: a line is continued, each call's own."""
    participant = Participant(quality=quality)
    participant.begin(count)
    guessed = 0
    for step in range(count):
        for slot in range(slots):
            truth = float(100 * slot + 3 * step)
            guess = participant.guess()
            if guess is None:
                participant.keep(truth)
            else:
                guessed += 1
                assert guess == pytest.approx(truth)
        participant.step_ended()
    assert guessed == slots * (count - sum(computed(count, quality)))
    assert participant.computed_steps == sum(computed(count, quality))


@given(st.integers(1, 60), qualities)
def test_the_work_left_falls_to_one(count: int, quality: Quality) -> None:
    participant = Participant(quality=quality)
    participant.begin(count)
    assert participant.steps_left == sum(computed(count, quality))
    for _ in range(count):
        before = participant.steps_left
        participant.step_ended()
        assert participant.steps_left <= before
    assert participant.steps_left == 1


def test_what_is_too_late_ends_and_says_so() -> None:
    late = Participant(deadline=0.0)
    assert late.is_over
    with pytest.raises(Cancelled, match="deadline"):
        late.check()
