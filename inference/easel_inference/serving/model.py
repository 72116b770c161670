"""The model in Triton's Python backend: hands requests to the engine, sends its events, exports its counts.

`execute` returns at once; events go out through each request's response sender from the engine's threads. Cancellation
is looked for at every event and ten times a second, so a waiting request leaves as well as a running one. Triton's own
queue, priority and pending count see nothing of this: the metrics here are the truth.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from easel_api.errors import BackendFault, EaselError
from easel_inference.engine.counters import LOOKUPS, OUTCOMES, Counts
from easel_inference.generation import Failed, Message, ModelInfo

from . import wire
from .lifeline import end_with_server
from .settings import Settings
from .state import Pulse, State

POLL_SECONDS = 0.1
BEAT_SECONDS = 0.5

log = logging.getLogger("easel")


class TritonPythonModel:
    """Triton's interface: `initialize`, `execute`, `finalize`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model; a failure is left for the launcher to show, typed, before Triton hears of it."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        end_with_server(os.environ)
        settings = Settings.from_environment(os.environ)
        self._state = State(settings.state_dir)
        self._engine = self._load(settings)
        self._metrics = Metrics(self._engine_counts, self._engine.info)
        self._streams: set[_Stream] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._drain_seconds, self._drain_ends = settings.drain_seconds, math.inf
        self._watch = threading.Thread(target=self._keep_watch, name="easel-watch", daemon=True)
        self._watch.start()
        self._state.loaded(self._engine.info)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; Triton gets nothing back here."""
        for request in requests:
            stream = _Stream(request.get_response_sender(), self._ended)
            with self._lock:
                self._streams.add(stream)
            self._submit(request, stream)

    def finalize(self) -> None:
        """Stop everything."""
        self._closed.set()
        self._watch.join()
        self._engine.close()

    def _load(self, settings: Settings) -> Any:
        from easel_inference.engine.engine import Engine

        try:
            return Engine(settings.spec, claims=settings.claims, threads=settings.threads)
        except EaselError as error:
            self._state.failed(error)
            raise pb_utils.TritonModelException(f"{error.reason}: {error}") from None
        except Exception as error:
            log.exception("the model failed to load")
            self._state.failed(BackendFault("the model failed to load", found=f"{type(error).__name__}: {error}"))
            raise

    def _submit(self, request: Any, stream: _Stream) -> None:
        try:
            parsed, inputs = wire.decode_request(
                _array(request, wire.REQUEST), {name: _array(request, name) for name in wire.INPUTS}
            )
            stream.attach(self._engine.submit(parsed, inputs, stream.emit))
        except EaselError as error:
            stream.emit(Message(Failed(error=error.to_report())))

    def _ended(self, stream: _Stream) -> None:
        with self._lock:
            self._streams.discard(stream)
        self._metrics.publish()

    def _engine_counts(self) -> tuple[Counts, float]:
        # The heartbeat is of the monotonic clock; the metric is of the wall's.
        return self._engine.counts, time.time() - (time.monotonic() - self._engine.heartbeat)

    def _keep_watch(self) -> None:
        next_beat = 0.0
        while not self._closed.wait(POLL_SECONDS):
            with self._lock:
                streams = list(self._streams)
            for stream in streams:
                stream.look()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_SECONDS
                self._beat()

    def _beat(self) -> None:
        draining = self._state.draining
        if draining:
            now = time.monotonic()
            self._drain_ends = min(self._drain_ends, now + self._drain_seconds)
            self._engine.drain(self._drain_ends - now)
        counts = self._engine.counts
        self._metrics.publish()
        self._state.beat(
            Pulse(
                pid=os.getpid(),
                heartbeat=self._engine.heartbeat,
                running=counts.running,
                waiting=counts.waiting,
                draining=draining,
            )
        )


class _Stream:
    """One request's way back."""

    def __init__(self, sender: Any, ended: Callable[[_Stream], None]) -> None:
        self._sender, self._on_end = sender, ended
        self._handle: Any = None
        self._lock = threading.Lock()
        self._ended = False

    def attach(self, handle: Any) -> None:
        self._handle = handle

    def look(self) -> None:
        """Cancel the request when its sender has gone."""
        with self._lock:
            gone = self._handle is not None and not self._ended and self._sender.is_cancelled()
        if gone:
            self._handle.cancel()

    def emit(self, message: Message) -> None:
        """Send an event. Counts are published before the last one, so that who reads both never sees too few."""
        if message.is_last:
            self._on_end(self)
        with self._lock:
            if self._ended:
                return
            self._ended = message.is_last
            flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if message.is_last else 0
            try:
                self._sender.send(_response(message), flags=flags)
            except Exception as error:  # noqa: BLE001 - a stream that is gone must not harm the engine's thread
                log.info("a stream is gone: %s", type(error).__name__)


class Metrics:
    """The engine's counts as Triton metrics. Counters only rise, so each publication adds what came since."""

    def __init__(self, read: Callable[[], tuple[Counts, float]], info: ModelInfo) -> None:
        self._read, self._lock = read, threading.Lock()
        counter, gauge = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.GAUGE
        self._families: list[Any] = []
        self._published: dict[str, float] = {}
        generations = self._family("easel_engine_generations_total", "Generations that ended", counter)
        self._outcomes = {outcome: generations.Metric(labels={"outcome": outcome}) for outcome in OUTCOMES}
        embeddings = self._family("easel_engine_embedding_lookups_total", "Encodings asked for, kept or not", counter)
        self._lookups = {lookup: embeddings.Metric(labels={"result": lookup}) for lookup in LOOKUPS}
        self._reused = self._plain("easel_engine_reused_results_total", "Results sent again, not made again", counter)
        self._steps = self._plain("easel_engine_steps_total", "Denoising steps of all requests", counter)
        self._running = self._plain("easel_engine_running_requests", "Requests that generate", gauge)
        self._waiting = self._plain("easel_engine_waiting_requests", "Requests that wait for their turn", gauge)
        self._beat = self._plain("easel_engine_heartbeat_timestamp_seconds", "Last turn of the engine's loop", gauge)
        joined = self._family(
            "easel_engine_joined_calls", "Requests in one forward pass of the denoiser", pb_utils.MetricFamily.HISTOGRAM
        )
        self._joined = joined.Metric(labels={}, buckets=[1, 2, 4, 8, 16, 32, 64])
        self._passes: dict[int, int] = {}
        peaks = self._family("easel_engine_peak_memory_bytes", "Memory of a lone request beyond what is held", gauge)
        self._peaks = {shape: peaks.Metric(labels={"shape": shape}) for shape in info.peak_memory}
        for shape, metric in self._peaks.items():
            metric.set(info.peak_memory[shape])
        self._plain("easel_engine_weights_memory_bytes", "Memory held between requests", gauge).set(info.weights_memory)

    def publish(self) -> None:
        """Bring the metrics up to date."""
        with self._lock:
            counts, beat = self._read()
            for outcome, metric in self._outcomes.items():
                self._raise(outcome, metric, counts.generations[outcome])
            for lookup, metric in self._lookups.items():
                self._raise(f"embedding {lookup}", metric, counts.embeddings[lookup])
            self._raise("reused", self._reused, counts.reused_results)
            self._raise("steps", self._steps, counts.steps)
            self._running.set(counts.running)
            self._waiting.set(counts.waiting)
            self._beat.set(beat)
            self._observe(counts.joined)

    def _observe(self, joined: dict[int, int]) -> None:
        for size, passes in joined.items():
            for _ in range(passes - self._passes.get(size, 0)):
                self._joined.observe(size)
        self._passes = joined

    def _raise(self, name: str, metric: Any, value: float) -> None:
        if value > self._published.get(name, 0):
            metric.increment(value - self._published.get(name, 0))
            self._published[name] = value

    def _plain(self, name: str, description: str, kind: Any) -> Any:
        return self._family(name, description, kind).Metric(labels={})

    def _family(self, name: str, description: str, kind: Any) -> Any:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)  # a family that is collected takes its metrics along
        return family


def _array(request: Any, name: str) -> np.ndarray | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else np.from_dlpack(tensor)


def _response(message: Message) -> Any:
    tensors = [_tensor(name, value) for name, value in wire.encode_message(message).items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _tensor(name: str, value: np.ndarray) -> Any:
    """Through DLPack: the wheel's stub reads the strides of numpy 2 arrays wrongly."""
    return pb_utils.Tensor.from_dlpack(name, torch.from_numpy(value.copy()))
