"""The headless Service.

Workers resolve it to every ready replica; a gRPC channel through a cluster address would stick to one.
"""

from __future__ import annotations

from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.observed import Identity
from easel_operator.core.resources import SERVICES

from .metadata import GRPC_PORT, METRICS_PORT, child_metadata


def endpoint(model: str, namespace: str) -> str:
    """HOST:PORT for workers."""
    return f"{model}.{namespace}.svc:{GRPC_PORT}"


def service(owner: Identity) -> Manifest:
    """Renders the Service."""
    return Manifest(
        SERVICES,
        {
            "apiVersion": SERVICES.api_version,
            "kind": SERVICES.kind,
            "metadata": child_metadata(owner),
            "spec": {
                "clusterIP": "None",
                "selector": labels.selecting_model(owner.name),
                "ports": [
                    {"name": "grpc", "port": GRPC_PORT, "protocol": "TCP", "targetPort": GRPC_PORT},
                    {"name": "metrics", "port": METRICS_PORT, "protocol": "TCP", "targetPort": METRICS_PORT},
                ],
            },
        },
    )
