"""The leader's Lease."""

from __future__ import annotations

from typing import Any

from easel_api.errors import NotFound
from easel_operator.core.resources import Resource

from .cluster import path_of
from .transport import Transport

LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")


class KubeLeases:
    """Implements `ports.cluster.Leases` for one Lease. Its requests pass the rate limit by: a busy leader stays one."""

    def __init__(self, transport: Transport, namespace: str, name: str, seconds: float) -> None:
        self._transport, self._namespace, self._name, self._seconds = transport, namespace, name, seconds

    async def read(self) -> dict[str, Any] | None:
        """The Lease, or None."""
        try:
            return await self._request("GET", self._name)
        except NotFound:
            return None

    async def write(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Create it, or replace the very state that it was read in."""
        metadata = {"name": self._name, "namespace": self._namespace} | lease.get("metadata", {})
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind} | lease | {"metadata": metadata}
        known = "resourceVersion" in metadata
        return await self._request("PUT" if known else "POST", self._name if known else "", body)

    async def _request(self, method: str, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        path = path_of(LEASES, self._namespace, name)
        return await self._transport.request(method, path, body, seconds=self._seconds, urgent=True)
