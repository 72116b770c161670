"""A kubeconfig with exactly the permissions that the operator declares."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from easel_operator.core.permissions import (
    CLUSTER,
    LEASE_NAMESPACE,
    SHARING,
    SHARING_CLUSTER,
    WATCHED_NAMESPACE,
    Permission,
)
from operating.place import Place

RBAC = "rbac.authorization.k8s.io"


def grant(place: Place, admin: Path, folder: Path, *others: Place) -> Path:
    """Make a service account in the namespace, bind the declared rules to it, and write its kubeconfig.

    With other places the operator watches those, too, and Providers are shared among them all.
    """
    metadata, cluster = place.named("easel-operator"), {"name": f"easel-operator-{place.namespace}"}
    subject = {"kind": "ServiceAccount", **metadata}
    place.kubectl.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    for each in (place, *others):
        rules = rules_of((*WATCHED_NAMESPACE, *LEASE_NAMESPACE, *(SHARING if others else ())))
        there = each.named("easel-operator")
        place.kubectl.apply(
            {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": there, "rules": rules},
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": there,
                "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "easel-operator"},
                "subjects": [subject],
            },
        )
    everywhere = rules_of(CLUSTER)
    if others:
        watched = [each.namespace for each in (place, *others)]
        everywhere += [rule | {"resourceNames": watched} for rule in rules_of(SHARING_CLUSTER)]
    place.kubectl.apply(
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": cluster, "rules": everywhere},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": cluster,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": cluster["name"]},
            "subjects": [subject],
        },
    )
    return with_token(admin, place("create", "token", "easel-operator").strip(), folder / "operator.kubeconfig")


def rules_of(permissions: Iterable[Permission]) -> list[dict[str, Any]]:
    """As a Role has them."""
    return [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)}
        for rule in permissions
    ]


def with_token(admin: Path, token: str, path: Path) -> Path:
    """The administrator's kubeconfig with another user in it."""
    config: dict[str, Any] = yaml.safe_load(admin.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


def through(admin: Path, url: str, path: Path) -> Path:
    """The administrator's kubeconfig with another address in it."""
    config: dict[str, Any] = yaml.safe_load(admin.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = url
    path.write_text(yaml.safe_dump(config))
    return path
