"""The rendezvous batcher: one thread owns the weights, and calls that wait at the same moment run as one.

Each request runs a stock pipeline in its own thread. The pipeline's denoiser, text encoder and VAE are proxies
(`proxies`) whose calls wait here. This thread takes the calls of equal keys that are waiting, joins their tensors along
the first axis, runs one forward pass and splits the result again. That is continuous batching at the level of steps:
requests join and leave at any step, each with its own timestep. A lone request never waits for company.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from easel_api.errors import BackendFault, Cancelled, EaselError, Transient

from .counters import Counters
from .joining import Waiting, choose, window

Pass = Callable[..., tuple[Tensor, ...]]

UNITS = {"cuda": 2**17, "cpu": 2**14}
"""Rows times latent positions of one forward pass at most: 32 rows of a 512 x 512 picture on a GPU, 4 on a CPU.

Beyond it a CPU gains nothing, and a pass of minutes would look like a stall.
"""

HEARTBEAT_SECONDS = 0.5
SHAPES_REMEMBERED = 256


class Participant:
    """A request that is somewhere between its first and its last call."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether the request was cancelled; its next step raises."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop at the next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` once the request is."""
        if self.is_cancelled:
            raise Cancelled("stopped on request")


current: ContextVar[Participant] = ContextVar("current")
"""The request of this thread; a call without one belongs to nobody and cannot be cancelled."""


@dataclass(eq=False, slots=True)
class _Call:
    run: Pass
    tensors: tuple[Tensor, ...]
    rows: int
    waiting: Waiting
    counted: bool
    owner: Participant | None
    done: threading.Event = field(default_factory=threading.Event)
    result: tuple[Tensor, ...] = ()
    error: BaseException | None = None

    def finish(self, result: tuple[Tensor, ...] = (), error: BaseException | None = None) -> None:
        self.result, self.error = result, error
        self.done.set()


class Batcher:
    """Joins calls; `threads` is how many torch uses on the CPU."""

    def __init__(self, counters: Counters, *, threads: int = 1, units: int = UNITS["cpu"]) -> None:
        self._counters, self._threads, self._units = counters, threads, units
        self._changed = threading.Condition()
        self._calls: list[_Call] = []
        self._taking_part = 0
        self._last_pass: dict[Hashable, float] = {}
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
        self._join(1)
        try:
            yield
        finally:
            self._join(-1)
            current.reset(token)

    def call(self, key: Hashable, run: Pass, *tensors: Tensor, units: int, counted: bool = False) -> tuple[Tensor, ...]:
        """Run `run(*tensors)`, joined with calls of an equal key, and give this call's rows of the result.

        All tensors are joined along their first axis. The rows of the first one count; the others and the results may
        have a multiple of it. Raises `Cancelled` when the request was cancelled, else what `run` raised.
        """
        owner = current.get(None)
        if owner:
            owner.check()
        call = _Call(run, tensors, tensors[0].shape[0], Waiting(key, units), counted, owner)
        with self._changed:
            if self._closed:
                raise Transient("the engine is closing")
            self._calls.append(call)
            self._changed.notify_all()
        call.done.wait()
        if call.error is not None:
            raise call.error
        return call.result

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

    def _join(self, change: int) -> None:
        with self._changed:
            self._taking_part += change
            self._changed.notify_all()

    def _serve(self) -> None:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            while joined := self._next():
                _run(joined, self._counters)
                self._learn(joined[0])
        for call in self._calls:
            call.finish(error=Transient("the engine is closing"))

    def _learn(self, call: _Call) -> None:
        if len(self._last_pass) > SHAPES_REMEMBERED:
            self._last_pass.clear()
        self._last_pass[call.waiting.key] = time.monotonic() - self._beat

    def _next(self) -> list[_Call]:
        """The calls to run now; waits for them. Empty when the batcher is closed."""
        with self._changed:
            while not self._closed:
                self._beat = time.monotonic()
                self._drop_cancelled()
                if self._calls:
                    self._wait_for_more()
                    if taken := self._take():
                        return taken
                else:
                    self._changed.wait(HEARTBEAT_SECONDS)
            return []

    def _wait_for_more(self) -> None:
        last = self._last_pass.get(self._calls[0].waiting.key, 0.0)
        end = time.monotonic() + window(self._taking_part, len(self._calls), last)
        while len(self._calls) < self._taking_part and (left := end - time.monotonic()) > 0 and not self._closed:
            self._changed.wait(left)

    def _take(self) -> list[_Call]:
        self._drop_cancelled()
        chosen = choose([call.waiting for call in self._calls], self._units)
        taken = [self._calls[index] for index in chosen]
        for index in reversed(chosen):
            del self._calls[index]
        self._beat = time.monotonic()
        return taken

    def _drop_cancelled(self) -> None:
        for call in [call for call in self._calls if call.owner and call.owner.is_cancelled]:
            self._calls.remove(call)
            call.finish(error=Cancelled("stopped on request"))


def _run(calls: list[_Call], counters: Counters) -> None:
    """Run calls as one; when that fails, each alone, so that one bad request never takes its neighbours."""
    try:
        if calls[0].counted:
            counters.forward_pass(len(calls))
        results = calls[0].run(*_joined(calls))
        parts = [_split(result, calls) for result in results]
    except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to the requests, not to this thread
        _recover(calls, error, counters)
        return
    for index, call in enumerate(calls):
        call.finish(tuple(part[index] for part in parts))


def _joined(calls: list[_Call]) -> tuple[Tensor, ...]:
    if len(calls) == 1:
        return calls[0].tensors
    return tuple(torch.cat(parts) for parts in zip(*(call.tensors for call in calls), strict=True))


def _recover(calls: list[_Call], error: Exception, counters: Counters) -> None:
    if out_of_memory(error) and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(calls) == 1:
        calls[0].finish(error=_typed(error))
        return
    for call in calls:
        _run([call], counters)


def _split(result: Tensor, calls: list[_Call]) -> tuple[Tensor, ...]:
    rows = sum(call.rows for call in calls)
    return torch.split(result, [result.shape[0] * call.rows // rows for call in calls])


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _typed(error: Exception) -> EaselError:
    if isinstance(error, EaselError):
        return error
    if out_of_memory(error):
        return BackendFault("out of memory", fix="Ask for a smaller picture or fewer frames")
    return BackendFault("the model failed on this request", found=f"{type(error).__name__}: {error}")
