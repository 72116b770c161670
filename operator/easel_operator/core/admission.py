"""Which job may begin next, where more of them wait than may work at once.

A job begins when its model, its namespace and the platform have room for it. Among those that could, the one of the highest
priority class goes first; then the one whose namespace had the fewest GPU-seconds for its weight, as of late: what a
namespace was given counts half after the half-life. Then the oldest. A job that works is never stopped for another.

No I/O and no clock: one process that leads holds one queue, and fills it anew from the cluster's objects when it begins.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from .configuration import Admission
from .resources import MODEL_DEPLOYMENTS, Key

JOBS_PER_REQUEST = 2
"""Jobs that may work for each request that a replica generates at once: while one generates, the worker of another starts."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What a job asks of the queue."""

    model: str
    """Name of the ModelDeployment that it waits for or works with."""
    priority: int = 0
    created: str = ""
    """`metadata.creationTimestamp`; all in one format and time zone, so that their order is that of their text."""
    gpu_seconds: float = 0.0
    """Of what it makes; 0 while nobody has measured its model."""
    begun: datetime | None = None
    """Since when its worker was let work; None: it waits."""
    over: bool = False
    """It takes no place any more, and what it was given still counts."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a job may begin."""

    admitted: bool
    message: str = ""
    """What it waits for; empty while the queue does not know every job yet."""


ADMITTED = Turn(admitted=True)
UNKNOWN = Turn(admitted=False)

Place = tuple[int, str, Key]
"""In the line of a model: the priority, highest first, then the age, then the job."""


class AdmissionQueue:
    """The jobs that wait and those that work."""

    def __init__(self, rules: Admission) -> None:
        self._rules = rules
        self.clear(())

    def clear(self, unseen: Iterable[Key]) -> None:
        """Begin anew; nobody is admitted until each of these jobs was put."""
        self._unseen = set(unseen)
        self._waiting: dict[Key, Seat] = {}
        self._working: dict[Key, Seat] = {}
        self._lines: dict[Key, list[Place]] = {}
        self._slots: dict[Key, int] = {}
        self._busy: Counter[Key] = Counter()
        self._running: Counter[str] = Counter()
        self._used: defaultdict[str, _Usage] = defaultdict(_Usage)
        self._charged: set[Key] = set()

    def put(self, job: Key, seat: Seat | None, now: datetime) -> set[Key]:
        """What a job asks now, None when it asks nothing; the jobs whose turn it changes."""
        first = job in self._unseen
        self._unseen.discard(job)
        admitted, before = job in self._working, self._leave(job)
        if seat is None:
            self._charged.discard(job)
        elif seat.over or seat.begun:
            self._charge(job, seat, seat.begun or now)
        if seat and not seat.over:
            # One that was admitted has its place until its worker is seen.
            if seat.begun or (admitted and before and before.model == seat.model):
                self._take(job, seat)
            else:
                self._wait(job, seat)
        if first and not self._unseen:
            return self._admit(tuple(self._lines), now) | set(self._waiting)
        return self._admit(self._concerned({_model(job, each) for each in (before, seat) if each}), now)

    def slots(self, model: Key, slots: int, now: datetime) -> set[Key]:
        """How many jobs a model takes; the jobs whose turn it changes."""
        if self._slots.get(model, 0) == slots:
            return set()
        self._slots[model] = slots
        return self._admit(self._concerned({model}), now)

    def turn(self, job: Key) -> Turn:
        """Whether a job may begin, or why not yet."""
        if job in self._working:
            return ADMITTED
        seat = self._waiting.get(job)
        if seat is None or self._unseen:
            return UNKNOWN
        return Turn(admitted=False, message=self._obstacle(_model(job, seat)) or "other jobs go first")

    def waiting(self) -> Counter[str]:
        """Jobs that wait for their turn though their model serves, by namespace."""
        return Counter(job.namespace for job, seat in self._waiting.items() if self._slots.get(_model(job, seat)))

    def _leave(self, job: Key) -> Seat | None:
        if (waited := self._waiting.pop(job, None)) is not None:
            return waited
        if (worked := self._working.pop(job, None)) is not None:
            self._busy[_model(job, worked)] -= 1
            self._running[job.namespace] -= 1
        return worked

    def _take(self, job: Key, seat: Seat) -> None:
        self._working[job] = seat
        self._busy[_model(job, seat)] += 1
        self._running[job.namespace] += 1

    def _wait(self, job: Key, seat: Seat) -> None:
        self._waiting[job] = seat
        heapq.heappush(self._lines.setdefault(_model(job, seat), []), _place(job, seat))

    def _charge(self, job: Key, seat: Seat, when: datetime) -> None:
        if job not in self._charged:
            self._charged.add(job)
            self._used[job.namespace].add(seat.gpu_seconds, when, self._rules.half_life_seconds)

    def _admit(self, models: Iterable[Key], now: datetime) -> set[Key]:
        admitted: set[Key] = set()
        if self._unseen:
            return admitted
        lines = set(models)
        while heads := [head for model in lines if (head := self._head(model)) and not self._obstacle(model)]:
            job = min(heads, key=lambda place: (place[0], self._share(place[2].namespace, now), place[1:]))[2]
            seat = self._waiting.pop(job)
            self._take(job, seat)
            self._charge(job, seat, now)
            admitted.add(job)
        return admitted

    def _head(self, model: Key) -> Place | None:
        """The first of a line. Who left it or asks something else by now is still in it, and is passed over here."""
        line = self._lines.get(model, [])
        while line:
            job = line[0][2]
            seat = self._waiting.get(job)
            if seat and _model(job, seat) == model and _place(job, seat) == line[0]:
                return line[0]
            heapq.heappop(line)
        self._lines.pop(model, None)
        return None

    def _concerned(self, models: set[Key]) -> Iterable[Key]:
        """The lines that a place which was taken or given back may matter to."""
        if self._rules.max_running_jobs is not None:
            return tuple(self._lines)
        bounded = {model.namespace for model in models if self._rules.of(model.namespace).max_running_jobs is not None}
        return models | {model for model in self._lines if model.namespace in bounded}

    def _obstacle(self, model: Key) -> str:
        """What keeps the jobs of a model waiting, in words; empty when nothing does."""
        namespace, total = self._rules.of(model.namespace).max_running_jobs, self._rules.max_running_jobs
        if total is not None and self._running.total() >= total:
            return f"{total} jobs work, as many as the platform lets work at once"
        if namespace is not None and self._running[model.namespace] >= namespace:
            return f"{namespace} jobs of this namespace work, as many as the platform lets work at once"
        if self._busy[model] >= (slots := self._slots.get(model, 0)):
            return f"{slots} jobs work with ModelDeployment {model.name}, as many as its replicas take"
        return ""

    def _share(self, namespace: str, now: datetime) -> float:
        used = self._used[namespace].at(now, self._rules.half_life_seconds)
        return used / self._rules.of(namespace).weight


class _Usage:
    """GPU-seconds that fade: half of them are forgotten after each half-life."""

    def __init__(self) -> None:
        self._value, self._when = 0.0, datetime.min.replace(tzinfo=UTC)

    def at(self, now: datetime, half_life: float) -> float:
        return float(self._value * 0.5 ** ((now - self._when).total_seconds() / half_life))

    def add(self, gpu_seconds: float, when: datetime, half_life: float) -> None:
        # Jobs are met in any order when a process begins.
        newer = max(when, self._when)
        faded = gpu_seconds * 0.5 ** ((newer - when).total_seconds() / half_life)
        self._value, self._when = self.at(newer, half_life) + faded, newer


def slots(replicas: int, requests: int) -> int:
    """How many jobs a model takes, of so many replicas that serve so many requests at once each."""
    return replicas * requests * JOBS_PER_REQUEST


def _place(job: Key, seat: Seat) -> Place:
    return -seat.priority, seat.created, job


def _model(job: Key, seat: Seat) -> Key:
    return Key(MODEL_DEPLOYMENTS.kind, job.namespace, seat.model)
