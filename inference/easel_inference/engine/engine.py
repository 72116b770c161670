"""The engine's door: takes requests, bounds how many run, joins duplicates, cancels, keeps results.

A request with the same fingerprint as one that is still running listens to that one instead of generating again, and
one that was made lately gets the very same bytes: a worker that dies and comes back asks again for what its first life
had asked for. A generation ends early only when nobody listens to it any more.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from easel_api.errors import Cancelled, CapacityQueued, EaselError, HandedBack, Transient
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import TAKES
from easel_inference.artifacts.encoding import DEFAULT_FPS, encode
from easel_inference.generation import (
    MEDIA_TYPES,
    Accepted,
    Failed,
    Finished,
    GenerationRequest,
    Inputs,
    Message,
    ModelInfo,
    Preview,
    StepDone,
    Timings,
    fingerprint,
)

from .counters import Counters, Counts, Outcome
from .faults import fault
from .inspection import GENERATOR
from .participant import Participant
from .plans import Plan
from .retention import Retention
from .sources import model_folder
from .tasks import Drawn, OnPreview, OnStep

RETAINED_BYTES = 256 * 2**20
LONGEST_QUEUE = 1024

Emit = Callable[[Message], None]

_HANDED_BACK = HandedBack("the replica stops before this would be done", fix="Another replica takes the request")

log = logging.getLogger(__name__)


class Model(Protocol):
    """A loaded model: `diffusion.Diffusion` or `latentmodel.LatentModel`."""

    info: ModelInfo

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of its last turn."""
        ...

    def plan(self, request: GenerationRequest, inputs: Inputs) -> Plan:
        """Check a request; raises the refusal."""
        ...

    def participant(self, checked: Plan, deadline: float) -> Participant:
        """What of the request decides its rank."""
        ...

    def draw(self, checked: Plan, participant: Participant, on_step: OnStep, on_preview: OnPreview) -> Drawn:
        """Make it."""
        ...

    def wake(self) -> None:
        """A request was cancelled."""
        ...

    def close(self) -> None:
        """End its threads."""
        ...


class Engine:
    """One model that serves requests. Blocks while it loads and warms up; raises what `loading` raises."""

    def __init__(
        self, spec: ModelDeploymentSpec, *, claims: Path, threads: int, retained_bytes: int = RETAINED_BYTES
    ) -> None:
        self._counters = Counters()
        self._model = _loaded(spec, claims, self._counters, threads)
        self._cpu_threads = 0 if spec.resources.gpus else threads
        self._retention = Retention(retained_bytes)
        self._lock = threading.Lock()
        self._generations: dict[str, _Generation] = {}
        self._draining = False
        self._threads = ThreadPoolExecutor(spec.engine.max_concurrent_requests, thread_name_prefix="easel-request")

    @property
    def info(self) -> ModelInfo:
        """What serves."""
        return self._model.info

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of the model's last turn."""
        return self._model.heartbeat

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return self._counters.snapshot()

    def submit(self, request: GenerationRequest, inputs: Inputs, emit: Emit) -> Handle:
        """Take a request; `emit` gets its events from other threads, the last one being a result or an error.

        Refusals are events too, so a caller has one way to hear of errors.
        """
        listener = Handle(self, emit)
        try:
            if self._draining:
                raise Transient("the engine is draining", fix="Another replica takes the request")
            checked = self._model.plan(request, inputs)
            listener.send(Message(Accepted()))
            self._attend(listener, checked, fingerprint(request, inputs))
        except EaselError as error:
            listener.send(Message(Failed(error=error.to_report())))
        return listener

    def drain(self, seconds: float = math.inf) -> None:
        """Refuse new requests from now on, and hand back what has not begun or would take longer than so many seconds.

        May be called again with fewer seconds: what goes on may have become slower than it seemed.
        """
        self._draining = True
        with self._lock:
            late = [each for each in self._generations.values() if each.waits or each.takes_longer_than(seconds)]
            given = [(each, tuple(each.listeners)) for each in late]
            for each in late:
                each.listeners.clear()
                self._abandon(each)
        self._model.wake()
        for _, listeners in given:
            for listener in listeners:
                listener.send(Message(Failed(error=_HANDED_BACK.to_report())))

    def close(self) -> None:
        """Cancel everything and end all threads."""
        self._draining = True
        with self._lock:
            generations = list(self._generations.values())
        for generation in generations:
            generation.participant.cancel()
        self._model.wake()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._model.close()

    def cancel(self, listener: Handle) -> None:
        """`listener` wants no more; its generation goes on while others listen."""
        with self._lock:
            generation = listener.generation
            if generation is None or listener not in generation.listeners:
                return
            generation.listeners.remove(listener)
            if not generation.listeners:
                self._abandon(generation)
        self._model.wake()
        listener.send(Message(Failed(error=Cancelled("stopped on request").to_report())))

    def _abandon(self, generation: _Generation) -> None:
        generation.participant.cancel()
        self._generations.pop(generation.fingerprint, None)
        if generation.future and generation.future.cancel():  # its turn never came
            self._counters.dequeued()
            self._counters.generation("cancelled")

    def _attend(self, listener: Handle, checked: Plan, key: str) -> None:
        with self._lock:
            kept = self._retention.find(key)
            if kept is None:
                self._join(listener, checked, key)
                return
        self._counters.reused()
        listener.send(kept)

    def _join(self, listener: Handle, checked: Plan, key: str) -> None:
        generation = self._generations.get(key)
        if generation is None:
            if self.counts.waiting >= LONGEST_QUEUE:
                raise CapacityQueued("the engine's queue is full", found=f"{LONGEST_QUEUE} requests wait")
            generation = self._generations[key] = self._begun(key, checked)
            self._counters.queued()
            generation.future = self._threads.submit(self._run, generation)
        generation.listeners.append(listener)
        listener.generation = generation

    def _begun(self, key: str, checked: Plan) -> _Generation:
        seconds = checked.request.deadline_seconds
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        return _Generation(key, checked, self._model.participant(checked, deadline))

    def _run(self, generation: _Generation) -> None:
        self._counters.dequeued()
        # Running until the result is on its way: a server that drains waits for that.
        with self._counters.running():
            message, outcome = self._made(generation)
            self._deliver(generation, message, outcome)

    def _made(self, generation: _Generation) -> tuple[Message, Outcome]:
        """The generation's last message; whatever goes wrong stays with this request."""
        try:
            return self._make(generation), "succeeded"
        except Cancelled as error:
            return Message(Failed(error=error.to_report())), "cancelled"
        except EaselError as error:
            return Message(Failed(error=error.to_report())), "failed"
        except Exception as error:
            log.exception("request failed")
            return Message(Failed(error=fault(error).to_report())), "failed"

    def _make(self, generation: _Generation) -> Message:
        queued = time.monotonic() - generation.created
        drawn = self._model.draw(
            generation.plan,
            generation.participant,
            lambda step, steps: self._stepped(generation, step, steps),
            lambda step, steps, jpeg: generation.tell(Message(Preview(step=step, steps=steps), jpeg)),
        )
        request, started = generation.plan.request, time.monotonic()
        payload = encode(drawn.frames, request.encoding, request.fps)
        now = time.monotonic()
        timings = Timings(
            queued=queued,
            denoise=drawn.denoise_seconds,
            decode=drawn.decode_seconds,
            encode=now - started,
            total=now - generation.created,
        )
        return Message(self._finished(generation.plan, drawn, payload, timings), payload)

    def _finished(self, checked: Plan, drawn: Drawn, payload: bytes, timings: Timings) -> Finished:
        request, info = checked.request, self.info
        frames, height, width = drawn.frames.shape[:3]
        return Finished(
            media_type=MEDIA_TYPES[request.encoding],
            sha256=hashlib.sha256(payload).hexdigest(),
            width=width,
            height=height,
            frames=frames,
            fps=(request.fps or DEFAULT_FPS) if TAKES[request.task].video else None,
            seed=request.seed,
            model_digest=info.digest,
            dtype=info.dtype,
            device=info.device,
            threads=self._cpu_threads,
            versions=info.versions,
            steps=drawn.steps,
            computed_steps=drawn.computed_steps,
            quality=checked.quality,
            reproducible=request.reproducible,
            adapters={name: info.adapters[name] for name in checked.adapters if name in info.adapters},
            timings=timings,
        )

    def _stepped(self, generation: _Generation, step: int, steps: int) -> None:
        self._counters.step()
        generation.tell(Message(StepDone(step=step, steps=steps)))

    def _deliver(self, generation: _Generation, message: Message, outcome: Outcome) -> None:
        again = _reused(message)
        with self._lock:
            if self._generations.get(generation.fingerprint) is generation:
                del self._generations[generation.fingerprint]
            if isinstance(message.event, Finished):
                self._retention.keep(generation.fingerprint, again)
            listeners, generation.listeners = generation.listeners, []
        self._counters.generation(outcome)
        for index, listener in enumerate(listeners):
            if index and outcome == "succeeded":
                self._counters.reused()
            listener.send(again if index else message)


def _loaded(spec: ModelDeploymentSpec, claims: Path, counters: Counters, threads: int) -> Model:
    """The kind of model that the folder holds; each brings libraries that the other does without."""
    if (model_folder(spec, claims) / GENERATOR).is_file():
        from .latentmodel import LatentModel

        return LatentModel(spec, claims, counters, threads)
    from .diffusion import Diffusion

    return Diffusion(spec, claims, counters, threads)


class Handle:
    """A request as its sender holds it."""

    def __init__(self, engine: Engine, emit: Emit) -> None:
        self._engine, self._emit = engine, emit
        self._lock = threading.Lock()
        self._ended = False
        self.generation: _Generation | None = None

    @property
    def ended(self) -> bool:
        """Whether the last event was sent."""
        return self._ended

    def cancel(self) -> None:
        """Stop at the next step, or at once while waiting; the last event is a `Cancelled` error."""
        self._engine.cancel(self)

    def send(self, message: Message) -> None:
        """Pass an event on; nothing follows the last one."""
        with self._lock:
            if self._ended:
                return
            self._ended = message.is_last
            self._emit(message)


class _Generation:
    """One run of the model and everyone who waits for its result."""

    def __init__(self, fingerprint: str, plan: Plan, participant: Participant) -> None:
        self.fingerprint, self.plan, self.participant = fingerprint, plan, participant
        self.listeners: list[Handle] = []
        self.future: Future[None] | None = None
        self.created = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether its turn has not come."""
        return self.future is not None and not (self.future.running() or self.future.done())

    def takes_longer_than(self, seconds: float) -> bool:
        """As far as its steps so far tell."""
        left = self.participant.seconds_left
        return left is not None and left > seconds

    def tell(self, message: Message) -> None:
        for listener in tuple(self.listeners):
            listener.send(message)


def _reused(message: Message) -> Message:
    event = message.event
    return (
        Message(event.model_copy(update={"reused": True}), message.payload) if isinstance(event, Finished) else message
    )
