"""The NetworkPolicy: Triton has no authentication, so workers alone reach it; and a model's process reaches nobody.

A policy is of a pod and not of a container: where each replica fetches for itself, its pod reaches what the bucket needs.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.s3 import S3Access
from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import Configuration, PodSelector
from easel_operator.core.observed import Identity
from easel_operator.core.resources import NETWORK_POLICIES

from .metadata import GRPC_PORT, METRICS_PORT, child_metadata


def network_policy(owner: Identity, spec: ModelDeploymentSpec, configuration: Configuration) -> Manifest:
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
                **({"egress": _to_bucket(spec.model.s3)} if spec.fetches_itself() else {}),
            },
        },
    )


def _to_bucket(access: S3Access | None) -> list[dict[str, Any]]:
    """The port of its endpoint, wherever that is, and names."""
    address = urlsplit((access.endpoint if access else None) or "https:")
    port = address.port or (80 if address.scheme == "http" else 443)
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return [{"ports": names}, {"ports": [{"protocol": "TCP", "port": port}]}]


def _allow(peer: dict[str, Any], port: int) -> dict[str, Any]:
    return {"from": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def _peer(selector: PodSelector) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": selector.namespace_labels},
        "podSelector": {"matchLabels": selector.pod_labels},
    }
