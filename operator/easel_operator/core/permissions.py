"""What the operator may do, as the rules of a Role: the one source that the chart's Role is compared with.

It reads no Secret, runs no command in a pod, and touches nothing outside the namespaces it watches, its Lease apart; of the cluster it
reads GenerationClasses. Where the platform lets Providers be shared it also writes Roles, which grant no more than it has itself: it may
neither `bind` nor `escalate`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule of a Role."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str


_WATCH = ("get", "list", "watch")
_OWN = (*_WATCH, "create", "patch", "delete")

WATCHED_NAMESPACE: tuple[Permission, ...] = (
    Permission("easel.dev", ("modeldeployments", "generationjobs", "providers"), _WATCH, "what people ask for"),
    Permission("easel.dev", ("generationjobs",), ("delete",), "ttlSecondsAfterFinished"),
    Permission(
        "easel.dev", ("modeldeployments/status", "generationjobs/status", "providers/status"), ("patch",), "status"
    ),
    Permission("apps", ("deployments",), _OWN, "the runtime of a model"),
    Permission("batch", ("jobs",), _OWN, "the worker of a job"),
    Permission("", ("services",), _OWN, "the address of a model's replicas"),
    Permission("policy", ("poddisruptionbudgets",), _OWN, "one replica is disrupted at a time"),
    Permission("keda.sh", ("scaledobjects",), ("get", "create", "patch", "delete"), "spec.scaling.engine KEDA"),
    Permission(
        "autoscaling", ("horizontalpodautoscalers",), ("get", "create", "patch", "delete"), "spec.scaling.engine HPA"
    ),
    Permission("networking.k8s.io", ("networkpolicies",), _OWN, "who reaches a runtime"),
    Permission("", ("pods",), _WATCH, "why a runtime or a worker does not start"),
    Permission("", ("pods",), ("patch",), "which replica goes first when a model is scaled down"),
    Permission("", ("events",), ("list", "watch"), "why a volume is not mounted or a worker not made"),
    Permission("events.k8s.io", ("events",), ("create", "patch"), "what happened, for a person to read"),
)
"""In each watched namespace."""

CLUSTER: tuple[Permission, ...] = (
    Permission("easel.dev", ("generationclasses",), ("get",), "what a job's class means"),
)
"""In the whole cluster."""

SHARING: tuple[Permission, ...] = (
    Permission(
        "rbac.authorization.k8s.io", ("roles", "rolebindings"), _OWN, "who may pay by a Provider of another namespace"
    ),
)
"""In each watched namespace, where Providers are shared among them."""

SHARING_CLUSTER: tuple[Permission, ...] = (
    Permission("", ("namespaces",), _WATCH, "labels of the watched namespaces, by name"),
)
"""In the whole cluster, where Providers are shared; of the watched namespaces alone."""

LEASE_NAMESPACE: tuple[Permission, ...] = (
    # A Lease cannot be created by name, hence `create` without one; the rest is for the operator's Lease alone.
    Permission("coordination.k8s.io", ("leases",), ("create",), "leader election"),
    Permission(
        "coordination.k8s.io", ("leases",), ("get", "update", "patch"), "leader election, its own Lease by name"
    ),
)
"""In the operator's own namespace."""
