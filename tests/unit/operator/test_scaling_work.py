"""What jobs ask of their models, one by one and added up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from operator_effects import decide
from operator_views import READY, batch, completed, environment, job_spec, job_view

from easel_api.generationjob import ChosenBackend, GenerationJobStatus, ItemCounts
from easel_api.tasks import Quality
from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.decision import Scaled
from easel_operator.core.observed import JobView
from easel_operator.core.resources import Key
from easel_operator.core.scaling.policy import Work
from easel_operator.core.scaling.work import Costs, JobWork, gpu_seconds, items_left
from easel_operator.shell.demands import Demands

COSTS = Costs({"128x128": 0.05, "512x512": 0.9, "128x128x8": 0.5})
MADE = ChosenBackend(model_deployment="studio", selected_reason="WarmReplica")
WAKEABLE = replace(READY, desired=0, ready=False, wakes=True, costs=COSTS)


def seconds(costs: Costs = COSTS, items: int = 1, task: str = "text-to-image", **more: Any) -> float | None:
    parameters = {"steps": 20} | more.pop("parameters", {})
    return gpu_seconds(job_spec(task=task, parameters=parameters, **more), items, costs)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, 20 * 0.05),
        ({"width": 512, "height": 512}, 20 * 0.9),
        ({"width": 256, "height": 128}, 20 * 0.05 * 2),
        ({"width": 512, "height": 256}, 20 * 0.9 / 2),
        ({"steps": 5}, 5 * 0.05),
    ],
)
def test_an_item_costs_its_steps_at_its_shape(parameters: dict[str, Any], expected: float) -> None:
    assert seconds(parameters=parameters) == pytest.approx(expected)
    assert seconds(items=7, parameters=parameters) == pytest.approx(7 * expected)


def test_a_clip_costs_its_frames() -> None:
    assert seconds(task="text-to-video") == pytest.approx(20 * 0.5)
    assert seconds(task="text-to-video", parameters={"frames": 16}) == pytest.approx(20 * 1.0)
    assert seconds(Costs({"128x128": 0.05}), task="text-to-video") == pytest.approx(20 * 0.05 * 8)


def test_steps_that_are_not_computed_cost_nothing() -> None:
    assert seconds(quality="Draft") == pytest.approx(10 * 0.05)
    assert seconds(replace(COSTS, quality=Quality.STANDARD)) == pytest.approx(15 * 0.05)
    image = {"image": {"uri": "s3://art/in/mug.png"}}
    assert seconds(task="image-to-image", inputs=image, parameters={"strength": 0.5}) == pytest.approx(10 * 0.05)
    assert seconds(task="latent-to-image", prompts=[], matrix={}) == pytest.approx(0.05)


def test_nobody_knows_the_cost_of_a_model_that_was_not_measured() -> None:
    assert seconds(Costs({})) is None


def test_stored_and_given_up_items_are_no_work() -> None:
    assert items_left(job_spec(), None) == 4
    assert items_left(job_spec(), ItemCounts(total=4, succeeded=1, failed=2, running=1)) == 1


def test_a_job_is_work_for_the_model_that_makes_it_or_that_it_waits_for() -> None:
    waiting = job_view(candidates=(replace(READY, found=False, name="gone"), WAKEABLE))
    assert work(waiting) == JobWork("studio", 4, pytest.approx(4 * 20 * 0.05))
    made = job_view(batch_job=batch(backend=replace_name("other")), candidates=(READY, replace(WAKEABLE, name="other")))
    assert work(made) == JobWork("other", 4, pytest.approx(4 * 20 * 0.05))


def replace_name(name: str) -> ChosenBackend:
    return MADE.model_copy(update={"model_deployment": name})


@pytest.mark.parametrize(
    "view",
    [
        job_view(job_spec(suspend=True)),
        job_view(job_spec(cancel=True)),
        job_view(batch_job=completed()),
        job_view(batch_job=batch(backend=MADE), status=GenerationJobStatus(items=ItemCounts(total=4, succeeded=4))),
        job_view(batch_job=batch(owner_uid="another")),
        job_view(status=GenerationJobStatus.model_validate({"phase": "Complete"})),
        job_view(identity=replace(job_view().identity, deleting=True)),
        job_view(candidates=(replace(WAKEABLE, wakes=False),)),
        job_view(candidates=(replace(WAKEABLE, tasks=frozenset()),)),
    ],
)
def test_a_job_that_cannot_or_shall_not_work_is_no_work(view: JobView) -> None:
    assert work(view) is None


def work(view: JobView) -> Any:
    return decide(view, environment()).work


STUDIO = Key("ModelDeployment", "art", "studio")


def job(name: str) -> Key:
    return Key("GenerationJob", "art", name)


def test_the_work_of_jobs_is_added_up() -> None:
    demands = Demands(PrometheusMetrics())
    demands.put(job("a"), JobWork("studio", 2, 10.0))
    demands.put(job("b"), JobWork("studio", 3, 5.0))
    demands.put(job("c"), JobWork("other", 7, 70.0))
    assert demands.work(STUDIO) == Work(5, 15.0)
    demands.put(job("a"), JobWork("studio", 1, 5.0))
    demands.put(job("b"), None)
    assert demands.work(STUDIO) == Work(1, 5.0)
    demands.put(job("a"), JobWork("studio", 1, None))
    assert demands.work(STUDIO) == Work(1, None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.none()
            | st.builds(
                JobWork, st.sampled_from(["studio", "other"]), st.integers(1, 9), st.none() | st.floats(0.001, 1000)
            ),
        ),
        max_size=30,
    )
)
def test_a_total_is_the_sum_of_what_is_there(changes: list[tuple[str, JobWork | None]]) -> None:
    demands = Demands(PrometheusMetrics())
    there: dict[str, JobWork] = {}
    for name, work in changes:
        demands.put(job(name), work)
        there.pop(name, None)
        if work:
            there[name] = work
    of_studio = [work for work in there.values() if work.model == "studio"]
    told = demands.work(STUDIO)
    assert told.items == sum(work.items for work in of_studio)
    if any(work.gpu_seconds is None for work in of_studio):
        assert told.gpu_seconds is None
    else:
        assert told.gpu_seconds == pytest.approx(sum(work.gpu_seconds or 0.0 for work in of_studio), abs=1e-9)


def test_the_first_and_the_last_work_have_a_model_looked_at() -> None:
    demands = Demands(PrometheusMetrics())
    assert demands.put(job("a"), JobWork("studio", 2, 10.0)) == STUDIO
    assert demands.put(job("b"), JobWork("studio", 2, 10.0)) is None
    assert demands.put(job("a"), None) is None
    assert demands.put(job("b"), None) == STUDIO
    assert demands.put(job("b"), None) is None


def test_work_is_known_once_every_job_was_looked_at() -> None:
    demands = Demands(PrometheusMetrics())
    demands.clear([job("a"), job("b")])
    demands.put(job("a"), JobWork("studio", 2, 10.0))
    assert not demands.work(STUDIO).complete
    demands.put(job("b"), None)
    assert demands.work(STUDIO).complete


def test_work_that_an_earlier_leader_counted_is_not_counted_again() -> None:
    metrics = PrometheusMetrics()
    demands = Demands(metrics)
    demands.clear([job("a")])
    demands.scaled(STUDIO, Scaled(1, 0, active=True, query="q"))
    demands.put(job("a"), JobWork("studio", 2, 10.0))
    demands.put(job("b"), JobWork("studio", 1, 4.0))
    requested = ("easel_requested_gpu_seconds_total", {"namespace": "art", "deployment": "studio"})
    assert metrics.registry.get_sample_value(*requested) == 4.0


MEASURED, UNMEASURED = JobWork("studio", 2, 10.0), JobWork("studio", 2, None)


@pytest.mark.parametrize(
    "told",
    [
        [MEASURED, UNMEASURED, MEASURED],
        [MEASURED, None, MEASURED],
        [UNMEASURED, None, MEASURED, JobWork("studio", 1, 5.0)],
    ],
    ids=["its model is edited", "it is suspended and resumed", "it waits for the first measurement"],
)
def test_the_work_of_a_job_is_requested_once(told: list[JobWork | None]) -> None:
    metrics = PrometheusMetrics()
    demands = Demands(metrics)
    demands.scaled(STUDIO, Scaled(1, 0, active=True, query="q"))
    for work in told:
        demands.put(job("a"), work)
    requested = ("easel_requested_gpu_seconds_total", {"namespace": "art", "deployment": "studio"})
    assert metrics.registry.get_sample_value(*requested) == 10.0
    demands.ended(job("a"))
    demands.put(job("a"), MEASURED)
    assert metrics.registry.get_sample_value(*requested) == 20.0, "another job of that name"


def test_metrics_tell_of_the_work_of_each_model_and_of_the_scaling_of_those_that_are_scaled() -> None:
    metrics = PrometheusMetrics()
    demands = Demands(metrics)

    def told(name: str) -> Any:
        return metrics.registry.get_sample_value(name, {"namespace": "art", "deployment": "studio"})

    demands.put(job("a"), JobWork("studio", 2, 10.0))
    assert told("easel_backlog_gpu_seconds") is None
    assert not demands.scaled(STUDIO, None)
    assert (told("easel_backlog_gpu_seconds"), told("easel_backlog_items")) == (10.0, 2)
    assert told("easel_scaling_replicas") is None
    assert demands.scaled(STUDIO, Scaled(1, 0, active=False, query="q"))
    assert (told("easel_scaling_replicas"), told("easel_scaling_active")) == (1, 0)
    assert told("easel_requested_gpu_seconds_total") == 0.0
    demands.put(job("b"), JobWork("studio", 1, 4.0))
    demands.put(job("b"), JobWork("studio", 1, 2.0))
    assert told("easel_requested_gpu_seconds_total") == 4.0
    assert told("easel_backlog_gpu_seconds") == 12.0
    demands.put(job("a"), JobWork("studio", 1, None))
    assert told("easel_backlog_gpu_seconds") is None
    assert not demands.scaled(STUDIO, Scaled(1, 0, active=True, query="q"))
    assert demands.scaled(STUDIO, Scaled(1, 0, active=True, query="another"))
    demands.scaled(STUDIO, None)
    assert told("easel_scaling_replicas") is None
    assert told("easel_backlog_items") == 2
    demands.scaled(STUDIO, Scaled(1, 0, active=True))
    demands.gone(STUDIO)
    assert told("easel_backlog_items") is None
    demands.scaled(STUDIO, Scaled(1, 0, active=True))
    demands.clear(())
    assert told("easel_scaling_active") is None
