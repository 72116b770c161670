"""What the metadata of every child of a ModelDeployment holds."""

from __future__ import annotations

from typing import Any

from easel_operator.core import labels
from easel_operator.core.observed import Identity
from easel_operator.core.podtemplates import owner_reference
from easel_operator.core.resources import MODEL_DEPLOYMENTS

GRPC_PORT = 8001
METRICS_PORT = 8002


def child_metadata(owner: Identity) -> dict[str, Any]:
    """Every child has the name of its owner."""
    return {
        "name": owner.name,
        "namespace": owner.namespace,
        "labels": labels.of_model(owner.name),
        "ownerReferences": [
            owner_reference(MODEL_DEPLOYMENTS.api_version, MODEL_DEPLOYMENTS.kind, owner.name, owner.uid)
        ],
    }
