"""The PodDisruptionBudget: a drained node takes one replica at a time.

`maxUnavailable: 1` rather than `minAvailable: 1`, which would block the drain of a node for ever at one replica; and a
replica that is not healthy may always go.
"""

from __future__ import annotations

from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.observed import Identity
from easel_operator.core.resources import DISRUPTION_BUDGETS

from .metadata import child_metadata


def disruption_budget(owner: Identity) -> Manifest:
    """Renders the PodDisruptionBudget."""
    return Manifest(
        DISRUPTION_BUDGETS,
        {
            "apiVersion": DISRUPTION_BUDGETS.api_version,
            "kind": DISRUPTION_BUDGETS.kind,
            "metadata": child_metadata(owner),
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": labels.selecting_model(owner.name)},
            },
        },
    )
