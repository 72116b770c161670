"""What the watches have seen: the last known state of every object of ours and of our children.

It belongs to the reconcile loop's thread. Each change gets a number, so that the audit can tell what came after it.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from easel_operator.core import labels
from easel_operator.core.decision import parse_timestamp
from easel_operator.core.parsing import OPERATORS_AND_WORKERS, is_over
from easel_operator.core.resources import (
    EVENTS,
    GENERATION_JOBS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NAMESPACES,
    OWN_KINDS,
    PODS,
    PROVIDERS,
    ROLE_BINDINGS,
    Key,
    Resource,
)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SHORT = 64
"""Characters of a text that many objects may share: a name, a reason, a moment."""

K = TypeVar("K")
Raw = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object and the number of the change that brought it."""

    raw: Raw
    change: int

    @property
    def version(self) -> str:
        """Its resource version."""
        return str(self.raw["metadata"].get("resourceVersion", ""))


class Cache:
    """Objects by kind and name, pods by their owner too, and events by what they are about."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[str, dict[str, Entry]]] = defaultdict(lambda: defaultdict(dict))
        self._pods: dict[Key, set[Name]] = defaultdict(set)
        self._events: dict[str, set[Name]] = defaultdict(set)
        self._providers: dict[Name, Any] = {}
        self.changes = 0

    def put(self, resource: Resource, raw: Raw) -> None:
        """Remember an object, as far as decisions read it."""
        self.changes += 1
        entry = Entry(_kept(resource, raw), self.changes)
        namespace, name = _name(raw)
        self._objects[resource][namespace][name] = entry
        if resource == PODS and (owner := owner_of(raw)):
            self._pods[owner].add(_name(raw))
        if resource == EVENTS:
            self._events[_subject(raw)].add(_name(raw))

    def remove(self, resource: Resource, raw: Raw) -> None:
        """Forget an object."""
        self.changes += 1
        namespace, name = _name(raw)
        self._objects[resource][namespace].pop(name, None)
        owner = owner_of(raw)
        if resource == PODS and owner:
            _unlink(self._pods, owner, _name(raw))
        if resource == EVENTS:
            _unlink(self._events, _subject(raw), _name(raw))

    def get(self, resource: Resource, namespace: str, name: str) -> Raw | None:
        """The object as last seen."""
        entry = self.entry(resource, namespace, name)
        return entry.raw if entry else None

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The object as last seen, and when."""
        return self._objects[resource].get(namespace, {}).get(name)

    def entries(self, resource: Resource, namespace: str) -> dict[str, Entry]:
        """Everything of a kind in a namespace, by name."""
        return dict(self._objects[resource].get(namespace, {}))

    def raws(self, resource: Resource, namespace: str) -> dict[str, Raw]:
        """The same as they are."""
        return {name: entry.raw for name, entry in self.entries(resource, namespace).items()}

    def pods(self, owner: Key) -> list[Raw]:
        """Pods that serve this object, by name."""
        pods = self._objects[PODS].get(owner.namespace, {})
        return [pods[name].raw for _, name in sorted(self._pods.get(owner, ()))]

    def events(self, uid: str) -> list[Raw]:
        """What was said of the object with this uid, oldest first."""
        found = (self.get(EVENTS, namespace, name) for namespace, name in self._events.get(uid, ()))
        return sorted(filter(None, found), key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def own(self) -> Iterator[Key]:
        """Every object of our own kinds."""
        for resource in OWN_KINDS:
            for namespace, objects in self._objects[resource].items():
                for name in objects:
                    yield Key(resource.kind, namespace, name)

    def affected(self, resource: Resource, raw: Raw) -> Iterator[Key]:
        """Objects of ours that a change of this one is about."""
        namespace, name = _name(raw)
        if resource in OWN_KINDS:
            yield Key(resource.kind, namespace, name)
        elif owner := owner_of(self._told_of(raw) if resource == EVENTS else raw):
            yield owner
        if resource == MODEL_DEPLOYMENTS:
            yield from self._waiting_for(namespace, name)
        if resource == PROVIDERS and self._is_news(namespace, name, raw):
            for each in self._objects[GENERATION_JOBS] if _is_shared(raw) else (namespace,):
                yield from self._routed(each)
        if resource == ROLE_BINDINGS:
            for subject in raw.get("subjects") or ():
                yield from self._routed(subject.get("namespace", ""))
        if resource == NAMESPACES:
            yield from self._sharing()
            yield from self._routed(name)
        yield from self._done_with(resource, raw)

    def _sharing(self) -> Iterator[Key]:
        """Providers that other namespaces may use."""
        for namespace, found in self._objects[PROVIDERS].items():
            yield from (Key(PROVIDERS.kind, namespace, name) for name, entry in found.items() if _is_shared(entry.raw))

    def _paid(self, namespace: str, job: str) -> Iterator[Key]:
        """Providers whose ledger has an account of a job; an account that says no job is of the Provider's own namespace."""
        for home, found in self._objects[PROVIDERS].items():
            said = {f"{namespace}/{job}", *([""] if home == namespace else [])}
            for name, entry in found.items():
                accounts = ((entry.raw.get("status") or {}).get("spend") or {}).get("accounts", [])
                if any(account.get("job", "") in said for account in accounts):
                    yield Key(PROVIDERS.kind, home, name)

    def _done_with(self, resource: Resource, raw: Raw) -> Iterator[Key]:
        """Providers with accounts that may be closed: a job, or the last worker of one, has ended or is gone."""
        namespace, job = _name(raw)
        if resource == PODS:
            owner = owner_of(raw)
            if owner is None or owner.kind != GENERATION_JOBS.kind:
                return
            job = owner.name
        elif resource != GENERATION_JOBS or not raw.get("spec", {}).get("generationClassName"):
            return
        seen = self.get(GENERATION_JOBS, namespace, job)
        if seen is None or is_over(seen):
            yield from self._paid(namespace, job)

    def _is_news(self, namespace: str, name: str, raw: Raw) -> bool:
        """Whether a Provider changed in what jobs wait for; its ledger changes with every few items."""
        said = (raw.get("status") or {}).get("conditions", [])
        now = raw["metadata"].get("generation"), [(item["type"], item["status"]) for item in said]
        before, self._providers[namespace, name] = self._providers.get((namespace, name)), now
        return before != now

    def _routed(self, namespace: str) -> Iterator[Key]:
        """Jobs of a class that have not begun: a Provider may be what they wait for."""
        for name, entry in self._objects[GENERATION_JOBS].get(namespace, {}).items():
            began = (entry.raw.get("status") or {}).get("startTime")
            if entry.raw.get("spec", {}).get("generationClassName") and not began and not is_over(entry.raw):
                yield Key(GENERATION_JOBS.kind, namespace, name)

    def _told_of(self, event: Raw) -> Raw:
        """What an event is about; only pods and batch Jobs are known by it, and an event may be seen before either."""
        about = event["involvedObject"]
        kind = next((each for each in (PODS, JOBS) if each.kind == about.get("kind")), None)
        found = kind and self.get(kind, event["metadata"]["namespace"], about.get("name", ""))
        return found or {"metadata": {}}

    def _waiting_for(self, namespace: str, model: str) -> Iterator[Key]:
        """Jobs without an end that name this model."""
        for name, entry in self._objects[GENERATION_JOBS].get(namespace, {}).items():
            if is_over(entry.raw):
                continue
            if any(
                backend.get("modelDeployment") == model for backend in entry.raw.get("spec", {}).get("backends", [])
            ):
                yield Key(GENERATION_JOBS.kind, namespace, name)

    def phases(self) -> Counter[str]:
        """GenerationJobs by phase."""
        return Counter(str((job.get("status") or {}).get("phase", "Pending")) for job in self._jobs())

    def waiting_since(self) -> datetime | None:
        """Since when the GenerationJob that waits longest has not begun, though it may."""
        since = (_since(job) for job in self._jobs() if _waits(job.get("status") or {}))
        first = min(since, default=None)  # all in one format and time zone, so that their order is that of their text
        return None if first is None else parse_timestamp(first)

    def _jobs(self) -> Iterator[Raw]:
        for objects in self._objects[GENERATION_JOBS].values():
            yield from (entry.raw for entry in objects.values())


def _waits(status: Raw) -> bool:
    return status.get("phase", "Pending") == "Pending" and not status.get("startTime")


def _since(job: Raw) -> str:
    """When a job came, or was resumed: while it is suspended it is not reconciling."""
    said = (job.get("status") or {}).get("conditions", [])
    underway = [item for item in said if item["type"] == "Reconciling" and item["status"] == "True"]
    return str((underway[0] if underway else {}).get("lastTransitionTime") or job["metadata"]["creationTimestamp"])


def owner_of(raw: Raw) -> Key | None:
    """The object of ours that a child's labels name."""
    tags, namespace = raw["metadata"].get("labels", {}), raw["metadata"].get("namespace", "")
    if model := tags.get(labels.MODEL_DEPLOYMENT) or tags.get(labels.MODEL_FETCH):
        return Key(MODEL_DEPLOYMENTS.kind, namespace, model)
    if job := tags.get(labels.GENERATION_JOB):
        return Key(GENERATION_JOBS.kind, namespace, job)
    if provider := tags.get(labels.PROVIDER):
        return Key(PROVIDERS.kind, namespace, provider)
    return None


def _is_shared(provider: Raw) -> bool:
    return provider.get("spec", {}).get("namespaceSelector") is not None


METADATA = frozenset(
    {"name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp"}
    | {"labels", "annotations", "ownerReferences"}
)
READ: dict[Resource, dict[str, frozenset[str]]] = {
    GENERATION_JOBS: {"status": OPERATORS_AND_WORKERS},
    PODS: {"status": frozenset({"podIP", "conditions", "containerStatuses"})},
    JOBS: {"spec": frozenset({"suspend"})},
}
"""Parts of which only these fields are read; a pod's specification and a batch Job's template are most of either."""
CONTAINER = frozenset({"image", "lastState", "ready", "restartCount", "state"})
"""The same of a container's status."""


def _kept(resource: Resource, raw: Raw) -> Raw:
    """Without what nobody reads, and with one copy of each text that many objects share: 10,000 jobs have 30,000 objects."""
    metadata = {key: value for key, value in raw["metadata"].items() if key in METADATA}
    if LAST_APPLIED in metadata.get("annotations", {}):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != LAST_APPLIED}
    kept = raw | {"metadata": metadata}
    for part, fields in READ.get(resource, {}).items():
        kept[part] = {field: value for field, value in (kept.get(part) or {}).items() if field in fields}
    if resource == PODS:
        kept.pop("spec", None)
        status = kept["status"]
        # Of a pod's conditions those count that do not hold; a finished one has five that do.
        status["conditions"] = [item for item in status.get("conditions", []) if item["status"] != "True"]
        status["containerStatuses"] = [
            {field: value for field, value in container.items() if field in CONTAINER}
            for container in status.get("containerStatuses", [])
        ]
    return dict(_shared(kept))


def _shared(value: Any) -> Any:
    match value:
        case dict():
            return {sys.intern(key): _shared(each) for key, each in value.items()}
        case list():
            return [_shared(each) for each in value]
        case str() if len(value) <= SHORT:
            return sys.intern(value)
        case _:
            return value


def _unlink(index: dict[K, set[Name]], key: K, name: Name) -> None:
    """Take a name out of an index, and its entry with the last one."""
    names = index.get(key, set())
    names.discard(name)
    if not names:
        index.pop(key, None)


def _subject(event: Raw) -> str:
    return str(event["involvedObject"].get("uid", ""))


def _name(raw: Raw) -> Name:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
