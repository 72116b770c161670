"""A day of jobs for one model, second by second, and replicas that work them off.

What is alike for every policy: jobs are cut into items, which wait in one queue; a replica makes one item at a time at one
GPU-second a second; a new replica loads before it serves; one that shall go finishes its item first. A replica costs GPU-seconds
from its first to its last second, loading and finishing included.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

DAY = 86400
LOAD_SECONDS = 90
PICTURE, CLIP = 4.0, 120.0
"""GPU-seconds of an item: about 25 steps of a 1024 x 1024 picture, and a short clip, on one H100."""
MOST = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What one job asks for."""

    at: int
    items: int
    seconds: float
    """GPU-seconds of each item."""


@dataclass(slots=True)
class Item:
    """One picture or clip."""

    arrived: int
    seconds: float
    interactive: bool


@dataclass(slots=True)
class Replica:
    """One pod."""

    made: int
    ready: int
    item: Item | None = None
    left: float = 0.0
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a day cost, and how long people waited."""

    gpu_seconds: float
    work: float
    waits: tuple[float, ...]
    """Seconds from a job to the start of its item, of every item."""
    interactive: tuple[float, ...]
    """The same for jobs of a few pictures, behind which a person waits."""
    changes: int
    """How often the number of replicas changed its direction."""


def bursty_day(seed: int) -> list[Job]:
    """People in office hours, a nightly batch, campaigns out of the blue, clips in between."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    jobs: list[Job] = []

    def poisson(rate_per_hour: float, start: int, end: int, items: tuple[int, int], seconds: float) -> None:
        at = float(start)
        while (at := at + draw.expovariate(rate_per_hour / 3600)) < end:
            jobs.append(Job(int(at), draw.randint(*items), seconds))

    hour = 3600
    poisson(40, 8 * hour, 18 * hour, (1, 4), PICTURE)
    poisson(3, 0, DAY, (1, 4), PICTURE)
    poisson(3, 8 * hour, 18 * hour, (60, 300), PICTURE)
    poisson(2, 9 * hour, 22 * hour, (1, 8), CLIP)
    jobs.append(Job(2 * hour, 1000, PICTURE))
    return sorted(jobs, key=lambda job: job.at)


def steady_day(seed: int) -> list[Job]:
    """Jobs of a few pictures, one after another all day: work for two and a half replicas."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    jobs, at = [], 0.0
    while (at := at + draw.expovariate(1 / PICTURE)) < DAY:
        jobs.append(Job(int(at), draw.randint(1, 4), PICTURE))
    return jobs


class Policy(Protocol):
    """Says every second how many replicas there shall be."""

    picks_idle: bool
    """Whether an idle replica goes first; else the youngest does, as a ReplicaSet has it."""

    def wanted(self, world: World) -> int:
        """Replicas, of which there are `world.current` now."""
        ...


@dataclass
class World:
    """The state that policies see; `current` is the number they asked for last."""

    jobs: list[Job]
    now: int = 0
    current: int = 1
    replicas: list[Replica] = field(default_factory=list)
    queue: deque[Item] = field(default_factory=deque)
    arrived: list[tuple[int, float]] = field(default_factory=list)
    """Moment and GPU-seconds of every job so far."""

    @property
    def staying(self) -> list[Replica]:
        """Replicas that nobody asked to go."""
        return [replica for replica in self.replicas if not replica.leaving]

    @property
    def running(self) -> list[Replica]:
        """Replicas with an item."""
        return [replica for replica in self.replicas if replica.item]

    @property
    def backlog(self) -> float:
        """GPU-seconds of what waits and of what runs."""
        return sum(item.seconds for item in self.queue) + sum(replica.left for replica in self.running)

    @property
    def items(self) -> int:
        """Items that wait or run."""
        return len(self.queue) + len(self.running)

    def rate(self, window: int) -> float:
        """GPU-seconds that came in per second of a window."""
        total = 0.0
        for at, seconds in reversed(self.arrived):
            if at <= self.now - window:
                break
            total += seconds
        return total / window


def live(jobs: list[Job], policy: Policy) -> Outcome:
    """The whole day, and as long after it as there is work."""
    world, pending = World(jobs), deque(jobs)
    world.replicas.append(Replica(0, LOAD_SECONDS))
    used, waits, interactive, turns = 0.0, [], [], []
    while world.now < DAY or world.items:
        while pending and pending[0].at <= world.now:
            job = pending.popleft()
            world.queue.extend(Item(job.at, job.seconds, job.items <= 4) for _ in range(job.items))
            world.arrived.append((world.now, job.items * job.seconds))
        before = world.current
        world.current = policy.wanted(world)
        if world.current != before:
            turns.append(world.current - before)
            _resize(world, policy)
        for item in _serve(world):
            waits.append(float(world.now - item.arrived))
            if item.interactive:
                interactive.append(waits[-1])
        used += len(world.replicas)
        world.replicas = [replica for replica in world.replicas if replica.item or not replica.leaving]
        world.now += 1
    directions = sum((a > 0) != (b > 0) for a, b in itertools.pairwise(turns))
    work = sum(job.items * job.seconds for job in jobs)
    return Outcome(used, work, tuple(waits), tuple(interactive), directions)


def _resize(world: World, policy: Policy) -> None:
    while len(world.staying) < world.current:
        world.replicas.append(Replica(world.now, world.now + LOAD_SECONDS))
    while len(world.staying) > world.current:
        # A ReplicaSet takes what is not ready first, and then by deletion cost or youth.
        def rank(replica: Replica) -> tuple[bool, bool, int]:
            return (replica.ready <= world.now, policy.picks_idle and replica.item is not None, -replica.made)

        min(world.staying, key=rank).leaving = True


def _serve(world: World) -> Iterator[Item]:
    """One second of work; the items that begin."""
    for replica in world.replicas:
        free = 1.0
        while free > 0 and replica.ready <= world.now:
            if replica.item is None:
                if replica.leaving or not world.queue:
                    break
                replica.item = world.queue.popleft()
                replica.left = replica.item.seconds
                yield replica.item
            done = min(free, replica.left)
            replica.left -= done
            free -= done
            if replica.left <= 0:
                replica.item = None


def percentile(values: tuple[float, ...], share: float) -> float:
    """The smallest value that so great a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
