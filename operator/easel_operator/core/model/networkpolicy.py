"""The NetworkPolicy: Triton has no authentication, so workers alone reach it; and a model's process reaches nobody."""

from __future__ import annotations

from typing import Any

from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import Configuration, PodSelector
from easel_operator.core.observed import Identity
from easel_operator.core.resources import NETWORK_POLICIES

from .metadata import GRPC_PORT, METRICS_PORT, child_metadata


def network_policy(owner: Identity, configuration: Configuration) -> Manifest:
    """Renders the NetworkPolicy."""
    workers = {"podSelector": {"matchLabels": {labels.NAME: labels.WORKER, labels.MANAGED_BY: labels.MANAGER}}}
    return Manifest(
        NETWORK_POLICIES,
        {
            "apiVersion": NETWORK_POLICIES.api_version,
            "kind": NETWORK_POLICIES.kind,
            "metadata": child_metadata(owner),
            "spec": {
                "podSelector": {"matchLabels": labels.selecting_model(owner.name)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    _allow(workers, GRPC_PORT),
                    _allow(_peer(configuration.operator_pod_selector), configuration.runtime_http_port),
                    _allow(_peer(configuration.prometheus_selector), METRICS_PORT),
                ],
            },
        },
    )


def _allow(peer: dict[str, Any], port: int) -> dict[str, Any]:
    return {"from": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def _peer(selector: PodSelector) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": selector.namespace_labels},
        "podSelector": {"matchLabels": selector.pod_labels},
    }
