"""How requests arrive: from so many clients that each wait for their picture, or at random moments whoever waits."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

PROMPTS = [
    f"a {colour} {product} {place}, {view} view"
    for colour, product, place, view in itertools.product(
        ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"],
        ["mug", "bottle", "lamp", "chair", "box", "ball", "cone", "donut"],
        ["in a studio", "on a beach", "at night", "on a wooden table"],
        ["front", "right", "back", "left"],
    )
]
"""More than a run asks for: the engine keeps what it encoded, so a prompt asked twice would spare it work."""
random.Random(0).shuffle(PROMPTS)  # noqa: S311 - neighbours should differ in more than the view


@dataclass(frozen=True, slots=True)
class Work:
    """One picture to make."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int = 20
    guidance: float = 4.0

    def arguments(self) -> dict[str, Any]:
        """What a stock pipeline is called with."""
        return {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "width": self.width,
            "height": self.height,
        }


class System(Protocol):
    """Something that makes pictures; `make` blocks until this one is there and may be called from many threads."""

    name: str

    def make(self, work: Work) -> object:
        """Make it."""
        ...

    def close(self) -> None:
        """End its threads."""
        ...


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
        # Rounded first: 0.95 * 20 is a little more than 19 in binary, which would take the next rank.
        return ordered[max(1, math.ceil(round(share * len(ordered), 9))) - 1]

    def within(self, limit: float) -> float:
        """Share of the requests that took no longer."""
        return sum(latency <= limit for latency in self.latencies) / len(self.latencies)


def works(count: int, sizes: Sequence[tuple[int, int]], first: int = 0) -> list[Work]:
    """The pictures from number `first` on, no two with the same prompt or seed; the sizes take turns.

    Raises `IndexError` past the last prompt: a prompt asked twice would make the engine look faster than it is.
    """
    return [Work(PROMPTS[first + n], first + n, *sizes[n % len(sizes)]) for n in range(count)]


def closed_loop(system: System, clients: int, asked: Sequence[Work]) -> Outcome:
    """So many clients, each with one request at a time, until all are made."""
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        latencies = tuple(pool.map(lambda work: _timed(system, work), asked))
    return Outcome(time.perf_counter() - started, latencies)


def schedule(rate: float, count: int, seed: int = 0) -> list[float]:
    """Arrivals of a Poisson process in seconds from the start: `rate` per second on average, the same for a seed."""
    dice = random.Random(seed)  # noqa: S311 - arrivals
    return list(itertools.accumulate(dice.expovariate(rate) for _ in range(count)))


def poisson(system: System, rate: float, asked: Sequence[Work], seed: int = 0) -> Outcome:
    """`rate` requests per second on average, at moments that do not depend on how the system copes.

    Raises `RuntimeError` if a request failed: its latency would be missing, and the others would look better for it.
    """
    latencies, threads = list[float](), list[threading.Thread]()
    started = time.perf_counter()
    for moment, work in zip(schedule(rate, len(asked), seed), asked, strict=True):
        time.sleep(max(0.0, started + moment - time.perf_counter()))
        thread = threading.Thread(target=lambda work=work: latencies.append(_timed(system, work)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    if len(latencies) < len(asked):
        raise RuntimeError(f"{len(asked) - len(latencies)} of {len(asked)} requests to {system.name} failed")
    return Outcome(time.perf_counter() - started, tuple(latencies))


def _timed(system: System, work: Work) -> float:
    started = time.perf_counter()
    system.make(work)
    return time.perf_counter() - started
