"""Who may begin next: class before share before age, within what the model, the namespace and the platform allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from operator_views import NOW

from easel_operator.core.admission import ADMITTED, UNKNOWN, AdmissionQueue, Seat
from easel_operator.core.configuration import Admission
from easel_operator.core.resources import GENERATION_JOBS, MODEL_DEPLOYMENTS, Key

HOUR = timedelta(hours=1)


def job(name: str, namespace: str = "art") -> Key:
    return Key(GENERATION_JOBS.kind, namespace, name)


def model(name: str = "studio", namespace: str = "art") -> Key:
    return Key(MODEL_DEPLOYMENTS.kind, namespace, name)


def seat(created: int = 0, **changes: Any) -> Seat:
    return replace(Seat("studio", created=f"2026-01-02T00:00:{created:02}Z"), **changes)


def queue(slots: int = 1, **rules: object) -> AdmissionQueue:
    made = AdmissionQueue(Admission.model_validate(rules))
    made.slots(model(), slots, NOW)
    return made


def test_a_model_takes_as_many_as_its_replicas_do() -> None:
    waiting = queue(2)
    assert [bool(waiting.put(job(name), seat(), NOW)) for name in "abc"] == [True, True, False]
    assert waiting.turn(job("a")) == ADMITTED
    assert waiting.turn(job("c")).message == "2 jobs work with ModelDeployment studio, as many as its replicas take"
    assert waiting.waiting() == {"art": 1}
    assert waiting.put(job("a"), None, NOW) == {job("c")}
    assert waiting.put(job("d"), seat(), NOW) == set()
    assert waiting.slots(model(), 3, NOW) == {job("d")}


def test_the_higher_class_goes_first_and_then_the_older() -> None:
    waiting = queue(0)
    for name, each in {"late": seat(9), "early": seat(1), "urgent": seat(8, priority=5)}.items():
        waiting.put(job(name), each, NOW)
    begun = [waiting.slots(model(), slots, NOW) for slots in (1, 2, 3)]
    assert begun == [{job("urgent")}, {job("early")}, {job("late")}]


def test_a_job_may_change_its_class_while_it_waits() -> None:
    waiting = queue(0)
    waiting.put(job("a"), seat(1), NOW)
    waiting.put(job("b"), seat(2), NOW)
    waiting.put(job("b"), seat(2, priority=1), NOW)
    assert waiting.slots(model(), 1, NOW) == {job("b")}
    waiting.put(job("b"), seat(2, priority=-9), NOW)
    assert waiting.turn(job("b")) == ADMITTED, "what was admitted keeps its place"


def test_a_namespace_runs_no_more_than_it_may() -> None:
    waiting = queue(9, namespaces={"art": {"maxRunningJobs": 1}})
    waiting.slots(model("other"), 9, NOW)
    waiting.put(job("a"), seat(), NOW)
    assert waiting.put(job("b"), seat(model="other"), NOW) == set()
    assert waiting.turn(job("b")).message.startswith("1 jobs of this namespace work")
    assert waiting.put(job("a"), seat(over=True, begun=NOW), NOW) == {job("b")}


def test_a_job_that_was_let_work_keeps_its_place_until_its_worker_is_seen() -> None:
    waiting = queue(1)
    assert waiting.put(job("a"), seat(), NOW) == {job("a")}
    assert waiting.put(job("a"), seat(), NOW) == set()
    assert waiting.turn(job("a")) == ADMITTED
    assert waiting.put(job("b"), seat(), NOW) == set()
    waiting.put(job("a"), seat(begun=NOW), NOW)
    assert waiting.turn(job("b")).message


def test_nobody_begins_until_every_job_was_looked_at() -> None:
    waiting = queue(1)
    waiting.clear([job("working"), job("new"), job("gone")])
    waiting.slots(model(), 1, NOW)
    assert waiting.put(job("new"), seat(), NOW) == set()
    assert waiting.turn(job("new")) == UNKNOWN
    waiting.put(job("gone"), None, NOW)
    assert waiting.put(job("working"), seat(begun=NOW), NOW) == {job("new")}
    assert waiting.turn(job("new")).message


def crowded(weight: float = 1.0) -> AdmissionQueue:
    """Two namespaces with a model each, and a platform that lets one job work."""
    waiting = AdmissionQueue(Admission.model_validate({"maxRunningJobs": 1, "namespaces": {"b": {"weight": weight}}}))
    for namespace in "ab":
        waiting.slots(model(namespace=namespace), 9, NOW)
    return waiting


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.5), (3.0, 0.75)])
def test_namespaces_share_gpu_seconds_by_weight(weight: float, share: float) -> None:
    waiting, given_to, now = crowded(weight), Counter[str](), NOW
    working: Key | None = None
    for number in range(400):
        now += timedelta(seconds=10)
        # One namespace makes clips that take ten times as long, and asks for as many.
        for namespace, seconds in (("a", 10.0), ("b", 100.0)):
            waiting.put(job(f"{number:03}", namespace), seat(gpu_seconds=seconds), now)
        if working:
            waiting.put(working, seat(over=True, begun=now), now)
        (working,) = waiting._working
        given_to[working.namespace] += 10 if working.namespace == "a" else 100
    assert given_to["b"] / given_to.total() == pytest.approx(share, abs=0.05)


def test_what_a_namespace_was_given_fades() -> None:
    def first_after(pause: timedelta) -> str:
        waiting = crowded()
        # An hour ago `a` was given 100, and just now `b` 60.
        waiting.put(job("old", "a"), seat(gpu_seconds=100, over=True, begun=NOW), NOW)
        now = NOW + pause
        waiting.put(job("old", "b"), seat(gpu_seconds=60, begun=now), now)
        for namespace in "ab":
            waiting.put(job("new", namespace), seat(), now)
        (admitted,) = waiting.put(job("old", "b"), seat(gpu_seconds=60, begun=now, over=True), now)
        return admitted.namespace

    assert first_after(timedelta(0)) == "b"
    assert first_after(HOUR) == "a"


def test_a_process_that_begins_meets_the_past_in_any_order() -> None:
    past = [("a", 100.0, NOW - 2 * HOUR), ("b", 30.0, NOW - HOUR), ("a", 5.0, NOW), ("b", 8.0, NOW - HOUR / 2)]
    shares = []
    for order in (past, past[::-1]):
        waiting = crowded()
        for number, (namespace, seconds, when) in enumerate(order):
            waiting.put(job(f"{when}{number}", namespace), seat(gpu_seconds=seconds, begun=when, over=True), NOW)
        shares.append([waiting._share(namespace, NOW) for namespace in "ab"])
    assert shares[0] == pytest.approx(shares[1])
    assert shares[0] == pytest.approx([30.0, 15.0 + 8 * 0.5**0.5])


@dataclass
class Simple:
    """What the queue promises, said in the most simple way: every admission looks at everything."""

    rules: Admission
    slots: dict[Key, int] = field(default_factory=dict)
    waiting: dict[Key, Seat] = field(default_factory=dict)
    working: dict[Key, Seat] = field(default_factory=dict)

    def admit(self) -> set[Key]:
        admitted: set[Key] = set()
        while can := [key for key, each in self.waiting.items() if self.room(key, each)]:
            first = min(can, key=lambda key: (-self.waiting[key].priority, self.waiting[key].created, key))
            self.working[first] = self.waiting.pop(first)
            admitted.add(first)
        return admitted

    def room(self, key: Key, asked: Seat) -> bool:
        of_model = [
            each for each in self.working.items() if each[0].namespace == key.namespace and each[1].model == asked.model
        ]
        of_namespace = [each for each in self.working if each.namespace == key.namespace]
        limit, total = self.rules.of(key.namespace).max_running_jobs, self.rules.max_running_jobs
        return (
            len(of_model) < self.slots.get(model(asked.model, key.namespace), 0)
            and (limit is None or len(of_namespace) < limit)
            and (total is None or len(self.working) < total)
        )


STEP = st.one_of(
    st.tuples(
        st.just("put"),
        st.builds(job, st.sampled_from("pqrstu"), st.sampled_from("ab")),
        st.none()
        | st.builds(seat, st.integers(0, 3), model=st.sampled_from(["studio", "x"]), priority=st.integers(-1, 1)),
    ),
    st.tuples(
        st.just("slots"), st.builds(model, st.sampled_from(["studio", "x"]), st.sampled_from("ab")), st.integers(0, 3)
    ),
)
LIMIT = st.none() | st.integers(1, 3)


@given(st.lists(STEP, max_size=40), LIMIT, LIMIT)
def test_it_admits_what_looking_at_everything_would(
    steps: list[tuple[str, Key, Seat | int | None]], total: int | None, each: int | None
) -> None:
    rules = Admission.model_validate({"maxRunningJobs": total, "default": {"maxRunningJobs": each}})
    real, simple = AdmissionQueue(rules), Simple(rules)
    moment: datetime = NOW
    for _, key, asked in steps:
        if isinstance(asked, int):
            simple.slots[key] = asked
            admitted = real.slots(key, asked, moment)
        else:
            kept = simple.working.pop(key, None)
            simple.waiting.pop(key, None)
            if asked:
                (simple.working if kept and kept.model == asked.model else simple.waiting)[key] = asked
            admitted = real.put(key, asked, moment)
        assert admitted == simple.admit()
        assert all(real.turn(key).admitted for key in simple.working)
        assert all(real.turn(key).message for key in simple.waiting)
