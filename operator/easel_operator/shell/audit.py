"""Whether the watches tell everything: what they delivered is compared with a listing of resource versions.

Watches have gone silent behind load balancers without ending, in every operator framework. A listing that names a change
which no watch delivers within a grace period makes the process unhealthy, and Kubernetes starts it anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from easel_api.errors import EaselError
from easel_operator.core import labels
from easel_operator.core.configuration import WatchTimes
from easel_operator.core.resources import CHILD_KINDS, OWN_KINDS, SHARING_KINDS, Resource
from easel_operator.ports.cluster import Cluster
from easel_operator.ports.metrics import Metrics

from .cache import Cache

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Expected:
    """An object that a watch should have delivered in that version, or its end when there is none."""

    resource: Resource
    namespace: str
    name: str
    version: str | None
    since: int


class Audit:
    """Knows whether the first lists are complete (`synced`, which somebody else says) and whether a watch is stale."""

    def __init__(
        self,
        cache: Cache,
        cluster: Cluster,
        namespaces: tuple[str, ...],
        times: WatchTimes,
        metrics: Metrics,
        *,
        sharing: bool = False,
    ) -> None:
        self._children = (*CHILD_KINDS, *SHARING_KINDS) if sharing else CHILD_KINDS
        self._cache, self._cluster, self._namespaces = cache, cluster, namespaces
        self._times, self._metrics = times, metrics
        self.synced = asyncio.Event()
        self.stale: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Every interval, from when the first lists are complete."""
        await self.synced.wait()
        await asyncio.sleep(self._times.audit_interval)
        while True:
            try:
                await self._once()
            except EaselError as error:
                logger.warning("audit of the watches: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(RETRY_SECONDS if self.stale else self._times.audit_interval)

    async def _once(self) -> None:
        expected = await self._differences()
        missed = await self._wait_for(expected)
        self.stale = frozenset(item.resource.plural for item in missed)
        for resource in (*OWN_KINDS, *self._children):
            self._metrics.stale(resource.plural, sum(item.resource == resource for item in missed))
        if self.stale:
            logger.error("no watch delivered %d changes of %s", len(missed), ", ".join(sorted(self.stale)))

    async def _differences(self) -> list[Expected]:
        found: list[Expected] = []
        for resource in (*OWN_KINDS, *self._children):
            selector = labels.SELECTOR if resource in self._children else ""
            for namespace in self._namespaces:
                since = self._cache.changes
                listed = await self._cluster.versions(resource, namespace, selector)
                found += self._compare(resource, namespace, listed, since)
        return found

    def _compare(self, resource: Resource, namespace: str, listed: dict[str, str], since: int) -> list[Expected]:
        known = {name: entry.version for name, entry in self._cache.entries(resource, namespace).items()}
        names = [name for name in known.keys() | listed.keys() if known.get(name) != listed.get(name)]
        return [Expected(resource, namespace, name, listed.get(name), since) for name in names]

    async def _wait_for(self, expected: list[Expected]) -> list[Expected]:
        for _ in range(max(1, round(self._times.audit_grace / POLL_SECONDS))):
            expected = [item for item in expected if not self._delivered(item)]
            if not expected:
                break
            await asyncio.sleep(POLL_SECONDS)
        return expected

    def _delivered(self, item: Expected) -> bool:
        entry = self._cache.entry(item.resource, item.namespace, item.name)
        if entry is None:
            # It was there when it was listed, so its end has been delivered since, unless nothing ever was.
            return item.version is None
        return entry.version == item.version or entry.change > item.since
