"""Lists and watches, as Kubernetes' own clients do: a list in pages, then every change from its version on.

A watch that ends is begun anew where it ended. When the API server does not remember that version any more, all is listed
again, and what is not listed any more is gone. Nothing is written to anybody's object.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from easel_api.errors import EaselError, Transient
from easel_operator.core import labels
from easel_operator.core.pods import TELLING_REASONS
from easel_operator.core.resources import CHILD_KINDS, EVENTS, NAMESPACES, OWN_KINDS, SHARING_KINDS, Resource
from easel_operator.ports.cluster import Expired

from .cluster import path_of
from .transport import Transport

logger = logging.getLogger(__name__)

Raw = dict[str, Any]
Change = Literal["seen", "gone"]
OnChange = Callable[[Resource, Change, Raw], None]
Query = Mapping[str, str]
Known = Callable[[Resource, str], Mapping[str, Raw]]
"""Objects of a kind in a namespace as last handed over, by name."""

PAGE = 500
SERVER_SECONDS = 300
"""After which the API server ends a watch, so that none grows old with a load balancer that forgot it."""
IDLE_SECONDS = 70.0
"""Longest silence of a watch: bookmarks come every minute, and load balancers drop quiet streams without a word."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0


async def watch(
    transport: Transport,
    namespaces: tuple[str, ...],
    known: Known,
    on_change: OnChange,
    on_complete: Callable[[], object] = lambda: None,
    *,
    sharing: bool = False,
) -> None:
    """Our kinds, their children and what events tell of these, in these namespaces, for ever; says when all was listed once.

    With `sharing` also what lets namespaces use each other's Providers, and the labels of these namespaces.
    """
    reflectors = list(_reflectors(transport, namespaces, known, on_change))
    if sharing:
        reflectors += _sharing(transport, namespaces, known, on_change)
    async with asyncio.TaskGroup() as group:
        for reflector in reflectors:
            group.create_task(reflector.run())
        for reflector in reflectors:
            await reflector.listed.wait()
        on_complete()


def _reflectors(
    transport: Transport, namespaces: tuple[str, ...], known: Known, on_change: OnChange
) -> Iterator[Reflector]:
    for namespace in namespaces:
        for resource in OWN_KINDS:
            yield Reflector(transport, resource, namespace, {}, known, on_change)
        for resource in CHILD_KINDS:
            yield Reflector(transport, resource, namespace, {"labelSelector": labels.SELECTOR}, known, on_change)
        # One watch for each reason: a namespace has many events, and a selector knows no "or".
        for reason in TELLING_REASONS:
            its = for_reason(known, reason)
            yield EventReflector(transport, EVENTS, namespace, {"fieldSelector": f"reason={reason}"}, its, on_change)


def _sharing(
    transport: Transport, namespaces: tuple[str, ...], known: Known, on_change: OnChange
) -> Iterator[Reflector]:
    for namespace in namespaces:
        for resource in SHARING_KINDS:
            yield Reflector(transport, resource, namespace, {"labelSelector": labels.SELECTOR}, known, on_change)
        # By name, as the operator may read no other.
        query = {"fieldSelector": f"metadata.name={namespace}"}
        yield Reflector(transport, NAMESPACES, "", query, named(known, namespace), on_change)


def named(known: Known, name: str) -> Known:
    """Of what is known the one of this name."""

    def chosen(resource: Resource, namespace: str) -> Mapping[str, Raw]:
        return {each: raw for each, raw in known(resource, namespace).items() if each == name}

    return chosen


def for_reason(known: Known, reason: str) -> Known:
    """Of the known events those that a watch of this reason brought."""

    def chosen(resource: Resource, namespace: str) -> Mapping[str, Raw]:
        return {name: raw for name, raw in known(resource, namespace).items() if raw["reason"] == reason}

    return chosen


class Reflector:
    """One kind in one namespace."""

    idle_seconds = IDLE_SECONDS

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        namespace: str,
        selector: Query,
        known: Known,
        on_change: OnChange,
    ) -> None:
        self._transport, self._resource, self._namespace = transport, resource, namespace
        self._path = path_of(resource, namespace)
        self._query = selector
        self._known, self._on_change = known, on_change
        self._version = ""
        """What was seen last; empty: all must be listed."""
        self._failures = 0
        self.listed = asyncio.Event()
        """Whether everything was handed over once."""
        self._expired = False
        """Whether a version was forgotten before."""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                if not self._version:
                    async with self._transport.listing:
                        await self._list()
                    self.listed.set()
                await self._watch()
            except Expired:
                self._version, self._expired = "", self.listed.is_set()
            except EaselError as error:
                logger.info("watch of %s in %s: %s", self._resource.plural, self._namespace, error)
                await asyncio.sleep(self._pause())

    async def _list(self) -> None:
        # Nobody else changes what is known of this kind in this namespace, so once is enough.
        known = dict(self._known(self._resource, self._namespace))
        listed: set[str] = set()
        more = ""
        while True:
            page = {"limit": str(PAGE)} | ({"continue": more} if more else {})
            found = await self._transport.request("GET", self._path, query={**self._query, **page})
            for item in found["items"] or ():
                listed.add(item["metadata"]["name"])
                self._see(item, known)
            more = found["metadata"].get("continue", "")
            if not more:
                break
        for name, raw in known.items():
            if name not in listed:
                self._on_change(self._resource, "gone", raw)
        self._version = found["metadata"]["resourceVersion"]

    def _see(self, item: Raw, known: Mapping[str, Raw]) -> None:
        before = known.get(item["metadata"]["name"])
        if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            # A list leaves out what is the same for all of its items.
            named = {"apiVersion": self._resource.api_version, "kind": self._resource.kind}
            self._on_change(self._resource, "seen", named | item)

    async def _watch(self) -> None:
        query = {
            **self._query,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(SERVER_SECONDS),
        }
        async for event in self._transport.stream(self._path, query, self.idle_seconds):
            self._take(str(event["type"]), event["object"])
            self._failures = 0

    def _take(self, kind: str, raw: Raw) -> None:
        match kind:
            case "ADDED" | "MODIFIED":
                self._on_change(self._resource, "seen", raw)
            case "DELETED":
                self._on_change(self._resource, "gone", raw)
            case "ERROR" if raw.get("code") == 410:
                raise Expired("the API server does not remember this version", where=self._path)
            case "ERROR":
                raise Transient("the watch failed", where=self._path, found=str(raw.get("message", "")))
            case _:
                pass  # a bookmark: nothing but a version
        self._version = raw["metadata"]["resourceVersion"]

    def _pause(self) -> float:
        self._failures += 1
        longest: float = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 9), LONGEST_PAUSE_SECONDS)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - so that not all watches come back at once


class EventReflector(Reflector):
    """Events, which tell what goes on, and are told again while it does: what falls between two watches is not listed.

    API servers keep no cache of them, so a quiet watch has no bookmarks and its version is soon forgotten, and a list reads every
    event of the namespace.
    """

    idle_seconds = SERVER_SECONDS + 30.0

    async def _list(self) -> None:
        if not self._expired:
            await super()._list()
            return
        found = await self._transport.request("GET", self._path, query={"limit": "1"})
        self._version = found["metadata"]["resourceVersion"]
