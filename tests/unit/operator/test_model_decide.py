"""What is decided about a ModelDeployment, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from operator_effects import after, decide, kinds, said, status_of
from operator_views import configuration, environment, model_spec, model_view, pod, running

from easel_api.errors import ErrorReport
from easel_api.modeldeployment import ModelDeploymentStatus
from easel_api.scaling import ScalingStatus
from easel_api.tasks import Task
from easel_operator.core.actions import Apply, ApplyStatus, Delete, KeepReplicas, SetDeletionCost
from easel_operator.core.decision import Decision, Refusal
from easel_operator.core.model.decide import children
from easel_operator.core.model.deployment import runtime_hash
from easel_operator.core.observed import DeploymentCounts, Loaded, ModelView, NotLoaded, Problem, Termination, Trouble
from easel_operator.core.scaling.policy import Blind, Work

LOADED = Loaded("sha256:0", "StableDiffusion", (Task.TEXT_TO_IMAGE,), 9, 4.14)


def deployed(view: ModelView | None = None) -> ModelView:
    """The view after the first pass."""
    view = view or model_view()
    made = after(view, decide(view, environment()))
    assert isinstance(made, ModelView)
    return made


def hash_of(view: ModelView) -> str:
    settings = configuration()
    assert not isinstance(view.spec, Problem)
    return runtime_hash(view.identity, view.spec, settings.runtime_profiles["default"], settings)


def serving(replicas: int = 1, ready: int | None = None, **changes: Any) -> ModelView:
    view = deployed(model_view(model_spec(replicas=replicas)))
    ready = replicas if ready is None else ready
    pods = tuple(running(f"studio-{number}", runtime_hash=hash_of(view), **changes) for number in range(ready))
    counts = DeploymentCounts(current=True, replicas=replicas, updated=replicas, ready=ready)
    return replace(view, counts=counts, pods=pods)


def loading(**changes: Any) -> ModelView:
    view = serving(ready=0)
    return replace(view, pods=(pod("studio-0", runtime_hash=hash_of(view), **changes),))


def test_a_new_model_gets_its_children_the_policy_first() -> None:
    decision = decide(model_view(), environment())
    applied = [action.manifest.resource.kind for action in decision.actions if isinstance(action, Apply)]
    assert applied == ["NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]
    assert not any(action.version for action in decision.actions if isinstance(action, Apply))
    assert said(decision)["Ready"] == ("Unknown", "Progressing")
    assert said(decision)["Reconciling"] == ("True", "Progressing")


def test_a_model_that_serves_is_ready_and_nothing_else() -> None:
    decision = decide(serving(), environment())
    assert said(decision) == {"Ready": ("True", "Serving"), "ModelLoaded": ("True", "Loaded")}
    assert status_of(decision)["replicas"] == {"desired": 1, "ready": 1}
    assert status_of(decision)["endpoint"] == "studio.art.svc:8001"


def test_a_model_that_serves_with_fewer_replicas_is_ready_and_reconciling() -> None:
    decision = decide(serving(replicas=3, ready=1), environment())
    assert said(decision)["Ready"] == ("True", "Serving")
    assert said(decision)["Reconciling"] == ("True", "Progressing")


def test_what_the_runtime_says_is_told() -> None:
    status = status_of(decide(serving(probe=LOADED), environment()))
    assert status["model"] == {"digest": "sha256:0", "family": "StableDiffusion", "parameters": 9, "loadedSeconds": 4.1}
    assert status["tasks"] == ["text-to-image"]


def test_another_replicas_load_time_changes_nothing() -> None:
    view = after(serving(probe=LOADED), decide(serving(probe=LOADED), environment()))
    assert isinstance(view, ModelView)
    other = replace(view, pods=tuple(replace(pod, probe=replace(LOADED, loaded_seconds=9.9)) for pod in view.pods))
    assert decide(other, environment()).settled


def test_a_runtime_that_does_not_answer_takes_nothing_back() -> None:
    view = after(serving(probe=LOADED), decide(serving(probe=LOADED), environment()))
    assert isinstance(view, ModelView)
    assert view.status.model is not None
    silent = replace(view, pods=tuple(replace(pod, probe=None) for pod in view.pods))
    status = decide(silent, environment())
    assert all("model" in action.status for action in status.actions if hasattr(action, "status"))


def test_scaled_to_zero_is_ready() -> None:
    decision = decide(serving(replicas=0), environment())
    assert said(decision) == {"Ready": ("True", "ScaledToZero"), "ModelLoaded": ("False", "ScaledToZero")}


def probe(reason: str) -> NotLoaded:
    return NotLoaded(ErrorReport(reason=reason, what="it went wrong", where="model"))


@pytest.mark.parametrize(
    ("changes", "reason", "stalls"),
    [
        ({"running": True, "probe": probe("Loading")}, "Loading", False),
        ({"running": True}, "Loading", False),
        ({"running": True, "probe": probe("UnsafeModel")}, "UnsafeModel", True),
        ({"running": True, "probe": probe("InvalidInput")}, "InvalidInput", True),
        ({"running": True, "probe": probe("BackendFault")}, "BackendFault", False),
        ({"termination": Termination(1, "Error", "NotFound: no such claim")}, "NotFound", True),
        ({"trouble": Trouble("ImagePullBackOff", "cannot be pulled")}, "ImagePullBackOff", False),
        ({"trouble": Trouble("Unschedulable", "0/1 nodes: nvidia.com/gpu")}, "Unschedulable", False),
        ({"trouble": Trouble("CrashLoopBackOff", "exit code 139")}, "CrashLoopBackOff", False),
        ({}, "Progressing", False),
    ],
)
def test_why_a_model_does_not_serve(changes: dict[str, Any], reason: str, stalls: bool) -> None:
    decision = decide(loading(**changes), environment())
    assert said(decision)["Ready"] == ("False", reason)
    assert said(decision)["Stalled" if stalls else "Reconciling"] == ("True", reason)
    assert ("Stalled" in said(decision)) != ("Reconciling" in said(decision))
    told = reason not in ("Loading", "Progressing")
    assert ("lastFailure" in status_of(decision)) == told


def test_a_runtime_that_may_still_load_is_asked_again() -> None:
    assert decide(loading(running=True), environment()).requeue_after == 5
    assert decide(serving(), environment()).requeue_after == 60
    assert decide(serving(probe=LOADED), environment()).requeue_after is None


def test_pods_of_an_older_template_are_not_blamed() -> None:
    view = replace(serving(ready=0), pods=(pod(runtime_hash="old", trouble=Trouble("ImagePullBackOff", "old")),))
    assert said(decide(view, environment()))["Ready"] == ("False", "Progressing")


def test_while_only_an_older_template_serves_the_present_one_is_not_loaded() -> None:
    view = serving()
    rolling = replace(view, pods=(running("old", runtime_hash="old"), pod("new", runtime_hash=hash_of(view))))
    assert said(decide(rolling, environment()))["Ready"] == ("True", "Serving")
    assert said(decide(rolling, environment()))["ModelLoaded"] == ("False", "NoReplica")


def test_what_serves_of_an_older_specification_is_told_as_long_as_it_does() -> None:
    older = running("studio-9", runtime_hash="before", probe=replace(LOADED, digest="sha256:9"))
    view = serving(replicas=2, ready=1, probe=LOADED)
    beside = replace(view, pods=(*view.pods, older, pod("studio-8", runtime_hash="before")))
    assert status_of(decide(beside, environment()))["previous"] == {"digest": "sha256:9", "replicas": 1}
    assert "previous" not in status_of(decide(view, environment()))
    going = replace(view, pods=(*view.pods, replace(older, deleting=True)))
    assert "previous" not in status_of(decide(going, environment()))


def test_a_replica_that_fails_beside_one_that_serves_takes_nothing_away() -> None:
    view = serving(replicas=2, ready=1)
    failing = pod("studio-1", runtime_hash=hash_of(view), running=True, probe=probe("UnsafeModel"))
    decision = decide(replace(view, pods=(*view.pods, failing)), environment())
    assert said(decision)["ModelLoaded"] == ("True", "Loaded")


def test_a_pod_that_serves_is_not_blamed_for_its_past() -> None:
    view = serving(termination=Termination(1, "Error", "UnsafeModel: once"))
    assert "Stalled" not in said(decide(view, environment()))


def test_an_unknown_profile_stalls_and_makes_nothing() -> None:
    decision = decide(model_view(model_spec(runtimeProfile="a100")), environment())
    assert kinds(decision) == []
    assert said(decision)["Stalled"] == ("True", "RuntimeProfileUnknown")


def test_a_refused_child_is_told_and_not_tried_twice_in_a_pass() -> None:
    decision = decide(model_view(refusal=Refusal("NameTaken", "belongs to somebody else")), environment())
    assert kinds(decision) == []
    assert said(decision)["Reconciling"] == ("True", "NameTaken")


def test_a_changed_field_is_put_right_and_an_added_one_is_left() -> None:
    view = serving()
    child = view.children["Service"]
    spec = child.body["spec"]
    drifted = replace(child, body=child.body | {"spec": spec | {"selector": {"app": "mine"}}})
    decision = decide(replace(view, children=view.children | {"Service": drifted}), environment())
    assert [action.version for action in decision.actions if isinstance(action, Apply)] == ["7"]
    defaulted = replace(child, body=child.body | {"spec": spec | {"sessionAffinity": "None", "type": "ClusterIP"}})
    assert kinds(decide(replace(view, children=view.children | {"Service": defaulted}), environment())) == []


def test_a_field_that_is_no_longer_rendered_is_taken_away() -> None:
    view = serving()
    extra = replace(view.children["Deployment"], rendered_hash="of an older rendering")
    assert kinds(decide(replace(view, children=view.children | {"Deployment": extra}), environment())) == ["Apply"]


def test_pods_that_cannot_even_be_made_are_told() -> None:
    view = serving(ready=0)
    assert view.counts is not None
    stuck = replace(view.counts, trouble=Trouble("FailedCreate", 'serviceaccount "easel-runtime" not found'))
    assert said(decide(replace(view, counts=stuck), environment()))["Ready"] == ("False", "FailedCreate")


def test_replicas_change_the_deployment_and_not_its_pods() -> None:
    one, two = model_view(model_spec(replicas=1)), model_view(model_spec(replicas=2))
    assert hash_of(one) == hash_of(two)
    assert hash_of(one) != hash_of(model_view(model_spec(engine={"dtype": "bfloat16"})))


def test_every_child_is_owned_by_the_model() -> None:
    view = model_view()
    assert not isinstance(view.spec, Problem)
    profile = configuration().runtime_profiles["default"]
    for manifest in children(view, view.spec, profile, environment(), 1):
        (owner,) = manifest.body["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("model-uid", True)


def scaled(current: int, **changes: Any) -> ModelView:
    """A model that is scaled by demand, with so many replicas that serve."""
    view = deployed(model_view(model_spec(scaling={"maxReplicas": 4, "behavior": AT_ONCE})))
    child = view.children["Deployment"]
    body = child.body | {"spec": child.body["spec"] | {"replicas": current}}
    hashed = hash_of(view)
    pods = tuple(running(f"studio-{number}", runtime_hash=hashed, load=0) for number in range(current))
    counts = DeploymentCounts(current=True, replicas=current, updated=current, ready=current)
    children = view.children | {"Deployment": replace(child, body=body)}
    return replace(view, counts=counts, pods=pods, children=children, **changes)


AT_ONCE = {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 0}}
WORK = Work(items=3, gpu_seconds=150.0)


def wanted(view: ModelView) -> int:
    """Replicas after the decision."""
    made = after(view, decide(view, environment()))
    assert isinstance(made, ModelView)
    return int(made.children["Deployment"].body["spec"]["replicas"])


def test_demand_decides_about_the_replicas() -> None:
    assert wanted(scaled(0, work=WORK)) == 1
    assert wanted(scaled(1, work=WORK, demand=150.0)) == 3
    assert wanted(scaled(3, work=WORK, demand=150.0)) == 3


def test_a_changed_scaling_replaces_no_pod() -> None:
    first, second = scaled(1), deployed(model_view(model_spec(scaling={"maxReplicas": 9, "minReplicas": 1})))
    assert hash_of(first) == hash_of(second) == hash_of(serving())


def test_the_idle_replica_goes_first() -> None:
    view = scaled(3, work=WORK, demand=100.0)
    busy, idle, silent = view.pods
    pods = (replace(busy, load=2), idle, replace(silent, load=None))
    decision = decide(replace(view, pods=pods), environment())
    costs = {action.reference.name: action.cost for action in decision.actions if isinstance(action, SetDeletionCost)}
    assert costs == {"studio-0": 2, "studio-2": 1000}
    assert kinds(decision) == ["SetDeletionCost", "SetDeletionCost", "Apply"]
    assert wanted(replace(view, pods=pods)) == 2


def test_a_frozen_number_is_told() -> None:
    view = scaled(2, work=WORK, demand=Blind("NoData", "the query gives nothing"))
    said_of = said(decide(view, environment()))
    assert said_of["AutoscalingActive"] == ("False", "NoData")
    assert said_of["Ready"] == ("True", "Serving")
    assert wanted(view) == 2


def test_an_answer_that_is_late_takes_nothing_back() -> None:
    view = scaled(2, work=WORK, demand=120.0)
    made = after(view, decide(view, environment()))
    assert isinstance(made, ModelView)
    known = after(replace(made, counts=view.counts), decide(replace(made, counts=view.counts), environment()))
    assert isinstance(known, ModelView)
    assert decide(known, environment()).settled
    assert decide(replace(known, demand=None), environment()).settled
    unsaid = scaled(2, work=WORK, status=ModelDeploymentStatus())
    assert said(decide(unsaid, environment()))["AutoscalingActive"] == ("Unknown", "Asking")


def test_a_model_that_sleeps_says_what_wakes_it() -> None:
    view = scaled(1, demand=0.0, status=ModelDeploymentStatus(scaling=ScalingStatus(idle_since="2026-01-01T00:00:00Z")))
    decision = decide(view, environment())
    ready = next(item for item in status_of(decision)["conditions"] if item["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("ScaledToZero", "no replica is wanted; a job wakes the model")
    assert status_of(decision)["scaling"] == {"idleSince": "2026-01-01T00:00:00Z"}
    assert status_of(decision)["replicas"] == {"desired": 0, "ready": 1}


def test_idleness_is_remembered_and_forgotten() -> None:
    view = scaled(1, demand=0.0)
    assert status_of(decide(view, environment()))["scaling"] == {"idleSince": "2026-01-02T03:04:05Z"}
    rested = after(view, decide(view, environment()))
    assert isinstance(rested, ModelView)
    later = environment(environment().now + timedelta(seconds=300))
    assert "scaling" not in {key for action in decide(rested, later).actions for key in vars_of(action)}
    assert "scaling" not in status_of(decide(replace(rested, work=WORK, demand=60.0), later))


def vars_of(action: Any) -> dict[str, Any]:
    return action.status if isinstance(action, ApplyStatus) else {}


def test_the_next_change_of_a_schedule_is_waited_for() -> None:
    office = {"name": "office", "start": "08:00", "end": "18:00", "minReplicas": 2}
    view = deployed(model_view(model_spec(scaling={"maxReplicas": 4, "schedules": [office]})))
    assert decide(view, environment()).requeue_after == (8 - 3) * 3600 - 4 * 60 - 5


def test_what_a_step_costs_is_kept_from_the_first_word() -> None:
    measured = replace(LOADED, step_seconds=(("128x128", 0.0501234),))
    view = serving(probe=measured)
    assert status_of(decide(view, environment()))["model"]["steps"] == [{"shape": "128x128", "seconds": 0.0501}]
    reached = after(view, decide(view, environment()))
    assert isinstance(reached, ModelView)
    another = replace(LOADED, step_seconds=(("128x128", 0.07),))
    assert decide(replace(reached, pods=(replace(reached.pods[0], probe=another),)), environment()).settled


KEDA: dict[str, Any] = {"maxReplicas": 4, "engine": "KEDA"}
HPA: dict[str, Any] = {"maxReplicas": 4, "minReplicas": 1, "engine": "HPA"}


def applied(decision: Decision, kind: str) -> dict[str, Any]:
    found = [each.manifest for each in decision.actions if isinstance(each, Apply)]
    return next(manifest.body for manifest in found if manifest.resource.kind == kind)


def handed(scaling: dict[str, Any], current: int = 2, **changes: Any) -> ModelView:
    """A model with an Operator's replicas that is to be scaled by somebody else from now on."""
    return replace(scaled(current), spec=model_spec(scaling=scaling), **changes)


def settled(view: ModelView) -> ModelView:
    """Where a model ends up; its Deployment's controller keeps up."""
    for _ in range(3):
        made = after(view, decide(view, environment()))
        assert isinstance(made, ModelView)
        if (view := replace(made, counts=view.counts)) and decide(view, environment()).settled:
            return view
    raise AssertionError("does not settle")


@pytest.mark.parametrize("scaling", [KEDA, HPA])
def test_somebody_else_is_the_only_writer_of_replicas(scaling: dict[str, Any]) -> None:
    decision = decide(handed(scaling), environment())
    assert "replicas" not in applied(decision, "Deployment")["spec"]
    assert kinds(decision)[0] == "KeepReplicas"
    assert next(each for each in decision.actions if isinstance(each, KeepReplicas)).replicas == 2
    assert status_of(decision)["replicas"]["desired"] == 2
    assert status_of(decision)["scaling"] == {"engine": scaling["engine"]}
    assert "KeepReplicas" not in kinds(decide(settled(handed(scaling)), environment()))


def test_work_and_loading_keep_kedas_scaler_active() -> None:
    def annotations(view: ModelView) -> dict[str, str]:
        return dict(applied(decide(view, environment()), "ScaledObject")["metadata"]["annotations"])

    forced = {"autoscaling.keda.sh/force-activation": "true"}
    assert forced.items() <= annotations(handed(KEDA, work=WORK)).items()
    assert forced.items() <= annotations(handed(KEDA, work=replace(WORK, items=0, complete=False))).items()
    assert not forced.items() <= annotations(handed(KEDA)).items()
    asleep = handed(KEDA)
    assert forced.items() <= annotations(replace(asleep, pods=(pod("studio-9", running=True),))).items()
    ended = Termination(1, "Error", "")
    again = pod("studio-9", running=True, restarts=1, termination=ended)
    assert forced.items() <= annotations(replace(asleep, pods=(again,))).items(), "it loads anew"
    over = pod("studio-9", restarts=1, termination=ended)
    assert not forced.items() <= annotations(replace(asleep, pods=(over,))).items()


@pytest.mark.parametrize(
    ("scaling", "conditions", "expected"),
    [
        (KEDA, [], ("Unknown", "Asking")),
        (KEDA, [("Ready", "True", "ScaledObjectReady")], ("True", "DemandKnown")),
        (KEDA, [("Ready", "False", "TriggerError")], ("False", "TriggerError")),
        (KEDA, [("Ready", "Unknown", "PartialTriggerError")], ("False", "PartialTriggerError")),
        (
            KEDA,
            [("Ready", "True", "x"), ("HPAActive", "False", "FailedGetExternalMetric")],
            ("False", "FailedGetExternalMetric"),
        ),
        (KEDA, [("Ready", "True", "x"), ("Active", "False", "ScalerNotActive")], ("True", "DemandKnown")),
        (HPA, [("ScalingActive", "True", "ValidMetricFound")], ("True", "DemandKnown")),
        (HPA, [("ScalingActive", "False", "FailedGetExternalMetric")], ("False", "FailedGetExternalMetric")),
        (HPA, [("AbleToScale", "False", "FailedGetScale")], ("False", "FailedGetScale")),
        (HPA, [("ScalingActive", "False", "ScalingDisabled")], ("True", "DemandKnown")),
    ],
)
def test_what_a_scaler_says_is_told(
    scaling: dict[str, Any], conditions: list[tuple[str, str, str]], expected: tuple[str, str]
) -> None:
    view = after(handed(scaling), decide(handed(scaling), environment()))
    assert isinstance(view, ModelView)
    kind = "ScaledObject" if scaling is KEDA else "HorizontalPodAutoscaler"
    told = [{"type": name, "status": status, "reason": reason} for name, status, reason in conditions]
    child = view.children[kind]
    spoken = replace(child, body=child.body | {"status": {"conditions": told}})
    view = replace(view, children=view.children | {kind: spoken}, status=ModelDeploymentStatus())
    assert said(decide(view, environment()))["AutoscalingActive"] == expected


def test_a_scaler_that_is_not_asked_any_more_goes() -> None:
    view = settled(handed(KEDA))
    for spec in (model_spec(replicas=2), model_spec(scaling={"maxReplicas": 4})):
        decision = decide(replace(view, spec=spec), environment())
        deleted = [action for action in decision.actions if isinstance(action, Delete)]
        assert [action.reference.resource.kind for action in deleted] == ["ScaledObject"]
        assert applied(decision, "Deployment")["spec"]["replicas"] == 2
    changed = decide(replace(view, spec=model_spec(scaling=HPA)), environment())
    assert kinds(changed)[:2] == ["Delete", "KeepReplicas"]
