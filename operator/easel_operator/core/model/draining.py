"""How long a replica that stops may work on, by the measured pace of its model.

A changed grace period is a changed template, which would replace every pod. So what was measured reaches a template when
that changes anyway, or while no pod runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_operator.core import labels
from easel_operator.core.observed import Child, ModelView
from easel_operator.core.resources import DEPLOYMENTS

from .deployment import DRAIN_SECONDS, EXIT_SECONDS

MOST_SECONDS = 3600
"""Longer than that no tool waits for a node that is drained; what would take longer is handed back."""
STEPS = 50
"""Of an item; most models are drawn with fewer."""


def drain_seconds(view: ModelView, spec: ModelDeploymentSpec, hash_of: Callable[[int], str]) -> int:
    """Seconds to render; `hash_of` is the template's hash with so many."""
    measured, child = _measured(view, spec), view.children.get(DEPLOYMENTS.kind)
    if child is None or child.owner_uid != view.identity.uid:
        return measured or DRAIN_SECONDS
    kept, same = _kept(child, hash_of)
    asleep = view.counts is not None and view.counts.current and view.counts.replicas == 0 and not view.pods
    return measured if measured and (asleep or not same) else kept


def _measured(view: ModelView, spec: ModelDeploymentSpec) -> int | None:
    """What a replica that is full takes for the slowest shape, in whole minutes."""
    steps = (view.status.model.steps if view.status.model else None) or []
    if not steps:
        return None
    # A step's seconds are one request's share of a pass, so that all of them together take their sum.
    seconds = max(step.seconds for step in steps) * STEPS * spec.engine.max_concurrent_requests
    return min(max(60 * math.ceil(seconds / 60), DRAIN_SECONDS), MOST_SECONDS)


def _kept(child: Child, hash_of: Callable[[int], str]) -> tuple[int, bool]:
    """What the Deployment has, and whether its template is otherwise the one to render."""
    template = child.body.get("spec", {}).get("template", {})
    kept = template.get("spec", {}).get("terminationGracePeriodSeconds", DRAIN_SECONDS + EXIT_SECONDS) - EXIT_SECONDS
    if not DRAIN_SECONDS <= kept <= MOST_SECONDS:
        return DRAIN_SECONDS, False  # somebody has edited it
    told = template.get("metadata", {}).get("annotations", {}).get(labels.RUNTIME_HASH)
    return kept, told == hash_of(kept)
