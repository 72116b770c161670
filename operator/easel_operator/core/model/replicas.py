"""How many replicas a model gets, what is said of that, and which of its pods goes first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from easel_api import conditions
from easel_api.conditions import ConditionStatus, ConditionType
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.scaling import Scaling, ScalingEngine, ScalingStatus
from easel_operator.core.actions import Action, Delete, KeepReplicas, Manifest, SetDeletionCost
from easel_operator.core.conditions import Says
from easel_operator.core.decision import Environment, Scaled, parse_timestamp, timestamp
from easel_operator.core.observed import Child, ModelView, NotLoaded, Pod
from easel_operator.core.resources import DEPLOYMENTS, PODS, Reference, Resource
from easel_operator.core.scaling.hours import Bounds, bounds_at
from easel_operator.core.scaling.policy import Scale, Seen, scale
from easel_operator.core.scaling.query import demand_query

from .scalers import SCALERS, complaint, has_spoken, scaler

LOADING = "Loading"
"""Reason of a runtime that is on its way."""
LISTEN_SECONDS = 60.0
"""How soon a scaler, which is not watched since its kind may not exist, is looked at again."""
SILENT_COST = 1000
"""Deletion cost of a replica that does not say what it holds: more than any engine takes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The number of replicas, and everything that follows from it."""

    replicas: int
    rendered: int | None
    """What the Deployment says; None leaves it to the scaler."""
    scaler: Manifest | None = None
    first: tuple[Action, ...] = ()
    """What is done before the children change."""
    says: tuple[Says, ...] = ()
    status: ScalingStatus | None = None
    scaled: Scaled | None = None
    look_again: float | None = None


def wanted_replicas(view: ModelView, spec: ModelDeploymentSpec, environment: Environment) -> Wanted:
    """As many as the specification says, as demand asks for, or as somebody else decides."""
    scaling = spec.scaling
    if scaling is None:
        return Wanted(spec.replicas, spec.replicas, first=_dismissed(view, None))
    if scaling.engine is ScalingEngine.OPERATOR:
        return _by_demand(view, scaling, environment.now)
    return _by_another(view, scaling, environment)


def _by_demand(view: ModelView, scaling: Scaling, now: datetime) -> Wanted:
    current = current_replicas(view)
    verdict = scale(scaling, _seen(view, current, now))
    costs = _costs(view) if current is not None and verdict.replicas < current else ()
    return Wanted(
        verdict.replicas,
        verdict.replicas,
        first=_dismissed(view, None) + costs,
        says=(_says(view, verdict),),
        status=_remembered(verdict),
        scaled=_scaled(view, scaling, verdict),
        look_again=_seconds_until(verdict.bounds, now),
    )


def _by_another(view: ModelView, scaling: Scaling, environment: Environment) -> Wanted:
    kind, current, bounds = SCALERS[scaling.engine], current_replicas(view), bounds_at(scaling, environment.now)
    seen = _seen(view, current, environment.now)
    awake = bool(seen.work.items) or not seen.work.complete or seen.loading
    before, child = view.status.scaling, view.children.get(kind.kind)
    told = complaint(kind, child.body) if child else None
    handover: tuple[Action, ...] = ()
    if current is not None and (before is None or before.engine is not scaling.engine):
        handover = (keep_replicas(view, current),)
    return Wanted(
        1 if current is None else current,
        None,
        scaler=scaler(view.identity, scaling, bounds, environment.configuration, awake=awake),
        first=_dismissed(view, kind) + handover,
        says=(_said_by(scaling.engine, child, told),),
        status=ScalingStatus(engine=scaling.engine),
        scaled=Scaled(1 if current is None else current, _ready(view), active=told is None),
        look_again=min(filter(None, (_seconds_until(bounds, environment.now), LISTEN_SECONDS))),
    )


def _seconds_until(bounds: Bounds, now: datetime) -> float | None:
    return (bounds.until - now).total_seconds() if bounds.until else None


def _dismissed(view: ModelView, kept: Resource | None) -> tuple[Delete, ...]:
    """Scalers that are not asked any more."""
    return tuple(
        Delete(Reference(kind, view.identity.namespace, view.identity.name), child.uid)
        for kind in SCALERS.values()
        if kind != kept
        and (child := view.children.get(kind.kind))
        and child.owner_uid == view.identity.uid
        and not child.deleting
    )


def _said_by(engine: ScalingEngine, child: Child | None, told: tuple[str, str] | None) -> Says:
    kind = SCALERS[engine].kind
    if child is None or not has_spoken(child.body):
        message = f"the {kind} was not seen by its controller yet; is {engine.value} installed?"
        return _active("Unknown", "Asking", message)
    if told:
        return _active("False", told[0], f"the {kind} says: {told[1]}")
    return _active("True", "DemandKnown", f"the {kind} scales the model")


def keep_replicas(view: ModelView, count: int) -> KeepReplicas:
    """Have the Deployment, which is there, keep or get a number of replicas and be otherwise as it is."""
    reference = Reference(DEPLOYMENTS, view.identity.namespace, view.identity.name)
    seen = view.children[DEPLOYMENTS.kind]
    return KeepReplicas(reference, seen.uid, seen.resource_version, count)


def _seen(view: ModelView, current: int | None, now: datetime) -> Seen:
    before = view.status.scaling
    pods = _staying(view)
    return Seen(
        now=now,
        current=current,
        work=view.work,
        demand=view.demand,
        busy=sum(pod.ready and pod.load != 0 for pod in pods),
        loading=current is None or any(map(_loads, pods)) or _unmade(view, current),
        idle_since=parse_timestamp(before.idle_since) if before and before.idle_since else None,
        history=view.history,
    )


def current_replicas(view: ModelView) -> int | None:
    """What the Deployment says; it outlives this process."""
    child = view.children.get(DEPLOYMENTS.kind)
    if child is None or child.owner_uid != view.identity.uid:
        return None
    return int(child.body.get("spec", {}).get("replicas", 1))


def _staying(view: ModelView) -> tuple[Pod, ...]:
    return tuple(pod for pod in view.pods if not pod.deleting)


def _loads(pod: Pod) -> bool:
    """On its way, and nothing says that it will not arrive."""
    failed = isinstance(pod.probe, NotLoaded) and pod.probe.report.reason != LOADING
    # How a container ended that runs anew is past: it loads like any other.
    return not (pod.ready or pod.trouble or (pod.termination and not pod.running) or failed)


def _unmade(view: ModelView, current: int | None) -> bool:
    """Whether pods that are wanted are not there yet, and nothing says why."""
    counts = view.counts
    return counts is not None and counts.trouble is None and (not counts.current or counts.replicas < (current or 0))


def _says(view: ModelView, verdict: Scale) -> Says:
    if verdict.blind:
        frozen = f"the number of replicas is frozen until the demand is known: {verdict.blind.message}"
        return _active("False", verdict.blind.reason, frozen)
    if verdict.asks and view.demand is None:
        before = conditions.find(view.status.conditions, ConditionType.AUTOSCALING_ACTIVE)
        if before is not None:
            # Until the answer comes the last one counts.
            return _active(before.status, before.reason, before.message)
        return _active("Unknown", "Asking", "Prometheus has not answered yet")
    if verdict.asks:
        return _active("True", "DemandKnown", "Prometheus tells the demand")
    if verdict.bounds.least == verdict.bounds.most:
        return _active("True", "Fixed", "no other number of replicas is allowed now")
    if view.work.gpu_seconds is None:
        return _active("True", "NotMeasured", "a replica that has loaded the model will tell what its steps cost")
    return _active("True", "NoWork", "a job wakes the model")


def _active(status: ConditionStatus, reason: str, message: str) -> Says:
    return Says(ConditionType.AUTOSCALING_ACTIVE, status, reason, message)


def _remembered(verdict: Scale) -> ScalingStatus | None:
    return ScalingStatus(idle_since=timestamp(verdict.idle_since)) if verdict.idle_since else None


def _scaled(view: ModelView, scaling: Scaling, verdict: Scale) -> Scaled:
    query = demand_query(scaling, view.identity.namespace, view.identity.name) if verdict.asks else None
    return Scaled(verdict.replicas, _ready(view), active=verdict.blind is None, query=query, history=verdict.history)


def _ready(view: ModelView) -> int:
    return view.counts.ready if view.counts else 0


def _costs(view: ModelView) -> tuple[SetDeletionCost, ...]:
    """The idle replica goes first. Written before a scale-down alone: nobody reads it at another time."""
    costs = {pod: SILENT_COST if pod.load is None else pod.load for pod in _staying(view)}
    return tuple(
        SetDeletionCost(Reference(PODS, view.identity.namespace, pod.name), pod.uid, cost)
        for pod, cost in costs.items()
        if pod.deletion_cost != cost
    )
