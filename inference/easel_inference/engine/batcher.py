"""The rendezvous batcher: one thread owns the weights, and calls that wait at the same moment run as one.

Each request runs a stock pipeline in its own thread. The pipeline's denoiser, encoders and VAE are proxies (`proxies`)
whose calls wait here. This thread takes the calls that `joining.choose` names, joins their tensors along the first axis,
runs one forward pass and splits the result again. That is continuous batching at the level of steps: requests join and
leave at any step, each with its own timestep. A lone request never waits for company.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from easel_api.errors import Cancelled, Transient

from .counters import Counters
from .faults import fault, out_of_memory
from .joining import Waiting, choose, window
from .participant import Participant, current
from .rows import Part, joined, split

Pass = Callable[..., Any]

UNITS = {"cuda": 2**17, "cpu": 2**14}
"""Rows times latent positions of one forward pass at most, where nothing was measured."""

LONGEST_PASS = 0.5
"""Seconds that a joined pass may take: those who wait behind it wait so long."""

MOST_CALLS = 64
"""Calls of one pass that are tried when budgets are measured."""

INDIFFERENT = 0.05
"""The smallest pass whose rows take at most this share longer than in the best one holds enough rows."""

MEASURED_ROUNDS = 2
MEASURED_SECONDS = 0.1
HEARTBEAT_SECONDS = 0.5
KEYS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Job:
    """What a call wants run: `run(*parts)` for `rows` rows at a cost of `units`; `counted` for steps of the denoiser."""

    key: Hashable
    run: Pass
    parts: tuple[Part, ...]
    rows: int
    units: int
    counted: bool = False


@dataclass(eq=False, slots=True)
class _Call:
    job: Job
    waiting: Waiting
    owner: Participant | None
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def finish(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result, self.error = result, error
        if self.owner:
            self.owner.answered = time.monotonic()
        self.done.set()


class Batcher:
    """Joins calls; `threads` is how many torch uses on the CPU, `units` the cost of one pass at most."""

    def __init__(self, counters: Counters, *, threads: int = 1, units: int = UNITS["cpu"]) -> None:
        self._counters, self._threads, self._units = counters, threads, units
        self._changed = threading.Condition()
        self._calls: list[_Call] = []
        self._taking_part: set[Participant] = set()
        self._seconds_per_unit: dict[Hashable, float] = {}
        self._budgets: dict[Hashable, int] = {}
        self._closed = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="easel-batcher", daemon=True)
        self._thread.start()

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of the last turn of the loop; it stands still while a forward pass hangs."""
        return self._beat

    @contextlib.contextmanager
    def taking_part(self, participant: Participant) -> Iterator[None]:
        """While a request makes calls, the others wait a moment for it."""
        token = current.set(participant)
        with self._changed:
            self._taking_part.add(participant)
        try:
            yield
        finally:
            with self._changed:
                self._taking_part.discard(participant)
                self._changed.notify_all()
            current.reset(token)

    def call(self, job: Job) -> Any:
        """Run a job, joined with others of an equal key, and give this call's rows of the result.

        Raises `Cancelled` when the request was cancelled or is too late, else what the pass raised, typed.
        """
        owner = current.get(None)
        if owner:
            owner.check()
        call = _Call(job, _waiting(job, owner), owner)
        with self._changed:
            if self._closed:
                raise Transient("the engine is closing")
            self._calls.append(call)
            self._changed.notify_all()
        call.done.wait()
        if call.error is not None:
            raise call.error
        return call.result

    def measure(self, job: Job) -> float:
        """Find how many units of this job's key one pass should hold: as few as are the fastest.

        Gives the seconds of a call's share in such a pass. Runs in the batcher's thread, between other passes.
        """
        calibration = Job(("measure", job.key), lambda *_: self._measured(job), (), 1, 0)
        return float(self.call(calibration))

    def wake(self) -> None:
        """Look at the waiting calls again: a request was cancelled."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; calls that wait fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            while calls := self._next():
                started = time.monotonic()
                _run(calls, self._counters)
                self._learn(calls, time.monotonic() - started)
        for call in self._calls:
            call.finish(error=Transient("the engine is closing"))

    def _next(self) -> list[_Call]:
        """The calls to run now; waits for them. Empty when the batcher is closed."""
        with self._changed:
            while not self._closed:
                self._beat = time.monotonic()
                self._drop_cancelled()
                if not self._calls:
                    self._changed.wait(HEARTBEAT_SECONDS)
                elif (pause := self._pause()) > 0:
                    self._changed.wait(pause)
                else:
                    return self._take()
            return []

    def _pause(self) -> float:
        """Seconds to wait for requests that were answered a moment ago and will be back."""
        present = {call.owner for call in self._calls}
        absent = [participant.answered for participant in self._taking_part - present]
        first = self._calls[0].waiting
        seconds = self._seconds_per_unit.get(first.key, 0.0) * first.units * len(self._calls)
        return window(len(absent), time.monotonic() - max(absent, default=0.0), seconds)

    def _take(self) -> list[_Call]:
        now = time.monotonic()
        waiting = [call.waiting for call in self._calls]
        first = waiting[choose(waiting, 0, now)[0]]
        taken = [self._calls[index] for index in choose(waiting, self._budgets.get(first.key, self._units), now)]
        self._calls = [call for call in self._calls if call not in taken]
        return taken

    def _drop_cancelled(self) -> None:
        for call in [call for call in self._calls if call.owner and call.owner.is_over]:
            self._calls.remove(call)
            call.finish(error=Cancelled("stopped on request"))

    def _learn(self, calls: list[_Call], seconds: float) -> None:
        if len(self._seconds_per_unit) > KEYS_REMEMBERED:
            self._seconds_per_unit.clear()
        units = sum(call.job.units for call in calls)
        self._seconds_per_unit[calls[0].job.key] = seconds / max(1, units)

    def _measured(self, job: Job) -> float:
        """The share of a call in a pass of enough calls, by trying.

        Twice over all sizes: what disturbs a machine for a moment spoils one size in one round at most.
        """
        shares: dict[int, float] = {}
        for _ in range(MEASURED_ROUNDS):
            calls = 1
            while calls == 1 or (calls <= MOST_CALLS and shares[calls // 2] * calls <= LONGEST_PASS):
                try:
                    share = _seconds(job, calls) / calls
                except Exception as error:
                    if calls == 1 or not out_of_memory(error):
                        raise
                    if torch.cuda.is_available():
                        torch.cuda.empty_cache()
                    break  # the smaller passes worked
                shares[calls] = min(share, shares.get(calls, share))
                calls *= 2
        enough = enough_calls(shares)
        self._budgets[job.key] = enough * job.units
        return shares[enough]


def enough_calls(shares: dict[int, float]) -> int:
    """Calls of one pass, given the seconds of each call's share in passes of 1, 2, 4 … calls.

    The smallest pass whose share is nearly that of the best; but two rather than one where two cost no more, since half as
    many passes leave Python to the requests, and one is what a moment's noise makes of a small gain.
    """
    allowed = min(shares.values()) * (1 + INDIFFERENT)
    enough = min(calls for calls, share in shares.items() if share <= allowed)
    if enough == 1 and shares.get(2, math.inf) <= shares[1] * (1 + INDIFFERENT):
        return 2
    return enough


def _waiting(job: Job, owner: Participant | None) -> Waiting:
    now = time.monotonic()
    if owner is None:
        return Waiting(job.key, job.units, since=now)
    left = job.units * (owner.steps_left if job.counted else 1)
    return Waiting(job.key, job.units, owner.priority, owner.deadline, left, now)


def _seconds(job: Job, repeats: int) -> float:
    """The best of some passes that join a job with itself; long ones are measured well enough by one.

    On a CPU it is this process's time, which a busy neighbour on the machine lengthens less than the clock's.
    """
    parts = joined([job.parts] * repeats)
    cuda, threads = torch.cuda.is_available(), torch.get_num_threads()
    times: list[float] = []
    while len(times) < 3 and sum(times) < MEASURED_SECONDS:
        started = time.monotonic() if cuda else time.process_time() / threads
        job.run(*parts)
        if cuda:
            torch.cuda.synchronize()
        times.append((time.monotonic() if cuda else time.process_time() / threads) - started)
    return min(times)


def _run(calls: list[_Call], counters: Counters) -> None:
    """Run calls as one; when that fails, each alone, so that one bad request never takes its neighbours."""
    try:
        if calls[0].job.counted:
            counters.forward_pass(len(calls))
        result = calls[0].job.run(*joined([call.job.parts for call in calls]))
        shares = split(result, [call.job.rows for call in calls])
    except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to the requests, not to this thread
        _recover(calls, error, counters)
        return
    for call, share in zip(calls, shares, strict=True):
        call.finish(share)


def _recover(calls: list[_Call], error: Exception, counters: Counters) -> None:
    if out_of_memory(error) and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(calls) == 1:
        calls[0].finish(error=fault(error))
        return
    for call in calls:
        _run([call], counters)
