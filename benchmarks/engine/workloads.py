"""How requests arrive: from so many clients that each wait for their picture, or at random moments whoever waits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from systems import System, Work

PROMPTS = [
    f"a {colour} {product} {place}, {view} view"
    for colour, product, place, view in zip(
        ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"] * 2,
        ["mug", "bottle", "lamp", "chair", "box", "ball", "cone", "donut"] * 2,
        ["in a studio", "on a beach", "at night", "on a wooden table"] * 4,
        ["front"] * 8 + ["left"] * 8,
        strict=True,
    )
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the first arrival to the last picture, and of each request."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def throughput(self) -> float:
        """Pictures per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests does not exceed (nearest rank)."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]

    def within(self, limit: float) -> float:
        """Share of the requests that took no longer."""
        return sum(latency <= limit for latency in self.latencies) / len(self.latencies)


def works(count: int, sizes: Sequence[tuple[int, int]], first_seed: int = 0) -> list[Work]:
    """Distinct pictures; the sizes take turns."""
    return [Work(f"{PROMPTS[n % len(PROMPTS)]}", first_seed + n, *sizes[n % len(sizes)]) for n in range(count)]


def closed_loop(system: System, clients: int, asked: Sequence[Work]) -> Outcome:
    """So many clients, each with one request at a time, until all are made."""
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        latencies = tuple(pool.map(lambda work: _timed(system, work), asked))
    return Outcome(time.perf_counter() - started, latencies)


def poisson(system: System, rate: float, asked: Sequence[Work], seed: int = 0) -> Outcome:
    """`rate` requests per second on average, at moments that do not depend on how the system copes."""
    dice, latencies, threads = random.Random(seed), list[float](), list[threading.Thread]()  # noqa: S311 - arrivals
    started = time.perf_counter()
    moment = 0.0
    for work in asked:
        moment += dice.expovariate(rate)
        time.sleep(max(0.0, started + moment - time.perf_counter()))
        thread = threading.Thread(target=lambda work=work: latencies.append(_timed(system, work)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return Outcome(time.perf_counter() - started, tuple(latencies))


def _timed(system: System, work: Work) -> float:
    started = time.perf_counter()
    system.make(work)
    return time.perf_counter() - started
