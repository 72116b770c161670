"""The objects by which somebody else writes the number of replicas: KEDA's ScaledObject, or a HorizontalPodAutoscaler.

No `fallback` for KEDA: without one it freezes the number while Prometheus does not answer, and with one an outage would wake
every model that sleeps (KEDA 2.21, pkg/scaling/executor). `ignoreNullValues: "false"` makes it take missing data for an
error, not for zero.
"""

from __future__ import annotations

from typing import Any

from easel_api.scaling import Scaling, ScalingEngine
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import Configuration
from easel_operator.core.observed import Identity
from easel_operator.core.resources import AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS, Resource
from easel_operator.core.scaling.hours import Bounds
from easel_operator.core.scaling.policy import POLL_SECONDS
from easel_operator.core.scaling.query import DEMAND, demand_query

from .metadata import child_metadata

SCALERS: dict[ScalingEngine, Resource] = {ScalingEngine.KEDA: SCALED_OBJECTS, ScalingEngine.HPA: AUTOSCALERS}
"""The kind that each engine needs; the operator's own needs none."""

DOUBTS: dict[Resource, dict[str, tuple[str, ...]]] = {
    SCALED_OBJECTS: {"Ready": ("False", "Unknown"), "HPAActive": ("False",)},
    AUTOSCALERS: {"ScalingActive": ("False",), "AbleToScale": ("False",)},
}
"""The statuses of conditions by which each kind says that it does not know the demand."""

FORCE_ACTIVATION = "autoscaling.keda.sh/force-activation"


def scaler(owner: Identity, scaling: Scaling, bounds: Bounds, configuration: Configuration, *, awake: bool) -> Manifest:
    """Renders the object for the specification's engine; `awake` keeps KEDA from scaling to zero."""
    if scaling.engine is ScalingEngine.KEDA:
        return _scaled_object(owner, scaling, bounds, configuration, awake=awake)
    return _autoscaler(owner, scaling, bounds)


def _target(owner: Identity) -> dict[str, str]:
    return {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, "name": owner.name}


def _behavior(scaling: Scaling) -> dict[str, Any]:
    directions = {"scaleUp": scaling.behavior.scale_up, "scaleDown": scaling.behavior.scale_down}
    return {
        name: {"stabilizationWindowSeconds": rules.stabilization_window_seconds} for name, rules in directions.items()
    }


def _scaled_object(
    owner: Identity, scaling: Scaling, bounds: Bounds, configuration: Configuration, *, awake: bool
) -> Manifest:
    metadata = child_metadata(owner) | ({"annotations": {FORCE_ACTIVATION: "true"}} if awake else {})
    trigger = {
        "serverAddress": configuration.prometheus_url,
        "query": demand_query(scaling, owner.namespace, owner.name),
        "threshold": str(scaling.target_backlog_seconds),
        "activationThreshold": "0",
        "ignoreNullValues": "false",
    }
    return Manifest(
        SCALED_OBJECTS,
        {
            "apiVersion": SCALED_OBJECTS.api_version,
            "kind": SCALED_OBJECTS.kind,
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": _target(owner),
                "pollingInterval": int(POLL_SECONDS),
                "cooldownPeriod": scaling.idle_seconds,
                "initialCooldownPeriod": scaling.idle_seconds,
                "minReplicaCount": bounds.least,
                "maxReplicaCount": bounds.most,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(scaling)}},
                "triggers": [{"type": "prometheus", "metricType": "AverageValue", "metadata": trigger}],
            },
        },
    )


def _autoscaler(owner: Identity, scaling: Scaling, bounds: Bounds) -> Manifest:
    selector = {"matchLabels": {"namespace": owner.namespace, "deployment": owner.name}}
    metric = {
        "metric": {"name": DEMAND, "selector": selector},
        "target": {"type": "AverageValue", "averageValue": str(scaling.target_backlog_seconds)},
    }
    return Manifest(
        AUTOSCALERS,
        {
            "apiVersion": AUTOSCALERS.api_version,
            "kind": AUTOSCALERS.kind,
            "metadata": child_metadata(owner),
            "spec": {
                "scaleTargetRef": _target(owner),
                "minReplicas": bounds.least,
                "maxReplicas": bounds.most,
                "metrics": [{"type": "External", "external": metric}],
                "behavior": _behavior(scaling),
            },
        },
    )


def complaint(kind: Resource, body: dict[str, Any]) -> tuple[str, str] | None:
    """Reason and message when the object says that it does not know the demand.

    A ScaledObject whose triggers fail is not `Ready`, or `Unknown` while something else keeps it active; `HPAActive` mirrors
    the HorizontalPodAutoscaler beneath it. That one says `ScalingActive`, which is False at zero replicas, too.
    """
    said = {item["type"]: item for item in (body.get("status") or {}).get("conditions", [])}
    for name, doubtful in DOUBTS[kind].items():
        item = said.get(name, {})
        if item.get("status") in doubtful and item.get("reason") != "ScalingDisabled":
            return item.get("reason") or "Unknown", item.get("message", "")
    return None


def has_spoken(body: dict[str, Any]) -> bool:
    """Whether its controller has said anything yet."""
    return bool((body.get("status") or {}).get("conditions"))
