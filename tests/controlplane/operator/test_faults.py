"""Whatever happens on the way, the end is the same: crashes, stale views, lost and repeated events, two leaders.

Each schedule is drawn from its number. A schedule disturbs two operators on one cluster for a while; then the faults end, one
operator leads, and what is there must be what an undisturbed operator reaches, with no write after it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any

import pytest
from operating.fake import KINDS, Event, FakeCluster, Raw, step
from operator_views import NOW, configuration

from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.actions import Action
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.decision import Decision
from easel_operator.core.observed import Loaded, Probe
from easel_operator.core.parsing import slots_of
from easel_operator.core.resources import GENERATION_JOBS, MODEL_DEPLOYMENTS, Key, Reference
from easel_operator.shell.cache import Cache
from easel_operator.shell.demands import Demands
from easel_operator.shell.loop import Loop
from easel_operator.shell.observing import Observer
from easel_operator.shell.probing import Prober

SCHEDULES = 2000
STEPS = 60
SETTINGS = configuration()
METRICS = PrometheusMetrics()
STUDIO = Reference(MODEL_DEPLOYMENTS, "art", "studio")
MUGS = Reference(GENERATION_JOBS, "art", "mugs")


class Died(BaseException):
    """The process ends in the middle of a pass."""


class Runtime:
    """Every runtime that is asked has loaded its model."""

    async def model(self, address: str) -> Probe:
        return Loaded("sha256:0", "StableDiffusion", (), 9, 4.1, (("128x128", 0.05),))

    async def load(self, address: str) -> int | None:
        return 0


class Mortal:
    """The cluster as one process reaches it: until it dies."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster, self.left = cluster, -1
        self.get, self.versions, self.serves = cluster.get, cluster.versions, cluster.serves

    async def perform(self, action: Action) -> None:
        if self.left == 0:
            raise Died
        self.left -= 1
        await self._cluster.perform(action)


class Process:
    """One operator: what it has seen, what it has to do."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster, self.leads = cluster, False
        self.reach = Mortal(cluster)
        self.coming: deque[Event] = deque()
        cluster.watchers.append(lambda event: self.coming.append(event))
        self.begin()

    def begin(self) -> None:
        """Start, or start anew: lists everything and has all of it to do."""
        self.coming.clear()
        cache, self.demands = Cache(), Demands(METRICS)
        self.admissions = AdmissionQueue(SETTINGS.admission)
        observer = Observer(
            cache, self.demands, self.admissions, Prober(Runtime()), self.reach, lambda _: (), lambda *_: None, SETTINGS
        )
        self.cache, self.reach.left = cache, -1
        self.loop = Loop(
            cache, observer, self.reach, METRICS, SETTINGS, self._heed, leads=lambda: self.leads, clock=lambda: NOW
        )
        for resource, _, raw in self.cluster.listed():
            cache.put(resource, raw)
        self.to_do: dict[Key, None] = dict.fromkeys(cache.own())
        self._let_in()

    def recover(self) -> None:
        """What a process does that lives on: its watches list what they missed, and it looks at everything once it leads."""
        self.coming.clear()
        listed = self.cluster.listed()
        there = {Reference(resource, "art", raw["metadata"]["name"]): raw for resource, _, raw in listed}
        for resource in KINDS:
            for name, raw in self.cache.raws(resource, "art").items():
                if Reference(resource, "art", name) not in there:
                    self.cache.remove(resource, raw)
        for reference, raw in there.items():
            self.cache.put(reference.resource, raw)
        self.leads = True
        jobs = [key for key in self.cache.own() if key.resource == GENERATION_JOBS]
        self.demands.clear(jobs)
        self.admissions.clear(jobs)
        self._let_in()
        self.to_do |= dict.fromkeys(self.cache.own())

    def _let_in(self) -> None:
        for key in self.cache.own():
            raw = self.cache.get(key.resource, key.namespace, key.name)
            if key.resource == MODEL_DEPLOYMENTS and raw:
                self.to_do |= dict.fromkeys(self.admissions.slots(key, slots_of(raw), NOW))

    def _heed(self, key: Key, decision: Decision | None) -> bool:
        if key.resource != GENERATION_JOBS:
            return False
        if decision is None:
            self.demands.ended(key)
        else:
            self.demands.put(key, decision.work)
        before = self.admissions.turn(key)
        changed = self.admissions.put(key, decision.seat if decision else None, NOW)
        self.to_do |= dict.fromkeys(changed - {key})
        return self.admissions.turn(key) != before

    def hear(self) -> None:
        """The next event arrives."""
        if self.coming:
            self._take(self.coming[0])
            self.coming.popleft()

    def hear_twice(self) -> None:
        if self.coming:
            self._take(self.coming[0])

    def miss(self) -> None:
        """The next event never arrives."""
        if self.coming:
            self.coming.popleft()

    def _take(self, event: Event) -> None:
        resource, change, raw = event
        (self.cache.remove if change == "gone" else self.cache.put)(resource, raw)
        self._let_in()
        self.to_do |= dict.fromkeys(self.cache.affected(resource, raw))

    async def work(self, left: int = -1) -> None:
        """One reconcile, after which it is dead when `left` actions were too few."""
        if not self.to_do:
            return
        key = next(iter(self.to_do))
        del self.to_do[key]
        self.reach.left = left
        try:
            outcome = await self.loop.reconcile(key)
        except Died:
            self.begin()
            return
        self.reach.left = -1
        if outcome.failed:
            self.to_do[key] = None


def populated() -> FakeCluster:
    cluster = FakeCluster()
    metadata = {"namespace": "art"}
    cluster.create(
        MODEL_DEPLOYMENTS,
        {
            "metadata": metadata | {"name": "studio"},
            "spec": {
                "model": {"source": "s3://models/sd15", "family": "StableDiffusion"},
                "cache": {"persistentVolumeClaim": "models"},
                "replicas": 1,
            },
        },
    )
    spec = {
        "task": "text-to-image",
        "backends": [{"modelDeployment": "studio"}],
        "prompts": [{"text": "a red mug"}],
        "parameters": {"seeds": [1, 2]},
        "output": {"store": {"s3": {"bucket": "art"}}},
    }
    cluster.create(GENERATION_JOBS, {"metadata": metadata | {"name": "mugs"}, "spec": spec})
    return cluster


EDITS: tuple[tuple[Reference, Raw], ...] = (
    (STUDIO, {"replicas": 2}),
    (STUDIO, {"engine": {"quality": "Draft"}}),
    (STUDIO, {"model": {"source": "s3://models/sd15-again", "family": "StableDiffusion"}}),
    (MUGS, {"suspend": True}),
    (MUGS, {"suspend": False}),
)
"""What people do meanwhile, in this order."""


class Schedule:
    """Two operators on one cluster, and what befalls them in an order drawn from a number."""

    FAULTS = ["hear", "hear", "hear", "twice", "miss", "work", "work", "die", "world", "edit", "lead", "both", "start"]

    def __init__(self, number: int) -> None:
        self.draw, self.cluster, self.edits = random.Random(number), populated(), deque(EDITS)
        self.processes = [Process(self.cluster), Process(self.cluster)]
        self.processes[0].leads = True

    async def run(self) -> FakeCluster:
        for _ in range(STEPS):
            await getattr(self, self.draw.choice(self.FAULTS))(self.draw.choice(self.processes))
        for reference, change in self.edits:
            self.cluster.change(reference, spec=change)
        survivor = self.draw.choice([*self.processes, None])
        await healed(self.cluster, survivor)
        return self.cluster

    async def hear(self, process: Process) -> None:
        process.hear()

    async def twice(self, process: Process) -> None:
        process.hear_twice()

    async def miss(self, process: Process) -> None:
        process.miss()

    async def work(self, process: Process) -> None:
        await process.work()

    async def die(self, process: Process) -> None:
        await process.work(self.draw.randrange(8))

    async def world(self, _: Process) -> None:
        step(self.cluster)

    async def edit(self, _: Process) -> None:
        if self.edits:
            reference, change = self.edits.popleft()
            self.cluster.change(reference, spec=change)

    async def lead(self, process: Process) -> None:
        for each in self.processes:
            each.leads = each is process

    async def both(self, process: Process) -> None:
        process.leads = True

    async def start(self, process: Process) -> None:
        process.begin()


async def healed(cluster: FakeCluster, survivor: Process | None = None) -> None:
    """The faults are over: one operator, which hears everything, until nothing happens; and nothing is written after.

    It is a new process, or one that lived through the faults.
    """
    cluster.watchers.clear()
    process = survivor or Process(cluster)
    if survivor:
        cluster.watchers.append(survivor.coming.append)
    process.recover()
    for _ in range(500):
        if process.coming:
            process.hear()
        elif process.to_do:
            await process.work()
        elif not step(cluster):
            break
    else:
        raise AssertionError("does not settle")
    before = cluster.writes
    process.begin()
    while process.to_do:
        await process.work()
    assert cluster.writes == before, "a write after it has settled"


def state(cluster: FakeCluster) -> dict[str, Any]:
    """What is there, without what depends on the way."""
    return {
        str(reference): _plain(raw)
        for reference, raw in sorted(cluster.objects.items(), key=lambda entry: str(entry[0]))
        if reference.resource.kind != "Pod"
    }


def _plain(raw: Raw) -> Raw:
    status = raw.get("status") or {}
    settled = {key: value for key, value in status.items() if key not in ("observedGeneration", "startTime")}
    conditions = [(each["type"], each["status"], each.get("reason")) for each in status.get("conditions", [])]
    return {"spec": raw.get("spec"), "status": settled | {"conditions": conditions}}


def undisturbed() -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        cluster = populated()
        for reference, change in EDITS:
            cluster.change(reference, spec=change)
        await healed(cluster)
        return state(cluster)

    return asyncio.run(run())


def test_an_undisturbed_operator_gets_there() -> None:
    reached = undisturbed()
    assert reached[str(MUGS)]["status"]["phase"] == "Complete"
    assert ("Ready", "True", "Serving") in reached[str(STUDIO)]["status"]["conditions"]
    assert len(reached) == 2 + 4 + 2


@pytest.mark.parametrize("part", range(8))
def test_whatever_happens_the_end_is_the_same(part: int) -> None:
    expected = undisturbed()

    async def run() -> None:
        for number in range(part, SCHEDULES, 8):
            try:
                reached = state(await Schedule(number).run())
            except Exception as error:
                raise AssertionError(f"schedule {number}") from error
            assert reached == expected, f"schedule {number}"

    asyncio.run(run())
