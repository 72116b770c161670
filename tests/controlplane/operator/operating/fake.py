"""A cluster in memory: an API server as far as the operator writes to it, and controllers that take one step at a time.

What of an API server it imitates is compared with a real one by `tests/controlplane/operator/test_fake.py`: versions and
uids as conditions of a write, apply that takes back what it gave, no write without a change, and whose a name is.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal, assert_never

from easel_api.errors import NotFound
from easel_operator.core import labels
from easel_operator.core.actions import (
    Action,
    Apply,
    ApplyStatus,
    Delete,
    KeepReplicas,
    RecordEvent,
    SetDeletionCost,
    SettleSpend,
    Suspend,
)
from easel_operator.core.resources import (
    CHILD_KINDS,
    DEPLOYMENTS,
    GENERATION_JOBS,
    JOBS,
    OWN_KINDS,
    PODS,
    Reference,
    Resource,
)
from easel_operator.ports.cluster import Changed, NameTaken

Raw = dict[str, Any]
Change = Literal["seen", "gone"]
Event = tuple[Resource, Change, Raw]
KINDS = (*OWN_KINDS, *CHILD_KINDS)
MOMENT = "2026-01-02T03:04:05Z"


class FakeCluster:
    """Objects by reference; `watchers` hear of every change, `writes` counts those that somebody but the world made."""

    def __init__(self) -> None:
        self.objects: dict[Reference, Raw] = {}
        self.watchers: list[Callable[[Event], None]] = []
        self.writes = 0
        self._versions, self._uids = itertools.count(1), itertools.count(1)
        self._applied: dict[tuple[Reference, str], Raw] = {}

    async def get(self, reference: Reference) -> Raw | None:
        return copy.deepcopy(self.objects.get(reference))

    async def versions(self, resource: Resource, namespace: str, selector: str) -> dict[str, str]:
        raise AssertionError("nobody audits here")

    async def serves(self, resource: Resource) -> bool:
        return True

    async def perform(self, action: Action) -> None:  # noqa: C901 - one case for each action
        before = next(copy.copy(self._versions))
        match action:
            case Apply():
                self._apply_child(action)
            case Suspend():
                found = self._demand(action.reference, action.uid, action.version)
                self._put(action.reference, found | {"spec": found["spec"] | {"suspend": action.suspended}})
            case SetDeletionCost():
                if action.reference not in self.objects:
                    return
                found = self._demand(action.reference, action.uid)
                tags = found["metadata"].get("annotations", {}) | {labels.DELETION_COST: str(action.cost)}
                self._put(action.reference, found | {"metadata": found["metadata"] | {"annotations": tags}})
            case KeepReplicas():
                found = self._demand(action.reference, action.uid, action.version)
                self._applied.get((action.reference, ""), {}).get("spec", {}).pop("replicas", None)
                self._put(action.reference, found | {"spec": found["spec"] | {"replicas": action.replicas}})
            case Delete():
                if action.reference in self.objects:
                    self._demand(action.reference, action.uid)
                    self.remove(action.reference)
            case ApplyStatus():
                reference = Reference(action.key.resource, action.key.namespace, action.key.name)
                found = self._demand(reference, action.uid, action.resource_version)
                status = self._merged(reference, "status", found.get("status", {}), action.status)
                self._put(reference, found | {"status": status})
            case SettleSpend():
                reference = Reference(action.key.resource, action.key.namespace, action.key.name)
                found = self._demand(reference, action.uid, action.resource_version)
                self._put(reference, found | {"status": found.get("status", {}) | {"spend": action.spend}})
            case RecordEvent():
                return
            case _:
                assert_never(action)
        self.writes += next(copy.copy(self._versions)) != before

    def create(self, resource: Resource, body: Raw) -> Raw:
        """As a person or a controller makes an object."""
        reference = Reference(resource, body["metadata"]["namespace"], body["metadata"]["name"])
        made = {"uid": f"uid-{next(self._uids)}", "creationTimestamp": MOMENT, "generation": 0}
        self._put(reference, body | {"metadata": body["metadata"] | made})
        return self.objects[reference]

    def change(self, reference: Reference, **parts: Raw) -> None:
        """As somebody else changes an object: its spec or its status."""
        found = self.objects[reference]
        self._put(reference, found | {name: found.get(name, {}) | part for name, part in parts.items()})

    def remove(self, reference: Reference) -> None:
        """An object goes, and what it owns with it."""
        gone = self.objects.pop(reference)
        for key in [key for key in self._applied if key[0] == reference]:
            del self._applied[key]
        self._tell((reference.resource, "gone", gone))
        for child, raw in list(self.objects.items()):
            owners = raw["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                self.remove(child)

    def listed(self) -> Iterator[Event]:
        """Everything, as a watch begins."""
        for reference, raw in self.objects.items():
            yield reference.resource, "seen", copy.deepcopy(raw)

    def of(self, resource: Resource) -> list[tuple[Reference, Raw]]:
        """Objects of a kind."""
        return [(reference, raw) for reference, raw in self.objects.items() if reference.resource == resource]

    def _demand(self, reference: Reference, uid: str, version: str = "") -> Raw:
        found = self.objects.get(reference)
        if found is None:
            raise NotFound("there is no such object or kind", where=str(reference))
        metadata = found["metadata"]
        if metadata["uid"] != uid or (version and metadata["resourceVersion"] != version):
            raise Changed("the object changed meanwhile", where=str(reference))
        return found

    def _apply_child(self, action: Apply) -> None:
        reference, body = action.manifest.reference, action.manifest.body
        found = self.objects.get(reference)
        if found is None:
            # A version is no condition where there is nothing.
            self._merged(reference, "", {}, body)
            self.create(reference.resource, copy.deepcopy(body))
            return
        wanted = {owner["uid"] for owner in body["metadata"]["ownerReferences"]}
        owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", [])}
        if action.version:
            self._demand(reference, found["metadata"]["uid"], action.version)
        elif not owners & wanted:
            raise NameTaken("an object of this name belongs to somebody else", where=str(reference))
        self._put(reference, self._merged(reference, "", found, body))

    def _merged(self, reference: Reference, part: str, found: Raw, given: Raw) -> Raw:
        """What was given before and is not any more goes; lists are taken whole."""
        before = self._applied.get((reference, part), {})
        self._applied[reference, part] = copy.deepcopy(given)
        return _applied(found, before, given)

    def _put(self, reference: Reference, raw: Raw) -> None:
        before = self.objects.get(reference)
        raw = copy.deepcopy(raw)
        if reference.resource == DEPLOYMENTS:
            raw["spec"].setdefault("replicas", 1)
        metadata = raw["metadata"]
        if before is not None and _content(before) == _content(raw):
            return
        if before is None or before.get("spec") != raw.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + 1
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[reference] = raw
        self._tell((reference.resource, "seen", raw))

    def _tell(self, event: Event) -> None:
        for watcher in self.watchers:
            watcher(copy.deepcopy(event))


def _content(raw: Raw) -> Raw:
    return raw | {"metadata": {key: value for key, value in raw["metadata"].items() if key != "resourceVersion"}}


def _applied(found: Any, before: Any, given: Any) -> Any:
    if not isinstance(given, dict) or not isinstance(found, dict):
        return copy.deepcopy(given)
    before = before if isinstance(before, dict) else {}
    kept = {key: value for key, value in found.items() if key in given or key not in before}
    return kept | {key: _applied(kept.get(key), before.get(key), value) for key, value in given.items()}


def step(cluster: FakeCluster) -> bool:
    """The Deployment and Job controllers, kubelet and the workers do one thing; False when there is nothing to do."""
    return any(act(cluster) for act in (_run_pods, _replicas, _start_workers, _work, _report, _finish))


def _replicas(cluster: FakeCluster) -> bool:
    for reference, deployment in cluster.of(DEPLOYMENTS):
        template, wanted = deployment["spec"]["template"], deployment["spec"]["replicas"]
        uid = deployment["metadata"]["uid"]
        pods = [(key, raw) for key, raw in cluster.of(PODS) if _owned(raw, uid)]
        stale = [key for key, raw in pods if raw["metadata"]["annotations"] != template["metadata"]["annotations"]]
        if stale or len(pods) > wanted:
            cluster.remove(stale[0] if stale else pods[-1][0])
            return True
        if len(pods) < wanted:
            _make_pod(cluster, reference, uid, template, len(pods))
            return True
        ready = sum(bool(raw.get("status")) for _, raw in pods)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(pods),
            "readyReplicas": ready,
        }
        if deployment.get("status") != status:
            cluster.change(reference, status=status)
            return True
    return False


def _owned(raw: Raw, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in raw["metadata"].get("ownerReferences", []))


def _make_pod(cluster: FakeCluster, owner: Reference, uid: str, template: Raw, number: int) -> None:
    metadata = copy.deepcopy(template["metadata"]) | {
        "name": f"{owner.name}-{number}-{next(cluster._uids)}",
        "namespace": owner.namespace,
        "ownerReferences": [{"uid": uid, "controller": True}],
    }
    cluster.create(PODS, {"metadata": metadata, "spec": {}})


def _run_pods(cluster: FakeCluster) -> bool:
    for reference, pod in cluster.of(PODS):
        if not pod.get("status"):
            running = {"state": {"running": {}}, "ready": True, "restartCount": 0}
            cluster.change(reference, status={"podIP": "10.0.0.1", "containerStatuses": [running]})
            return True
    return False


def _workers(cluster: FakeCluster, job: Raw) -> list[tuple[Reference, Raw]]:
    return [(key, raw) for key, raw in cluster.of(PODS) if _owned(raw, job["metadata"]["uid"])]


def _start_workers(cluster: FakeCluster) -> bool:
    for reference, job in cluster.of(JOBS):
        workers, suspended = _workers(cluster, job), job["spec"].get("suspend", False)
        if _ended(job):
            continue
        if suspended and workers:
            cluster.remove(workers[0][0])
            return True
        if not suspended and not workers:
            _make_pod(cluster, reference, job["metadata"]["uid"], job["spec"]["template"], 0)
            return True
        status = {"active": len(workers), "ready": sum(bool(raw.get("status")) for _, raw in workers)}
        if {key: (job.get("status") or {}).get(key) for key in status} != status:
            cluster.change(reference, status=status)
            return True
    return False


def _ended(job: Raw) -> bool:
    return bool((job.get("status") or {}).get("conditions"))


def _work(cluster: FakeCluster) -> bool:
    """A worker stores its next item and reports it."""
    for reference, job in cluster.of(JOBS):
        owner = Reference(GENERATION_JOBS, reference.namespace, reference.name)
        running = any(raw.get("status") for _, raw in _workers(cluster, job))
        if _ended(job) or job["spec"].get("suspend", False) or not running or owner not in cluster.objects:
            continue
        items = (cluster.objects[owner].get("status") or {}).get("items", {"total": 2, "succeeded": 0})
        if items["succeeded"] < items["total"]:
            done = items["succeeded"] + 1
            report = {"items": {"total": items["total"], "succeeded": done}, "done": f"{done}/{items['total']}"}
            cluster.change(owner, status=report)
            return True
    return False


def _report(cluster: FakeCluster) -> bool:
    for reference, job in cluster.of(JOBS):
        owner = cluster.objects.get(Reference(GENERATION_JOBS, reference.namespace, reference.name), {})
        items = (owner.get("status") or {}).get("items", {})
        done = bool(items) and items["succeeded"] == items["total"]
        if labels.MODEL_FETCH in job["metadata"]["labels"]:
            done = any(raw.get("status") for _, raw in _workers(cluster, job))
        if not _ended(job) and done and _workers(cluster, job):
            complete = {"type": "Complete", "status": "True", "lastTransitionTime": MOMENT}
            cluster.change(reference, status={"active": 0, "ready": 0, "conditions": [complete]})
            return True
    return False


def _finish(cluster: FakeCluster) -> bool:
    for _, job in cluster.of(JOBS):
        for worker, _raw in _workers(cluster, job) if _ended(job) else ():
            cluster.remove(worker)
            return True
    return False
