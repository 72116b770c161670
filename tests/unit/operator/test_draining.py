"""How long a replica that stops may work on: by the measured pace, and never by replacing one that serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from operator_effects import after, decide
from operator_views import environment, model_spec, model_view

from easel_api.modeldeployment import LoadedModel, StepCost
from easel_operator.core.actions import Apply
from easel_operator.core.observed import DeploymentCounts, ModelView

SERVES = DeploymentCounts(current=True, replicas=1, updated=1, ready=1)
ASLEEP = DeploymentCounts(current=True)


def deployed(view: ModelView) -> ModelView:
    made = after(view, decide(view, environment()))
    assert isinstance(made, ModelView)
    return made


def measured(view: ModelView, seconds: float, **changes: Any) -> ModelView:
    """The same, after a replica measured its steps."""
    costs = [StepCost(shape="512x512", seconds=0.01), StepCost(shape="1024x1024x16", seconds=seconds)]
    status = view.status.model_copy(update={"model": LoadedModel(digest="sha256:0", steps=costs)})
    return replace(view, status=status, **changes)


def grace(view: ModelView) -> tuple[int, str] | None:
    """Grace period and drain of the Deployment that is applied, if one is."""
    for action in decide(view, environment()).actions:
        if isinstance(action, Apply) and action.manifest.resource.kind == "Deployment":
            pod = action.manifest.body["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            (drain,) = (each["value"] for each in container["env"] if each["name"] == "EASEL_DRAIN_SECONDS")
            return pod["terminationGracePeriodSeconds"], drain
    return None


def test_a_model_that_nobody_measured_has_five_minutes() -> None:
    assert grace(model_view()) == (330, "300")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    # 16 requests of 50 steps each take 80, 800 and 48,000 seconds; in whole minutes, between five and sixty.
    [(0.1, None), (1.0, (870, "840")), (60.0, (3630, "3600"))],
)
def test_while_no_pod_runs_the_measured_pace_counts(seconds: float, expected: tuple[int, str] | None) -> None:
    slept = measured(deployed(model_view(model_spec(replicas=0))), seconds, counts=ASLEEP)
    assert grace(slept) == expected
    if expected:
        assert grace(replace(deployed(slept), counts=ASLEEP)) is None, "once"


def test_a_model_that_serves_keeps_what_it_has() -> None:
    assert grace(measured(deployed(model_view()), 1.0, counts=SERVES)) is None


def test_a_template_that_changes_anyway_takes_what_was_measured() -> None:
    view = measured(deployed(model_view()), 1.0, counts=SERVES)
    assert grace(replace(view, spec=model_spec(engine={"dtype": "float32"}))) == (870, "840")


def test_what_a_template_has_outlives_the_measurement() -> None:
    slept = deployed(measured(deployed(model_view(model_spec(replicas=0))), 1.0, counts=ASLEEP))
    forgotten = replace(slept, status=slept.status.model_copy(update={"model": None}))
    assert grace(replace(forgotten, counts=SERVES)) is None
    assert grace(replace(forgotten, spec=model_spec(engine={"dtype": "float32"}), counts=SERVES)) == (870, "840")
