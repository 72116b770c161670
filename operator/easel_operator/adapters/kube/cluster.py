"""The operator's reads and writes as requests."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any, assert_never
from urllib.parse import quote

from easel_api.errors import NotFound
from easel_operator.core.actions import (
    Action,
    Apply,
    ApplyStatus,
    Delete,
    KeepReplicas,
    Manifest,
    RecordEvent,
    SetDeletionCost,
    SettleSpend,
    Suspend,
)
from easel_operator.core.labels import DELETION_COST, FIELD_MANAGER
from easel_operator.core.manifests import digest
from easel_operator.core.resources import Reference, Resource
from easel_operator.ports.cluster import Changed, NameTaken

from .transport import Transport

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
VERSIONS_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
EVENTS = Resource("events.k8s.io", "v1", "Event", "events")


def path_of(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    """URL path of a collection or an object."""
    root = f"/apis/{resource.group}" if resource.group else "/api"
    place = ["namespaces", quote(namespace)] if namespace else []
    parts = [f"{root}/{resource.version}", *place, resource.plural, quote(name), subresource]
    return "/".join(filter(None, parts))


class KubeCluster:
    """Implements `ports.cluster.Cluster`."""

    def __init__(self, transport: Transport, instance: str) -> None:
        self._transport, self._instance = transport, instance
        self._repeats: dict[str, int] = {}

    async def get(self, reference: Reference) -> dict[str, Any] | None:
        """The object as it is now, or None."""
        try:
            return await self._transport.request("GET", _path(reference))
        except NotFound:
            return None

    async def perform(self, action: Action) -> None:
        """Carry out one action."""
        match action:
            case Apply():
                await self._apply(action)
            case Suspend():
                seen = {"uid": action.uid, "resourceVersion": action.version}
                await self._patch(
                    _path(action.reference), {"metadata": seen, "spec": {"suspend": action.suspended}}, MERGE
                )
            case SetDeletionCost():
                await self._set_deletion_cost(action)
            case KeepReplicas():
                await self._keep_replicas(action)
            case Delete():
                await self._delete(action)
            case ApplyStatus():
                await self._apply_status(action)
            case SettleSpend():
                key = action.key
                seen = {"uid": action.uid, "resourceVersion": action.resource_version}
                path = path_of(key.resource, key.namespace, key.name, "status")
                await self._patch(path, {"metadata": seen, "status": {"spend": action.spend}}, MERGE)
            case RecordEvent():
                await self._record(action)
            case _:
                assert_never(action)

    async def versions(self, resource: Resource, namespace: str, selector: str) -> dict[str, str]:
        """Resource version of each object by name."""
        query = {"labelSelector": selector} if selector else {}
        listed = await self._transport.request("GET", path_of(resource, namespace), query=query, accept=VERSIONS_ONLY)
        metadata = [item["metadata"] for item in listed["items"] or ()]
        return {item["name"]: item["resourceVersion"] for item in metadata}

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows this kind."""
        try:
            found = await self._transport.request("GET", f"/apis/{resource.group}/{resource.version}")
        except NotFound:
            return False
        return any(item["name"] == resource.plural for item in found["resources"])

    async def _apply(self, action: Apply) -> None:
        try:
            await self._apply_to(action.manifest, action.version)
        except NameTaken:
            # Somebody changed a field of our own child, and it was not in view yet: it is ours to change back.
            if not (version := await self._version_of_ours(action)):
                raise
            await self._apply_to(action.manifest, version)

    async def _apply_to(self, manifest: Manifest, version: str) -> None:
        """To an object in this version, whoever owns its fields; with none nothing is taken from anybody."""
        seen = {"resourceVersion": version} if version else {}
        body = manifest.body | {"metadata": manifest.body["metadata"] | seen}
        await self._patch(_path(manifest.reference), body, APPLY, force=bool(version))

    async def _version_of_ours(self, action: Apply) -> str:
        """Its resource version; empty when it is not there, or somebody else's."""
        found = await self.get(action.manifest.reference)
        wanted = {owner["uid"] for owner in action.manifest.body["metadata"]["ownerReferences"]}
        owners = (found or {}).get("metadata", {}).get("ownerReferences", [])
        ours = any(owner.get("controller") and owner["uid"] in wanted for owner in owners)
        return str(found["metadata"]["resourceVersion"]) if found and ours else ""

    async def _apply_status(self, action: ApplyStatus) -> None:
        resource, key = action.key.resource, action.key
        # Both are conditions of the write: the same object, in the state that the decision was about.
        seen = {"uid": action.uid, "resourceVersion": action.resource_version}
        body = _part(resource, key.name, seen) | {"status": action.status}
        await self._patch(path_of(resource, key.namespace, key.name, "status"), body, APPLY, force=True)

    async def _patch(
        self,
        path: str,
        body: dict[str, Any],
        content_type: str,
        *,
        force: bool | None = None,
        manager: str = FIELD_MANAGER,
    ) -> None:
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force is not None:
            query["force"] = str(force).lower()
        await self._transport.request("PATCH", path, body, query=query, content_type=content_type)

    async def _set_deletion_cost(self, action: SetDeletionCost) -> None:
        # The uid is a condition of the write: this pod, and no other that took its name.
        told = {"uid": action.uid, "annotations": {DELETION_COST: str(action.cost)}}
        body = _part(action.reference.resource, action.reference.name, told)
        with contextlib.suppress(NotFound, Changed):  # a pod that is gone costs nothing
            await self._patch(_path(action.reference), body, APPLY, force=True)

    async def _keep_replicas(self, action: KeepReplicas) -> None:
        seen = {"uid": action.uid, "resourceVersion": action.version}
        body = _part(action.reference.resource, action.reference.name, seen)
        body |= {"spec": {"replicas": action.replicas}}
        # Another manager's name; whoever scales next takes the field from it.
        await self._patch(_path(action.reference), body, APPLY, force=True, manager=f"{FIELD_MANAGER}-handover")

    async def _delete(self, action: Delete) -> None:
        options = {"preconditions": {"uid": action.uid}, "propagationPolicy": "Background"}
        try:
            await self._transport.request("DELETE", _path(action.reference), options)
        except NotFound:
            return

    async def _record(self, action: RecordEvent) -> None:
        name = f"{action.key.name}.{digest([action.uid, action.severity, action.reason, action.message])}"
        path = path_of(EVENTS, action.key.namespace)
        try:
            await self._transport.request("POST", path, self._event(action, name))
        except Changed:  # the API server's word for "exists already"
            await self._repeat(path, name)

    def _event(self, action: RecordEvent, name: str) -> dict[str, Any]:
        resource = action.key.resource
        regarding = {"apiVersion": resource.api_version, "kind": resource.kind, "uid": action.uid}
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": action.key.namespace},
            "eventTime": _now(),
            "reportingController": "easel.dev/operator",
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "type": action.severity,
            "reason": action.reason,
            "note": action.message[:1024],
            "regarding": regarding | {"name": action.key.name, "namespace": action.key.namespace},
        }

    async def _repeat(self, path: str, name: str) -> None:
        """The same thing happened again: one Event with a count says so."""
        self._repeats[name] = self._repeats.get(name, 1) + 1
        series = {"series": {"count": self._repeats[name], "lastObservedTime": _now()}}
        await self._transport.request("PATCH", f"{path}/{name}", series, content_type=MERGE)


def _part(resource: Resource, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The beginning of an apply that is about a part of an object."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name} | metadata}


def _path(reference: Reference) -> str:
    return path_of(reference.resource, reference.namespace, reference.name)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
