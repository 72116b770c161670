"""The engine's door: takes requests, bounds how many run, joins duplicates, cancels, keeps results.

A request with the same fingerprint as one that is still running listens to that one instead of generating again, and
one that was made lately gets the very same bytes: a worker that dies and comes back asks again for what its first life
had asked for. A generation ends early only when nobody listens to it any more.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from easel_api.errors import BackendFault, Cancelled, CapacityQueued, EaselError, Transient
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import TAKES, Task
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

from .batcher import UNITS, Batcher, Participant, out_of_memory
from .counters import Counters, Counts, Outcome
from .loading import load
from .retention import Retention
from .seats import Seats, SharedModel
from .tasks import Drawn, Plan, draw, plan
from .words import PromptLength

RETAINED_BYTES = 256 * 2**20
LONGEST_QUEUE = 1024

Emit = Callable[[Message], None]

log = logging.getLogger(__name__)


class Engine:
    """One model that serves requests. Blocks while it loads and warms up; raises what `loading` raises."""

    def __init__(
        self, spec: ModelDeploymentSpec, *, claims: Path, threads: int, retained_bytes: int = RETAINED_BYTES
    ) -> None:
        started = time.monotonic()
        model = load(spec, claims)
        self._limits = model.limits
        self._counters = Counters()
        self._batcher = Batcher(self._counters, threads=threads, units=UNITS[model.unet.device.type])
        self._shared = SharedModel(model, self._batcher)
        self._seats = Seats(self._shared)
        self._prompt_length = PromptLength(model.tokenizer)
        self._retention = Retention(retained_bytes)
        self._lock = threading.Lock()
        self._generations: dict[str, _Generation] = {}
        self._draining = False
        self._threads = ThreadPoolExecutor(spec.engine.max_concurrent_requests, thread_name_prefix="easel-request")
        self.info: ModelInfo = model.info
        self._warm_up(spec)
        self.info = model.info.model_copy(update={"loaded_seconds": round(time.monotonic() - started, 3)})

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of the batcher's last turn."""
        return self._batcher.heartbeat

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
            checked = plan(request, inputs, self.info.tasks, self._limits)
            self._prompt_length.check(request)
            listener.send(Message(Accepted()))
            self._attend(listener, checked, fingerprint(request, inputs))
        except EaselError as error:
            listener.send(Message(Failed(error=error.to_report())))
        return listener

    def drain(self) -> None:
        """Refuse new requests from now on; running ones go on."""
        self._draining = True

    def close(self) -> None:
        """Cancel everything and end all threads."""
        self.drain()
        with self._lock:
            generations = list(self._generations.values())
        for generation in generations:
            generation.participant.cancel()
        self._batcher.wake()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()

    def cancel(self, listener: Handle) -> None:
        """`listener` wants no more; its generation goes on while others listen."""
        with self._lock:
            generation = listener.generation
            if generation is None or listener not in generation.listeners:
                return
            generation.listeners.remove(listener)
            if not generation.listeners:
                self._abandon(generation)
        self._batcher.wake()
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
            generation = self._generations[key] = _Generation(key, checked)
            self._counters.queued()
            generation.future = self._threads.submit(self._run, generation)
        generation.listeners.append(listener)
        listener.generation = generation

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
            return Message(Failed(error=_fault(error).to_report())), "failed"

    def _make(self, generation: _Generation) -> Message:
        queued = time.monotonic() - generation.created
        with self._seats.one() as seat:
            drawn = draw(
                generation.plan, seat, self._shared, generation.participant,
                lambda step, steps: self._stepped(generation, step, steps),
                lambda step, steps, jpeg: generation.tell(Message(Preview(step=step, steps=steps), jpeg)),
            )  # fmt: skip
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
        return Message(self._finished(request, drawn, payload, timings), payload)

    def _finished(self, request: GenerationRequest, drawn: Drawn, payload: bytes, timings: Timings) -> Finished:
        frames, height, width = drawn.frames.shape[:3]
        return Finished(
            media_type=MEDIA_TYPES[request.encoding],
            sha256=hashlib.sha256(payload).hexdigest(),
            width=width,
            height=height,
            frames=frames,
            fps=(request.fps or DEFAULT_FPS) if TAKES[request.task].video else None,
            seed=request.seed,
            model_digest=self.info.digest,
            dtype=self.info.dtype,
            device=self.info.device,
            versions=self.info.versions,
            steps=drawn.steps,
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

    def _warm_up(self, spec: ModelDeploymentSpec) -> None:
        """Draw one step at each size, so that the first request pays for nothing that happens once."""
        native = (self._limits.native, self._limits.native)
        for width, height in [(shape.width, shape.height) for shape in spec.engine.shapes] or [native]:
            request = GenerationRequest(
                id="warm-up", task=Task.TEXT_TO_IMAGE, prompt="", width=width, height=height, steps=1
            )
            with self._seats.one() as seat:
                checked = plan(request, Inputs(), self.info.tasks, self._limits)
                draw(checked, seat, self._shared, Participant(), lambda *_: None, lambda *_: None)
        self._counters.reset()


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

    def __init__(self, fingerprint: str, plan: Plan) -> None:
        self.fingerprint, self.plan = fingerprint, plan
        self.participant = Participant()
        self.listeners: list[Handle] = []
        self.future: Future[None] | None = None
        self.created = time.monotonic()

    def tell(self, message: Message) -> None:
        for listener in tuple(self.listeners):
            listener.send(message)


def _reused(message: Message) -> Message:
    event = message.event
    return (
        Message(event.model_copy(update={"reused": True}), message.payload) if isinstance(event, Finished) else message
    )


def _fault(error: Exception) -> BackendFault:
    if out_of_memory(error):
        return BackendFault("out of memory", fix="Ask for a smaller picture or fewer frames")
    return BackendFault("the engine failed on this request", found=type(error).__name__)
