"""The policies: ours as it is, KEDA's as its documents and its executor have it, and the HorizontalPodAutoscaler's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from world import MOST, World

from easel_api.scaling import Scaling
from easel_operator.core.scaling.policy import POLL_SECONDS, Recommendation, Seen, Work, scale

START = datetime(2026, 3, 4, tzinfo=UTC)


@dataclass
class Easel:
    """`core.scaling.policy`, asked every 15 s, and at once when work begins or ends."""

    target: int = 60
    idle: int = 600
    least: int = 0
    picks_idle: bool = True
    _history: tuple[Recommendation, ...] = ()
    _idle_since: datetime | None = None
    _worked: bool = False

    def __post_init__(self) -> None:
        self._spec = Scaling(
            min_replicas=self.least, max_replicas=MOST, target_backlog_seconds=self.target, idle_seconds=self.idle
        )

    def wanted(self, world: World) -> int:
        """Replicas now."""
        works = bool(world.items)
        if world.now % POLL_SECONDS and works == self._worked:
            return world.current
        self._worked = works
        now = START + timedelta(seconds=world.now)
        verdict = scale(
            self._spec,
            Seen(
                now=now,
                current=world.current,
                work=Work(world.items, world.backlog),
                demand=world.backlog + (self.target * min(world.rate(120), world.rate(600)) if world.items else 0.0),
                busy=sum(replica.item is not None for replica in world.staying),
                loading=any(replica.ready > world.now for replica in world.staying),
                idle_since=self._idle_since,
                history=self._history,
            ),
        )
        self._history, self._idle_since = verdict.history, verdict.idle_since
        return verdict.replicas


@dataclass
class Autoscaler:
    """A HorizontalPodAutoscaler with the defaults of Kubernetes 1.36.

    Every 15 s; tolerance 0.1; on the way down the highest recommendation of `window` seconds; on the way up at most four more or twice
    as many replicas in 15 s.
    """

    window: int = 300
    _past: deque[tuple[int, int]] = field(default_factory=deque)

    def step(self, world: World, ratio: float, desired: int, least: int) -> int:
        """`ratio` is what is measured to what is aimed at; near to 1 nothing changes."""
        current = world.current
        raw = current if abs(ratio - 1) <= 0.1 else desired
        raw = min(max(raw, least, 1), MOST)
        self._past.append((world.now, raw))
        while self._past[0][0] < world.now - self.window:
            self._past.popleft()
        if raw >= current:
            return min(raw, max(current + 4, 2 * current))
        return min(current, max(count for _, count in self._past))


@dataclass
class Keda:
    """A ScaledObject with a Prometheus trigger; `metric` is what the trigger's query gives.

    0 to 1 every `polling` seconds, 1 to 0 after `cooldown` seconds without activity, an HPA between.
    """

    threshold: float
    metric: Callable[[World], float]
    polling: int = 30
    cooldown: int = 300
    window: int = 300
    picks_idle: bool = False
    _active: int = 0

    def __post_init__(self) -> None:
        self._hpa = Autoscaler(self.window)

    def wanted(self, world: World) -> int:
        """Replicas now."""
        if world.now % self.polling == 0:
            if self.metric(world) > 0:
                self._active = world.now
                if world.current == 0:
                    return 1
            elif world.current and world.now - self._active > self.cooldown:
                return 0
        if world.current and world.now % 15 == 0:
            value = self.metric(world)
            ratio = value / (self.threshold * world.current)
            return self._hpa.step(world, ratio, math.ceil(value / self.threshold), 1)
        return world.current


@dataclass
class Utilisation:
    """An HPA on the share of replicas that are busy, averaged over a minute, as GPU utilisation is scraped; never below one."""

    target: float = 0.8
    picks_idle: bool = False
    _busy: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    _hpa: Autoscaler = field(default_factory=Autoscaler)

    def wanted(self, world: World) -> int:
        """Replicas now."""
        serving = [replica for replica in world.staying if replica.ready <= world.now]
        if serving:
            self._busy.append(sum(replica.item is not None for replica in serving) / len(serving))
        if world.now % 15 or not self._busy:
            return world.current
        ratio = sum(self._busy) / len(self._busy) / self.target
        return self._hpa.step(world, ratio, math.ceil(len(serving) * ratio), 1)


def items(world: World) -> float:
    """Items that wait or run: what most queues tell."""
    return float(world.items)


def waiting(world: World) -> float:
    """Items that wait."""
    return float(len(world.queue))


def backlog(world: World) -> float:
    """GPU-seconds that wait or run, without the rate."""
    return world.backlog
