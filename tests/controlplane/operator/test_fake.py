"""The cluster in memory that the fault schedules run on, against a real API server: the same actions, the same outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from easel_cluster.apionly import ApiServer
from operating.fake import FakeCluster
from operating.place import Place

from easel_api.errors import EaselError
from easel_operator.adapters.kube.cluster import KubeCluster
from easel_operator.adapters.kube.transport import Transport
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


RESTRICTED: Raw = {
    "serviceAccountName": "easel-runtime",  # there from the start, unlike the namespace's default
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "image": "image",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


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
    said.append(await stage.act(KeepReplicas(stage.at(DEPLOYMENTS, "a"), found["uid"], 3)))
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
    return asyncio.run(
        _awaited(scene(Stage(cluster, "art", "owner", lambda resource, body: _created(cluster, resource, body))))
    )


def _created(cluster: FakeCluster, resource: Resource, body: Raw) -> None:
    cluster.create(resource, body)


async def _awaited(what: Awaitable[list[Any]]) -> list[Any]:
    return await what


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_cluster_in_memory_does_as_a_real_one(
    place: Place,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[Stage], Awaitable[list[Any]]],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig))

    async def real() -> list[Any]:
        transport = await Transport.connect(50)
        try:
            cluster = KubeCluster(transport, "test")
            # An owner that is not there would have the garbage collector take its children.
            place("create", "configmap", "x")
            owner = (place.get("configmap", "x") or {})["metadata"]["uid"]
            stage = Stage(cluster, place.namespace, owner, lambda _, body: place.kubectl.apply(body) and None)
            return await scene(stage)
        finally:
            await transport.close()

    assert in_memory(scene) == asyncio.run(real())
