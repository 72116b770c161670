"""What the runtimes' pods say of their models, asked no more often than it can change.

A model that is loaded stays what it is for the life of its container; one that is not is asked at every reconcile.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from easel_operator.core.observed import Loaded, Pod, Probe
from easel_operator.ports.runtime import Runtime


class Prober:
    """Adds to pods what their runtimes say."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loaded: dict[tuple[str, int], Loaded] = {}

    async def ask(self, pods: tuple[Pod, ...], *, loads: bool) -> tuple[Pod, ...]:
        """The same pods with what they say; `loads` asks those that serve how many requests they hold, too."""
        return tuple(await asyncio.gather(*(self._one(pod, loads=loads) for pod in pods)))

    async def _one(self, pod: Pod, *, loads: bool) -> Pod:
        if not pod.running or pod.deleting or not pod.address:
            return pod
        return replace(
            pod,
            probe=self._loaded.get((pod.uid, pod.restarts)) or await self._fresh(pod),
            load=await self._runtime.load(pod.address) if loads and pod.ready else None,
        )

    async def _fresh(self, pod: Pod) -> Probe:
        probe = await self._runtime.model(pod.address)
        if isinstance(probe, Loaded):
            self._loaded[pod.uid, pod.restarts] = probe
        return probe

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for known in [key for key in self._loaded if key[0] == uid]:
            del self._loaded[known]
