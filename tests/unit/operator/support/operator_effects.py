"""What the cluster holds after a decision's actions, as far as the next decision reads it.

No stand-in for an API server: only the direct effect of each action, which tests on the real one confirm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from easel_operator.core import parsing
from easel_operator.core.actions import (
    Action,
    Apply,
    ApplyStatus,
    Delete,
    KeepReplicas,
    RecordEvent,
    SetDeletionCost,
    Suspend,
)
from easel_operator.core.decision import Decision, Environment
from easel_operator.core.job.decide import decide as decide_job
from easel_operator.core.model.decide import decide as decide_model
from easel_operator.core.observed import JobView, ModelView
from easel_operator.core.resources import DEPLOYMENTS, JOBS

View = JobView | ModelView
WORKERS = ("items", "manifest")


def decide(view: View, environment: Environment) -> Decision:
    return decide_job(view, environment) if isinstance(view, JobView) else decide_model(view, environment)


def after(view: View, decision: Decision) -> View | None:
    """The view once everything was carried out; None when the object itself is gone."""
    for action in decision.actions:
        if isinstance(action, Delete) and action.reference.resource == view.identity.key.resource:
            return None
        view = replace(_one(view, action), refusal=None)
    return view


def _one(view: View, action: Action) -> View:
    match action:
        case Apply():
            return _applied(view, action)
        case Suspend():
            assert isinstance(view, JobView)
            assert view.batch_job is not None
            return replace(view, batch_job=replace(view.batch_job, suspended=action.suspended))
        case KeepReplicas():
            return view
        case Delete() if isinstance(view, ModelView):
            kept = {kind: child for kind, child in view.children.items() if kind != action.reference.resource.kind}
            return replace(view, children=kept)
        case Delete():
            assert isinstance(view, JobView)
            return replace(view, batch_job=None)
        case ApplyStatus():
            return _written(view, action)
        case SetDeletionCost():
            assert isinstance(view, ModelView)
            pods = (replace(pod, deletion_cost=action.cost) if pod.uid == action.uid else pod for pod in view.pods)
            return replace(view, pods=tuple(pods))
        case RecordEvent():
            return view
        case _:
            assert_never(action)


def _applied(view: View, action: Apply) -> View:
    made = {
        "uid": f"{action.manifest.resource.kind}-uid",
        "creationTimestamp": "2026-01-02T03:04:06Z",
        "generation": 1,
        "resourceVersion": "7",
    }
    raw = action.manifest.body | {"metadata": action.manifest.body["metadata"] | made}
    if isinstance(view, JobView):
        assert action.manifest.resource == JOBS
        assert view.batch_job is None, "a second Job"
        return replace(view, batch_job=parsing.batch_job_of(raw))
    before = view.children.get(action.manifest.resource.kind)
    if before is not None and action.manifest.resource == DEPLOYMENTS and "replicas" not in raw["spec"]:
        # Somebody else's field, as `KeepReplicas` made it.
        raw = raw | {"spec": raw["spec"] | {"replicas": before.body["spec"].get("replicas", 1)}}
    counts = parsing.counts_of(raw) if action.manifest.resource == DEPLOYMENTS else view.counts
    return replace(view, children=view.children | {action.manifest.resource.kind: parsing.child_of(raw)}, counts=counts)


def _written(view: View, action: ApplyStatus) -> View:
    if isinstance(view, ModelView):
        return replace(view, status=parsing.model_status({"status": action.status}))
    before = view.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    workers = (*WORKERS, "done", "lastFailure") if view.status.items is not None else WORKERS
    kept: dict[str, Any] = {name: before[name] for name in workers if name in before}
    return replace(view, status=parsing.job_status({"status": kept | action.status}))


def status_of(decision: Decision) -> dict[str, Any]:
    """The status that a decision writes."""
    return next(action.status for action in decision.actions if isinstance(action, ApplyStatus))


def said(decision: Decision) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition that a decision writes."""
    return {item["type"]: (item["status"], item["reason"]) for item in status_of(decision)["conditions"]}


def kinds(decision: Decision) -> list[str]:
    """The actions but statuses and events, in a word each."""
    return [type(action).__name__ for action in decision.actions if not isinstance(action, ApplyStatus | RecordEvent)]
