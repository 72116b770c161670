"""How many replicas: case by case, and what holds for whatever is seen."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from easel_api.scaling import Scaling
from easel_operator.core.scaling.policy import (
    LONGEST_GAP,
    POLL_SECONDS,
    TOLERANCE,
    Blind,
    Recommendation,
    Scale,
    Seen,
    Work,
    scale,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
POLL = timedelta(seconds=POLL_SECONDS)
BUSY = Work(items=8, gpu_seconds=100.0)
BLIND = Blind("NoData", "nothing")


def scaling(**changes: Any) -> Scaling:
    calm = {"scaleDown": {"stabilizationWindowSeconds": 300}}
    usual = {"maxReplicas": 8, "targetBacklogSeconds": 60, "idleSeconds": 600, "behavior": calm}
    return Scaling.model_validate(usual | changes)


def at_once(**changes: Any) -> Scaling:
    none = {"stabilizationWindowSeconds": 0}
    return scaling(behavior={"scaleUp": none, "scaleDown": none}, **changes)


def seen(**changes: Any) -> Seen:
    return replace(Seen(NOW, current=1, work=BUSY, demand=60.0), **changes)


def steady(replicas: int, seconds: float = 900) -> tuple[Recommendation, ...]:
    """A history that asked for so many replicas all the time."""
    polls = range(int(seconds / POLL_SECONDS), 0, -1)
    return tuple(Recommendation(NOW - number * POLL, replicas) for number in polls)


def test_a_clock_that_was_put_back_delays_no_sleep() -> None:
    tomorrow = NOW + timedelta(days=1)
    verdict = scale(at_once(), seen(current=1, demand=0.0, work=Work(), idle_since=tomorrow))
    assert verdict.idle_since == NOW


def test_a_new_model_is_loaded_once() -> None:
    assert scale(scaling(), seen(current=None, work=Work(), demand=None)).replicas == 1
    assert scale(scaling(minReplicas=2), seen(current=None, work=Work(), demand=None)).replicas == 2


def test_work_wakes_a_model_whatever_prometheus_says() -> None:
    for demand in (None, BLIND, 0.0, 1.0):
        assert scale(scaling(), seen(current=0, demand=demand)).replicas == 1


def test_there_are_as_many_replicas_as_finish_the_demand_in_time() -> None:
    assert scale(scaling(), seen(demand=181.0)).replicas == 4
    assert scale(scaling(targetBacklogSeconds=30), seen(demand=181.0)).replicas == 7
    assert scale(scaling(), seen(demand=1e9)).replicas == 8


def test_a_demand_near_to_what_the_replicas_do_changes_nothing() -> None:
    assert scale(scaling(), seen(current=4, demand=4.3 * 60)).replicas == 4
    assert scale(scaling(), seen(current=4, demand=4.5 * 60)).replicas == 5


def test_a_rise_waits_for_its_window() -> None:
    slow = scaling(behavior={"scaleUp": {"stabilizationWindowSeconds": 60}})
    assert scale(slow, seen(demand=300.0, history=steady(5, 45))).replicas == 1
    assert scale(slow, seen(demand=300.0, history=steady(5, 60))).replicas == 5
    dip = (*steady(5, 120)[:-1], Recommendation(NOW - POLL, 2))
    assert scale(slow, seen(demand=300.0, history=dip)).replicas == 2


def test_a_fall_waits_for_its_window_and_follows_the_highest_of_it() -> None:
    calm = seen(current=6, demand=60.0)
    assert scale(scaling(), replace(calm, history=())).replicas == 6
    assert scale(scaling(), replace(calm, history=steady(1, 285))).replicas == 6
    assert scale(scaling(), replace(calm, history=steady(1, 300))).replicas == 1
    assert scale(scaling(), replace(calm, history=(Recommendation(NOW - 2 * POLL, 4), *steady(1, 15)))).replicas == 6
    peak = tuple(replace(item, replicas=3) if number == 50 else item for number, item in enumerate(steady(1)))
    assert scale(scaling(), replace(calm, history=peak)).replicas == 3


def test_a_hole_in_the_history_starts_the_window_anew() -> None:
    hole = tuple(
        item for item in steady(1) if not NOW - timedelta(seconds=200) < item.at < NOW - timedelta(seconds=100)
    )
    assert scale(scaling(), seen(current=6, history=hole)).replicas == 6


def test_a_busy_replica_stays_and_an_idle_one_goes() -> None:
    fall = seen(current=5, demand=60.0, history=steady(1))
    assert scale(scaling(), replace(fall, busy=3)).replicas == 3
    assert scale(scaling(), replace(fall, busy=5)).replicas == 5
    assert scale(scaling(), replace(fall, busy=0)).replicas == 1


def test_nothing_goes_while_a_replica_loads() -> None:
    assert scale(scaling(), seen(current=5, demand=60.0, history=steady(1), loading=True)).replicas == 5
    rested = seen(work=Work(), demand=0.0, history=steady(0), idle_since=NOW - timedelta(hours=1), loading=True)
    assert scale(scaling(), rested).replicas == 1


def test_a_model_without_work_sleeps_after_its_idle_time() -> None:
    calm = seen(work=Work(), demand=0.0, history=steady(0))
    assert scale(scaling(), replace(calm, idle_since=NOW - timedelta(seconds=599))).replicas == 1
    assert scale(scaling(), replace(calm, idle_since=NOW - timedelta(seconds=600))).replicas == 0
    assert scale(scaling(minReplicas=1), replace(calm, idle_since=NOW - timedelta(hours=9))).replicas == 1
    assert scale(scaling(), calm).idle_since == NOW
    assert scale(scaling(), replace(calm, work=BUSY, idle_since=NOW)).idle_since is None


def test_a_query_of_ones_own_keeps_and_makes_a_model_awake() -> None:
    calm = seen(work=Work(), demand=30.0, history=steady(0), idle_since=NOW - timedelta(hours=1))
    assert scale(scaling(query="sum(others)"), calm).replicas == 1
    assert scale(scaling(query="sum(others)"), replace(calm, current=0)).replicas == 1


def test_until_all_jobs_were_looked_at_nothing_goes() -> None:
    unknown = Work(items=0, gpu_seconds=0.0, complete=False)
    calm = seen(current=3, work=unknown, demand=0.0, history=steady(0), idle_since=NOW - timedelta(hours=1))
    assert scale(scaling(), calm).replicas == 3
    assert scale(scaling(), replace(calm, idle_since=None)).idle_since is None


def test_a_lower_most_is_followed_at_once() -> None:
    assert scale(scaling(maxReplicas=2), seen(current=5, demand=BLIND, busy=5, loading=True)).replicas == 2


def test_a_model_that_was_not_measured_is_woken_and_not_multiplied() -> None:
    unmeasured = Work(items=500, gpu_seconds=None)
    verdict = scale(scaling(), seen(current=0, work=unmeasured, demand=None))
    assert (verdict.replicas, verdict.asks) == (1, False)


def test_a_sleeping_model_asks_nobody() -> None:
    assert not scale(scaling(), seen(current=0, work=Work())).asks
    assert scale(scaling(query="sum(others)"), seen(current=0, work=Work())).asks
    assert not scale(scaling(minReplicas=8), seen()).asks


MOMENTS = st.integers(0, 4000).map(lambda seconds: NOW - timedelta(seconds=seconds))
SPECS = st.builds(
    lambda least, most, target, idle, up, down, query: Scaling.model_validate(
        {
            "minReplicas": min(least, most),
            "maxReplicas": most,
            "targetBacklogSeconds": target,
            "idleSeconds": idle,
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": up},
                "scaleDown": {"stabilizationWindowSeconds": down},
            },
        }
        | ({"query": "sum(x)"} if query else {})
    ),
    st.integers(0, 8),
    st.integers(1, 8),
    st.integers(1, 600),
    st.integers(0, 900),
    st.sampled_from([0, 30, 300]),
    st.sampled_from([0, 60, 300, 3600]),
    st.booleans(),
)
SEEN = st.builds(
    Seen,
    now=st.just(NOW),
    current=st.none() | st.integers(0, 12),
    work=st.builds(Work, st.integers(0, 9), st.none() | st.floats(0, 1e4), st.booleans()),
    demand=st.none() | st.just(BLIND) | st.floats(0, 1e5),
    busy=st.integers(0, 12),
    loading=st.booleans(),
    idle_since=st.none() | MOMENTS,
    history=st.lists(st.builds(Recommendation, MOMENTS, st.integers(0, 12)), max_size=30).map(
        lambda items: tuple(sorted(items, key=lambda item: item.at))
    ),
)


@given(SPECS, SEEN)
def test_never_above_the_most_nor_below_the_least(spec: Scaling, found: Seen) -> None:
    assert spec.min_replicas <= scale(spec, found).replicas <= max(spec.max_replicas, 1)


@given(SPECS, SEEN)
def test_never_a_fall_on_missing_data(spec: Scaling, found: Seen) -> None:
    if found.current is None or isinstance(found.demand, float):
        return
    assert scale(spec, found).replicas >= min(found.current, spec.max_replicas)


@given(SPECS, SEEN)
def test_a_fall_spares_busy_replicas_and_respects_its_window(spec: Scaling, found: Seen) -> None:
    verdict = scale(spec, found)
    if found.current is None or verdict.replicas >= min(found.current, spec.max_replicas):
        return
    window = timedelta(seconds=spec.behavior.scale_down.stabilization_window_seconds)
    assert verdict.replicas >= min(found.busy, spec.max_replicas)
    assert not found.loading
    assert verdict.history[0].at <= NOW - window
    assert verdict.replicas >= min(
        spec.max_replicas, max(item.replicas for item in verdict.history if item.at >= NOW - window)
    )
    assert all(b.at - a.at <= LONGEST_GAP for a, b in itertools.pairwise(verdict.history))


@given(SPECS, SEEN)
def test_work_always_has_a_replica(spec: Scaling, found: Seen) -> None:
    if found.work.items:
        assert scale(spec, found).replicas >= 1


@given(SPECS, SEEN)
def test_the_same_again_at_once_changes_nothing(spec: Scaling, found: Seen) -> None:
    first = scale(spec, found)
    again = scale(spec, replace(found, current=first.replicas, idle_since=first.idle_since, history=first.history))
    if found.current is not None:
        assert again.replicas == first.replicas


class Fluid:
    """A model under a steady load: work comes in at `load` GPU-seconds a second and each replica does one."""

    def __init__(self, spec: Scaling, load: float, load_seconds: float) -> None:
        self.spec, self.load, self.load_seconds = spec, load, load_seconds
        self.now, self.current, self.backlog = NOW, 1, 0.0
        self.ready: list[datetime] = [NOW]
        self.last = Scale(1, None, asks=True)  # type: ignore[arg-type]  # what comes before the first verdict

    def poll(self) -> int:
        """One turn of the operator; the number of replicas after it."""
        serving = sum(moment <= self.now for moment in self.ready)
        self.backlog = max(0.0, self.backlog + (self.load - serving) * POLL_SECONDS)
        running = min(self.backlog + self.load * POLL_SECONDS, serving * POLL_SECONDS)
        demand = self.backlog + running / POLL_SECONDS + self.spec.target_backlog_seconds * self.load
        self.last = scale(
            self.spec,
            Seen(
                self.now,
                self.current,
                Work(1, self.backlog),
                demand,
                busy=min(serving, math.ceil(self.load)),
                loading=serving < self.current,
                history=self.last.history,
            ),
        )
        self.current = self.last.replicas
        self.ready = sorted(self.ready)[: self.current]
        self.ready += [self.now + timedelta(seconds=self.load_seconds)] * (self.current - len(self.ready))
        self.now += POLL
        return self.current


@given(
    st.floats(0.05, 7.0), st.sampled_from([10, 60, 300]), st.sampled_from([0, 120, 300]), st.sampled_from([5, 60, 240])
)
def test_no_oscillation_under_a_steady_load(load: float, target: int, window: int, load_seconds: int) -> None:
    spec = scaling(
        targetBacklogSeconds=target, behavior={"scaleDown": {"stabilizationWindowSeconds": window}}, maxReplicas=12
    )
    # A load that is a little more than whole replicas do piles up, and asks for one more only once that exceeds the tolerance: in the
    # two hours before anything counts as settled.
    whole = math.floor(load)
    assume(load == whole or (load - whole) * 7200 > 1.2 * TOLERANCE * max(whole, 1) * target)
    model = Fluid(spec, load, load_seconds)
    counts = [model.poll() for _ in range(960)]  # four hours
    settled = counts[480:]
    assert max(settled) - min(settled) == 0, settled
    assert settled[0] >= load
    # On the way there it rises, may fall once, and no more.
    turns = [b - a for a, b in itertools.pairwise(counts) if a != b]
    assert sum(a > 0 > b or a < 0 < b for a, b in itertools.pairwise(turns)) <= 1, counts
