"""The cluster in memory that the fault schedules run on, against a real API server: the same actions, the same outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from operating.fake import FakeCluster
from operating.place import RESTRICTED, Place

from conftest import Connect
from easel_api.errors import EaselError
from easel_operator.core.actions import (
    Action,
    Apply,
    ApplyStatus,
    Delete,
    KeepReplicas,
    Manifest,
    SetDeletionCost,
    Suspend,
)
from easel_operator.core.resources import DEPLOYMENTS, JOBS, MODEL_DEPLOYMENTS, PODS, SERVICES, Key, Reference, Resource
from easel_operator.ports.cluster import Cluster

pytestmark = pytest.mark.apiserver

Raw = dict[str, Any]
STRANGER = "00000000-0000-4000-8000-000000000002"


class Stage:
    """One of the two clusters, and a namespace in it."""

    def __init__(self, cluster: Cluster, namespace: str, owner: str, make: Callable[[Resource, Raw], None]) -> None:
        self.cluster, self.namespace, self._owner, self._make = cluster, namespace, owner, make

    def make(self, resource: Resource, name: str, spec: Raw) -> None:
        """As a person makes an object."""
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        self._make(resource, kind | {"metadata": self.named(name), "spec": spec})

    def named(self, name: str) -> Raw:
        return {"name": name, "namespace": self.namespace}

    def at(self, resource: Resource, name: str) -> Reference:
        return Reference(resource, self.namespace, name)

    async def metadata(self, resource: Resource, name: str) -> Raw:
        return dict((await self.cluster.get(self.at(resource, name)) or {}).get("metadata", {}))

    async def spec(self, resource: Resource, name: str) -> Raw:
        return dict((await self.cluster.get(self.at(resource, name)) or {}).get("spec", {}))

    async def act(self, action: Action) -> str:
        """What comes of it, in a word."""
        try:
            await self.cluster.perform(action)
        except EaselError as error:
            return type(error).__name__
        return "done"

    def child(self, resource: Resource, name: str, spec: Raw) -> Manifest:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": self._owner, "controller": True}
        metadata = self.named(name) | {"ownerReferences": [reference]}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
        return Manifest(resource, body)

    def deployment(self, name: str, **spec: Any) -> Manifest:
        tags = {"app": name}
        template = {"metadata": {"labels": tags}, "spec": {"containers": [{"name": "main", "image": "image"}]}}
        return self.child(DEPLOYMENTS, name, {"selector": {"matchLabels": tags}, "template": template} | spec)


async def versions(stage: Stage) -> list[Any]:
    """An apply under a version, one under an old one, and one that changes nothing."""
    said = [await stage.act(Apply(stage.deployment("a", replicas=0)))]
    first = await stage.metadata(DEPLOYMENTS, "a")
    said.append(await stage.act(Apply(stage.deployment("a", replicas=2), first["resourceVersion"])))
    said.append(await stage.act(Apply(stage.deployment("a", replicas=1), first["resourceVersion"])))
    second = await stage.metadata(DEPLOYMENTS, "a")
    said.append(await stage.act(Apply(stage.deployment("a", replicas=2), second["resourceVersion"])))
    third = await stage.metadata(DEPLOYMENTS, "a")
    said += [second["resourceVersion"] == third["resourceVersion"], second["generation"], third["generation"]]
    said.append(await stage.act(Apply(stage.deployment("gone", replicas=1), "12345")))
    return [*said, await stage.metadata(DEPLOYMENTS, "gone") == {}]


async def taking_back(stage: Stage) -> list[Any]:
    """A field that was given and is not any more falls back; one that is somebody else's by then stays."""
    said = [await stage.act(Apply(stage.deployment("a", replicas=3, paused=True)))]
    found = await stage.metadata(DEPLOYMENTS, "a")
    at, uid, version = stage.at(DEPLOYMENTS, "a"), found["uid"], found["resourceVersion"]
    said.append(await stage.act(KeepReplicas(at, uid, version, 4)))
    said.append(await stage.act(KeepReplicas(at, uid, version, 5)))
    found = await stage.metadata(DEPLOYMENTS, "a")
    said.append(await stage.act(Apply(stage.deployment("a"), found["resourceVersion"])))
    spec = await stage.spec(DEPLOYMENTS, "a")
    return [*said, spec.get("paused", False), spec["replicas"]]


async def names(stage: Stage) -> list[Any]:
    """A name that somebody else's object has."""
    port = {"name": "grpc", "port": 8001, "protocol": "TCP", "targetPort": 8001}
    stage.make(SERVICES, "a", {"clusterIP": "None", "ports": [port], "selector": {"app": "mine"}})
    ours = stage.child(SERVICES, "a", {"clusterIP": "None", "ports": [port], "selector": {"app": "ours"}})
    said = [await stage.act(Apply(ours)), (await stage.spec(SERVICES, "a"))["selector"]]
    said.append(await stage.act(Apply(stage.deployment("b"))))
    return [*said, await stage.act(Apply(stage.deployment("b")))]


async def deletions(stage: Stage) -> list[Any]:
    """Of the object that was seen, of another of its name, of none."""
    await stage.act(Apply(stage.deployment("a", replicas=0)))
    found = await stage.metadata(DEPLOYMENTS, "a")
    said = [await stage.act(Delete(stage.at(DEPLOYMENTS, "a"), STRANGER)), bool(await stage.metadata(DEPLOYMENTS, "a"))]
    said.append(await stage.act(Delete(stage.at(DEPLOYMENTS, "a"), found["uid"])))
    said.append(await stage.metadata(DEPLOYMENTS, "a") == {})
    return [*said, await stage.act(Delete(stage.at(DEPLOYMENTS, "a"), found["uid"]))]


async def suspending(stage: Stage) -> list[Any]:
    """In the version that was seen, and in an older one."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "image"}]}}
    await stage.act(Apply(stage.child(JOBS, "a", {"suspend": False, "template": template})))
    job, at = await stage.metadata(JOBS, "a"), stage.at(JOBS, "a")
    said = [await stage.act(Suspend(at, job["uid"], job["resourceVersion"], suspended=True))]
    said.append(await stage.act(Suspend(at, job["uid"], job["resourceVersion"], suspended=False)))
    return [*said, (await stage.spec(JOBS, "a"))["suspend"]]


async def statuses(stage: Stage) -> list[Any]:
    """Written, written again, under an old version, for another object, and with fields that are not given any more."""
    stage.make(MODEL_DEPLOYMENTS, "a", {"model": {"source": "builtin://miniature"}, "replicas": 1})
    seen = await stage.metadata(MODEL_DEPLOYMENTS, "a")
    key = Key(MODEL_DEPLOYMENTS.kind, stage.namespace, "a")

    async def write(status: Raw, version: str, uid: str = seen["uid"]) -> str:
        return await stage.act(ApplyStatus(key, uid, version, status))

    both = {"observedGeneration": 1, "endpoint": "a.b.svc:8001"}
    said = [await write(both, seen["resourceVersion"]), await write({"endpoint": "x"}, seen["resourceVersion"])]
    later = (await stage.metadata(MODEL_DEPLOYMENTS, "a"))["resourceVersion"]
    said += [later == seen["resourceVersion"], await write(both, later)]
    said.append((await stage.metadata(MODEL_DEPLOYMENTS, "a"))["resourceVersion"] == later)
    said.append(await write({"observedGeneration": 1}, later))
    found = await stage.cluster.get(stage.at(MODEL_DEPLOYMENTS, "a")) or {}
    return [*said, found["status"], found["metadata"]["generation"]]


async def costs(stage: Stage) -> list[Any]:
    """A deletion cost is an annotation and no new generation; a pod that is gone has none."""
    stage.make(PODS, "a", RESTRICTED)
    found, at = await stage.metadata(PODS, "a"), stage.at(PODS, "a")
    said = [await stage.act(SetDeletionCost(at, found["uid"], 7))]
    after = await stage.metadata(PODS, "a")
    said.append(await stage.act(SetDeletionCost(stage.at(PODS, "gone"), found["uid"], 7)))
    return [*said, after["annotations"]["controller.kubernetes.io/pod-deletion-cost"], after["generation"]]


SCENES = (versions, taking_back, names, deletions, suspending, statuses, costs)


def in_memory(scene: Callable[[Stage], Awaitable[list[Any]]]) -> list[Any]:
    cluster = FakeCluster()

    async def run() -> list[Any]:
        return await scene(
            Stage(cluster, "art", "owner", lambda resource, body: cluster.create(resource, body) and None)
        )

    return asyncio.run(run())


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_cluster_in_memory_does_as_a_real_one(
    still: Place, connect: Connect, scene: Callable[[Stage], Awaitable[list[Any]]]
) -> None:
    async def real() -> list[Any]:
        still("create", "configmap", "x")
        owner = (still.get("configmap", "x") or {})["metadata"]["uid"]
        async with connect() as cluster:
            return await scene(
                Stage(cluster, still.namespace, owner, lambda _, body: still.kubectl.apply(body) and None)
            )

    assert in_memory(scene) == asyncio.run(real())
