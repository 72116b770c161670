"""A kubeconfig with exactly the permissions that the operator declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from easel_operator.core.permissions import CLUSTER, LEASE_NAMESPACE, WATCHED_NAMESPACE
from operating.place import Place

RBAC = "rbac.authorization.k8s.io"


def grant(place: Place, admin: Path, folder: Path) -> Path:
    """Make a service account in the namespace, bind the declared rules to it, and write its kubeconfig."""
    rules = [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)}
        for rule in (*WATCHED_NAMESPACE, *LEASE_NAMESPACE)
    ]
    everywhere = [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)} for rule in CLUSTER
    ]
    metadata, cluster = place.named("easel-operator"), {"name": f"easel-operator-{place.namespace}"}
    subject = {"kind": "ServiceAccount", **metadata}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": "easel-operator"}
    place.kubectl.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [subject],
        },
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
