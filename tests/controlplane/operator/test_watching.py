"""Lists and watches against a real API server, where nobody else changes an object."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from operating.place import Place

from conftest import Connect
from easel_operator.adapters.kube.watching import Change, EventReflector, Reflector, for_reason, watch
from easel_operator.core.resources import EVENTS, GENERATION_JOBS, Resource

pytestmark = pytest.mark.apiserver

Raw = dict[str, Any]


class Seen:
    """What was handed over, and what is known of it."""

    def __init__(self) -> None:
        self.known: dict[str, Raw] = {}
        self.told: list[tuple[Change, str]] = []
        self._news = asyncio.Event()

    def of(self, _: Resource, __: str) -> Mapping[str, Raw]:
        return self.known

    def on_change(self, _: Resource, change: Change, raw: Raw) -> None:
        name = raw["metadata"]["name"]
        self.told.append((change, name))
        if change == "gone":
            del self.known[name]
        else:
            self.known[name] = raw
        self._news.set()

    async def until(self, *told: tuple[Change, str]) -> None:
        async with asyncio.timeout(60):
            while not set(told) <= set(self.told):
                await self._news.wait()
                self._news.clear()


@contextlib.asynccontextmanager
async def reflecting(place: Place, connect: Connect, seen: Seen, version: str = "") -> AsyncIterator[Reflector]:
    async with connect() as cluster:
        reflector = Reflector(cluster._transport, GENERATION_JOBS, place.namespace, {}, seen.of, seen.on_change)
        reflector._version = version
        running = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def test_what_is_there_is_listed_and_what_changes_is_watched(still: Place, connect: Connect) -> None:
    still.job("first")

    async def watch() -> None:
        seen = Seen()
        async with reflecting(still, connect, seen):
            await seen.until(("seen", "first"))
            # What is listed says of what kind it is, like what is watched.
            assert seen.known["first"]["kind"] == "GenerationJob"
            await asyncio.to_thread(still.job, "second")
            await seen.until(("seen", "second"))
            await asyncio.to_thread(still, "delete", "gen", "first")
            await seen.until(("gone", "first"))

    asyncio.run(watch())


def test_an_object_of_any_size_is_watched(still: Place, connect: Connect) -> None:
    prompts = [{"text": f"{number} {'mug ' * 900}"} for number in range(200)]

    async def watch() -> None:
        seen = Seen()
        async with reflecting(still, connect, seen):
            await asyncio.to_thread(still.job, "small")
            await seen.until(("seen", "small"))
            await asyncio.to_thread(still.job, "large", prompts=prompts)
            await seen.until(("seen", "large"))
            assert len(seen.known["large"]["spec"]["prompts"]) == 200

    asyncio.run(watch())


def test_a_version_that_is_forgotten_has_everything_listed_anew(still: Place, connect: Connect) -> None:
    still.job("unchanged")
    still.job("unheard")

    async def watch() -> None:
        seen = Seen()
        async with reflecting(still, connect, seen):
            await seen.until(("seen", "unchanged"), ("seen", "unheard"))
        del seen.known["unheard"]
        seen.known["ended"] = {"metadata": {"name": "ended", "namespace": still.namespace, "resourceVersion": "1"}}
        seen.told.clear()
        async with reflecting(still, connect, seen, version="1") as reflector:
            await seen.until(("seen", "unheard"), ("gone", "ended"))
            assert ("seen", "unchanged") not in seen.told
            assert reflector._version != "1"

    asyncio.run(watch())


def test_of_events_those_are_watched_that_tell_why_a_pod_does_not_start(still: Place, connect: Connect) -> None:
    for number, reason in enumerate(("FailedMount", "FailedCreate", "BackOff")):
        still.tell("Pod", f"p-{number}", f"uid-{number}", reason, "why")

    async def everything() -> None:
        seen = Seen()

        def events_alone(resource: Resource, change: Change, raw: Raw) -> None:
            if resource == EVENTS:
                seen.on_change(resource, change, raw)

        async with connect() as cluster, asyncio.TaskGroup() as group:
            watching = group.create_task(watch(cluster._transport, (still.namespace,), seen.of, events_alone))
            await seen.until(("seen", "p-0.failedmount"), ("seen", "p-1.failedcreate"))
            await asyncio.to_thread(still.tell, "Job", "p-3", "uid-3", "FailedCreate", "why")
            await seen.until(("seen", "p-3.failedcreate"))
            watching.cancel()
        assert set(seen.known) == {"p-0.failedmount", "p-1.failedcreate", "p-3.failedcreate"}

    asyncio.run(everything())


def test_a_list_of_one_reason_ends_no_event_of_another(still: Place, connect: Connect) -> None:
    still.tell("Pod", "listed", "uid", "FailedMount", "why")

    async def listed() -> None:
        seen = Seen()
        for name, reason in (("over", "FailedMount"), ("other", "FailedCreate")):
            named = {"name": name, "namespace": still.namespace, "resourceVersion": "1"}
            seen.known[name] = {"metadata": named, "reason": reason}
        mounts = for_reason(seen.of, "FailedMount")
        async with connect() as cluster:
            query = {"fieldSelector": "reason=FailedMount"}
            reflector = Reflector(cluster._transport, EVENTS, still.namespace, query, mounts, seen.on_change)
            await reflector._list()
        assert set(seen.known) == {"listed.failedmount", "other"}

    asyncio.run(listed())


def test_a_watch_of_events_that_is_too_old_goes_on_from_now(still: Place, connect: Connect) -> None:
    still.tell("Pod", "earlier", "uid", "FailedMount", "why")

    async def watched() -> None:
        seen = Seen()
        async with connect() as cluster, asyncio.TaskGroup() as group:
            query = {"fieldSelector": "reason=FailedMount"}
            reflector = EventReflector(cluster._transport, EVENTS, still.namespace, query, seen.of, seen.on_change)
            reflector._expired = True  # etcd forgets what is five minutes old
            await reflector._list()
            running = group.create_task(reflector.run())
            await asyncio.to_thread(still.tell, "Pod", "later", "uid", "FailedMount", "why")
            await seen.until(("seen", "later.failedmount"))
            running.cancel()
        assert set(seen.known) == {"later.failedmount"}

    asyncio.run(watched())
