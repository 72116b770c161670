"""A model that is scaled by demand, with times that suit a test."""

from __future__ import annotations

from typing import Any

from easel_installed import manifests
from easel_installed.site import RUNTIME, Site, condition
from easel_installed.waiting import until

KIND = "modeldeployments.easel.dev"
NAME = "sleeper"
SCALING = {
    "maxReplicas": 3,
    "targetBacklogSeconds": 4,
    "idleSeconds": 5,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}


def apply(site: Site, **scaling: Any) -> None:
    """Make the model, have it load once and wait until it sleeps."""
    resources = {"cpu": "200m", "memory": "3Gi"}
    site.apply(manifests.model(NAME, scaling=SCALING | scaling, resources=resources))
    site.wait_for_model(NAME)
    await_sleep(site)


def await_sleep(site: Site) -> None:
    """Until there is no replica."""
    until("the model to sleep", lambda: reason(site) == "ScaledToZero" and not pods(site), seconds=150)


def reason(site: Site, wanted: str = "Ready") -> str:
    """Reason of one of its conditions."""
    return condition(site.get(KIND, NAME), wanted, "reason")


def pods(site: Site) -> list[str]:
    """Names of its pods."""
    return [pod["metadata"]["name"] for pod in site.pods(RUNTIME, model=NAME)]
