"""Objects applied at a steady rate, how long each waited for its batch Job, and when all are done.

What happens is watched, never listed: to count thousands of objects again and again would be most of what the API server does.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from easel_cluster.controlplane import ControlPlane
from easel_cluster.pki import tls_context

APPLY = "application/apply-patch+yaml"
NAMES_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LISTED = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
EASEL = "/apis/easel.dev/v1alpha1"

Name = tuple[str, str]
"""Namespace and name."""


@dataclass
class Api:
    """The API server as this benchmark's own user reaches it."""

    session: aiohttp.ClientSession
    url: str
    context: ssl.SSLContext
    made: dict[Name, float] = field(default_factory=dict)
    """When the watch brought each batch Job."""
    complete: set[Name] = field(default_factory=set)
    """GenerationJobs."""
    running: set[Name] = field(default_factory=set)
    """Pods."""

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The answer; anything but success ends the benchmark."""
        while True:
            async with self.session.request(
                method,
                self.url + path,
                data=None if body is None else json.dumps(body),
                headers=headers,
                ssl=self.context,
            ) as answer:
                content = await answer.text()
            if method == "GET" and answer.status == 429:  # a new CRD's storage begins
                await asyncio.sleep(1)
                continue
            assert answer.status < 300, f"{method} {path}: {answer.status} {content[:300]}"
            return dict(json.loads(content))

    async def apply(self, plural: str, body: dict[str, Any]) -> None:
        """Server-side apply of an object of ours."""
        metadata = body["metadata"]
        path = f"{EASEL}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}?fieldManager=bench"
        await self.call("PATCH", path, body, **{"Content-Type": APPLY})

    async def watch(self, path: str, selector: str, appeared: Callable[[Name], object]) -> None:
        """Say of each object that is under a path or comes to match, at least once, until cancelled."""
        version = ""
        while True:
            version = version or await self._list(path, selector, appeared)
            query = f"?watch=1&resourceVersion={version}&timeoutSeconds=3600&allowWatchBookmarks=true{selector}"
            async with self.session.get(
                self.url + path + query, headers={"Accept": NAMES_ONLY}, ssl=self.context
            ) as answer:
                assert answer.status == 200, f"watch of {path}: {answer.status} {await answer.text()}"
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        version = ""  # too old, as after a change of a CRD: all is listed anew
                        break
                    metadata = event["object"]["metadata"]
                    version = metadata["resourceVersion"]
                    if event["type"] == "ADDED":
                        appeared((metadata["namespace"], metadata["name"]))

    async def _list(self, path: str, selector: str, appeared: Callable[[Name], object]) -> str:
        more = ""
        while True:
            found = await self.call("GET", f"{path}?limit=500{selector}&continue={more}", Accept=LISTED)
            for item in found["items"] or ():
                appeared((item["metadata"]["namespace"], item["metadata"]["name"]))
            more = found["metadata"].get("continue", "")
            if not more:
                return str(found["metadata"]["resourceVersion"])


@asynccontextmanager
async def connected(plane: ControlPlane) -> AsyncIterator[Api]:
    """A session, and watches beside it."""
    authority = plane.authority()
    context = tls_context(authority.certificate, authority.client("bench", "bench", "system:masters"))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session:
        api = Api(session, plane.url, context)
        watches = (
            api.watch("/apis/batch/v1/jobs", "", lambda name: api.made.setdefault(name, time.monotonic())),
            api.watch(f"{EASEL}/generationjobs", "&fieldSelector=status.phase=Complete", api.complete.add),
            api.watch("/api/v1/pods", "&fieldSelector=status.phase=Running", api.running.add),
        )
        async with asyncio.TaskGroup() as group:  # a watch that fails ends the benchmark
            watching = [group.create_task(each) for each in watches]
            yield api
            for each in watching:
                each.cancel()


async def apply_all(
    api: Api, plural: str, bodies: Iterable[dict[str, Any]], per_second: float, step: Callable[[], None]
) -> dict[Name, float]:
    """Apply them at a steady rate; when each was applied. What comes late is not left out: the rate goes on."""
    applied: dict[Name, float] = {}
    began = time.monotonic()

    async def one(body: dict[str, Any]) -> None:
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        await api.apply(plural, body)
        applied[key] = time.monotonic()
        step()

    async with asyncio.TaskGroup() as group:
        for number, body in enumerate(bodies):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            group.create_task(one(body))
    return applied


async def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something that the watches tell."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.2)
