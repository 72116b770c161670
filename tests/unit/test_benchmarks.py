"""The arithmetic of the engine's benchmark: a figure is only as true as its percentile."""

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "engine"))

from workloads import PROMPTS, Outcome, closed_loop, poisson, schedule, works

LATENCIES = st.lists(st.floats(0.001, 1000), min_size=1, max_size=50).map(tuple)


@given(LATENCIES, st.integers(1, 100))
def test_a_percentile_is_the_least_latency_that_so_many_requests_keep(
    latencies: tuple[float, ...], percent: int
) -> None:
    found = Outcome(1.0, latencies).percentile(percent / 100)
    assert found in latencies
    assert 100 * sum(latency <= found for latency in latencies) >= percent * len(latencies)
    assert 100 * sum(latency < found for latency in latencies) < percent * len(latencies)


@given(LATENCIES, st.floats(0, 1000))
def test_the_share_within_a_limit_counts_those_that_meet_it_exactly(latencies: tuple[float, ...], limit: float) -> None:
    late = [latency for latency in latencies if latency > limit]
    assert Outcome(1.0, latencies).within(limit) == pytest.approx(1 - len(late) / len(latencies))


def test_throughput_is_pictures_per_second_of_the_whole_run() -> None:
    assert Outcome(4.0, (1.0, 2.0, 3.0)).throughput == 0.75


@given(st.floats(0.01, 100), st.integers(1, 50), st.integers(0, 1000))
def test_arrivals_are_ordered_and_the_same_for_a_seed(rate: float, count: int, seed: int) -> None:
    moments = schedule(rate, count, seed)
    assert moments == schedule(rate, count, seed)
    assert len(moments) == count
    assert all(earlier <= later for earlier, later in itertools.pairwise([0.0, *moments]))


def test_arrivals_come_at_the_asked_rate() -> None:
    # The mean of 10,000 exponential gaps is within 5 % of the true one but for odds below one in a million.
    assert schedule(2.5, 10_000)[-1] == pytest.approx(10_000 / 2.5, rel=0.05)


def test_pictures_are_distinct_and_sizes_take_their_shares() -> None:
    asked = works(40, [(128, 128)] * 4 + [(192, 128)])
    assert len({work.prompt for work in asked}) == len({work.seed for work in asked}) == 40
    assert sum(work.width == 192 for work in asked) == 8


def test_no_prompt_is_asked_twice_in_a_run() -> None:
    # The engine keeps what it encoded, the baselines do not.
    first, second = works(500, [(128, 128)]), works(500, [(128, 128)], 500)
    assert len({work.prompt for work in first + second}) == 1000
    with pytest.raises(IndexError):
        works(1, [(128, 128)], len(PROMPTS))


class Broken:
    """A system that makes nothing."""

    name = "broken"

    def make(self, work: object) -> object:
        raise ValueError("no picture")

    def close(self) -> None: ...


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failed_request_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="2 of 2 requests to broken failed"):
        poisson(Broken(), 1000, works(2, [(128, 128)]))
    with pytest.raises(ValueError, match="no picture"):
        closed_loop(Broken(), 2, works(2, [(128, 128)]))
