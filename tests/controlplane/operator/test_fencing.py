"""A write that rests on a state which is gone by now: of a leader that was frozen while another one took over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from operating.place import RESTRICTED, Place

from conftest import Connect
from easel_api.errors import InvalidInput
from easel_operator.core.actions import Action, Apply, Delete, KeepReplicas, Manifest, SetDeletionCost, Suspend
from easel_operator.core.labels import DELETION_COST
from easel_operator.core.resources import DEPLOYMENTS, JOBS, PODS, Reference
from easel_operator.ports.cluster import Changed

pytestmark = pytest.mark.apiserver


@pytest.fixture
def perform(connect: Connect) -> Callable[[Action], None]:
    """Carries an action out as the operator does."""

    def run(action: Action) -> None:
        async def once() -> None:
            async with connect() as cluster:
                await cluster.perform(action)

        asyncio.run(once())

    return run


@pytest.fixture
def place(still: Place) -> Place:
    """Controllers would change the versions that these tests speak of."""
    return still


def deployment(place: Place, replicas: int | None) -> Manifest:
    labels = {"app": "fenced"}
    container = {"name": "main", "image": "docker.io/easel/runtime:dev"}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": place.named("fenced") | {"ownerReferences": []},
        "spec": spec | ({} if replicas is None else {"replicas": replicas}),
    }
    return Manifest(DEPLOYMENTS, body)


def replicas(place: Place) -> int:
    return int((place.get("deployment", "fenced") or {})["spec"]["replicas"])


def version(place: Place, kind: str, name: str) -> str:
    return str((place.get(kind, name) or {})["metadata"]["resourceVersion"])


def test_a_child_that_changed_since_is_not_overwritten(place: Place, perform: Callable[[Action], None]) -> None:
    perform(Apply(deployment(place, 0)))
    seen = version(place, "deployment", "fenced")
    perform(Apply(deployment(place, 2), seen))
    with pytest.raises(Changed):
        perform(Apply(deployment(place, 1), seen))
    assert replicas(place) == 2


def test_a_job_that_changed_since_is_not_suspended(place: Place, perform: Callable[[Action], None]) -> None:
    place("create", "job", "fenced", "--image=docker.io/easel/operator:dev")
    job = place.get("job", "fenced") or {}
    place.patch("job", "fenced", {"metadata": {"labels": {"by": "another"}}})
    reference = Reference(JOBS, place.namespace, "fenced")
    with pytest.raises(Changed):
        perform(Suspend(reference, job["metadata"]["uid"], job["metadata"]["resourceVersion"], suspended=True))
    assert (place.get("job", "fenced") or {})["spec"].get("suspend", False) is False


@pytest.mark.parametrize("action", ["delete", "cost"])
def test_an_object_that_took_the_name_of_another_is_left_alone(
    place: Place, perform: Callable[[Action], None], action: str
) -> None:
    place.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": place.named("fenced"), "spec": RESTRICTED})
    pod = Reference(PODS, place.namespace, "fenced")
    with pytest.raises(Changed if action == "delete" else InvalidInput):
        perform(Delete(pod, "another") if action == "delete" else SetDeletionCost(pod, "another", 5))
    found = place.get("pod", "fenced") or {}
    assert "deletionTimestamp" not in found["metadata"]
    assert DELETION_COST not in found["metadata"].get("annotations", {})


def test_the_cost_of_a_pod_that_is_gone_is_nobodys_concern(place: Place, perform: Callable[[Action], None]) -> None:
    perform(SetDeletionCost(Reference(PODS, place.namespace, "gone"), "its uid", 5))
    assert place.get("pod", "gone") is None


def test_a_number_of_replicas_stays_when_it_is_not_ours_any_more(
    place: Place, perform: Callable[[Action], None]
) -> None:
    perform(Apply(deployment(place, 3)))
    reference, made = (
        Reference(DEPLOYMENTS, place.namespace, "fenced"),
        (place.get("deployment", "fenced") or {})["metadata"],
    )
    perform(KeepReplicas(reference, made["uid"], made["resourceVersion"], 3))
    with pytest.raises(Changed):
        perform(KeepReplicas(reference, made["uid"], made["resourceVersion"], 1))
    perform(Apply(deployment(place, None), version(place, "deployment", "fenced")))
    assert replicas(place) == 3
    place("scale", "deployment", "fenced", "--replicas=5")
    perform(Apply(deployment(place, None), version(place, "deployment", "fenced")))
    assert replicas(place) == 5
