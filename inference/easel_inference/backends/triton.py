"""Easel's own runtime, NVIDIA Triton, over gRPC streams.

One client, one connection and one stream for each item in flight. Triton's client can cancel a stream but not one
request of it, so a stream shared by items could not stop one without killing the rest; and a stream that Triton leaves
hanging (a dead Python stub does that) then holds up one item alone. The price is a socket and a thread per item in
flight, of which there are sixteen.

A replica that refuses an item before accepting it costs no attempt: the item waits for another replica. One that is
lost after `Accepted` does, because the request may be what kills it.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as triton

from easel_api.errors import (
    BackendFault,
    BadOutput,
    Cancelled,
    EaselError,
    ErrorReport,
    HandedBack,
    Stalled,
    Transient,
)
from easel_inference.generation import Accepted, Failed, Finished, GenerationRequest, Inputs, Message
from easel_inference.serving import wire

from .base import OnEvent, Result, work
from .replicas import Lease, ReplicaSet

_OPTIONS = [
    ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
    # Replicas are addressed one by one inside the cluster, never through a proxy.
    ("grpc.enable_http_proxy", 0),
    # Shared subchannels would share their back-off too, up to two minutes after a restart.
    ("grpc.use_local_subchannel_pool", 1),
    # A pod that vanishes with its network never says so: without these pings its items would wait for the longest silence
    # that a healthy engine is allowed. The server is told not to mind them (`serving.tritonserver`).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_GONE = re.compile(
    r"not healthy|not ready|unavailable|no available versions|unknown model|shutting down|server exiting", re.IGNORECASE
)
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class TritonSettings:
    """Times, in seconds."""

    accept_seconds: float = 60.0
    """Triton hands a request to the engine at once, which accepts it at once."""
    stall_seconds: float = 180.0
    """Longest silence of a running request: a step of a long clip on a slow GPU is well below."""
    queue_seconds: float = 1800.0
    """Longest wait in the engine behind other jobs, while the replica says nothing."""


class _Refused(Exception):  # never leaves this module
    """The replica did not take the request."""


class TritonBackend:
    """Makes items on all ready replicas of a model."""

    def __init__(
        self, replicas: ReplicaSet, name: str, settings: TritonSettings | None = None, *, waits: bool = True
    ) -> None:
        """`name` is what the manifest calls this backend; one that does not wait raises `CapacityQueued` without a replica."""
        self._replicas, self._name, self._waits = replicas, name, waits
        self._settings = settings or TritonSettings()

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`."""
        while True:
            with self._replicas.lease(work(request), stop, waits=self._waits) as lease:
                try:
                    return self._generate_on(lease, request, inputs, on_event, stop)
                except _Refused as refusal:
                    lease.report_refused(str(refusal))

    def _generate_on(
        self, lease: Lease, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event
    ) -> Result:
        stream = _Stream(lease.address)
        try:
            stream.send(request, inputs)
            return self._follow(stream, lease, on_event, stop)
        finally:
            stream.close()

    def _follow(self, stream: _Stream, lease: Lease, on_event: OnEvent, stop: threading.Event) -> Result:
        accepted = running = False
        while True:
            message = stream.next(self._silence(accepted=accepted, running=running), stop, lease, accepted=accepted)
            lease.report_alive()
            match message.event:
                case Finished() as event:
                    return Result(event, message.payload, self._name)
                case Failed(error=report):
                    raise _failed(report, accepted=accepted)
                case Accepted():
                    accepted = True
                case _:
                    accepted = running = True
            on_event(message)

    def _silence(self, *, accepted: bool, running: bool) -> float:
        if running:
            return self._settings.stall_seconds
        return self._settings.queue_seconds if accepted else self._settings.accept_seconds


class _Stream:
    """One request and its answers."""

    def __init__(self, address: str) -> None:
        self._client = triton.InferenceServerClient(address, channel_args=_OPTIONS)
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ended = False
        self._client.start_stream(callback=lambda result, error: self._answers.put(error or result))

    def send(self, request: GenerationRequest, inputs: Inputs) -> None:
        tensors = []
        for name, array in wire.encode_request(request, inputs).items():
            tensor = triton.InferInput(name, list(array.shape), wire.DATATYPE)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        # A stream that broke already says so here, without its reason; that comes by the callback, so `next` raises it.
        with contextlib.suppress(triton.InferenceServerException):
            self._client.async_stream_infer(
                wire.MODEL_NAME,
                tensors,
                model_version=wire.MODEL_VERSION,
                request_id=request.id,
                enable_empty_final_response=True,
            )

    def next(self, silence: float, stop: threading.Event, lease: Lease, *, accepted: bool) -> Message:
        """The next message; raises what the silence or the error of the stream means."""
        deadline = time.monotonic() + silence
        while not stop.is_set():
            try:
                answer = self._answers.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise self._silent(silence, lease, accepted=accepted) from None
                continue
            if isinstance(answer, Exception):
                self._ended = True
                raise _explained(answer, lease, accepted=accepted)
            message = _decoded(answer)
            self._ended = message.is_last
            return message
        raise Cancelled("the job was stopped")

    def _silent(self, silence: float, lease: Lease, *, accepted: bool) -> Exception:
        problem = f"replica {lease.address} sent nothing for {silence:.0f} s"
        lease.report_refused(problem)
        return Stalled(problem, fix="See the logs of the runtime's pod") if accepted else _Refused(problem)

    def close(self) -> None:
        """Ends the stream; cancels the request when its end has not been seen."""
        self._client.stop_stream(cancel_requests=not self._ended)
        self._client.close()


def _decoded(answer: Any) -> Message:
    event, payload = answer.as_numpy(wire.EVENT), answer.as_numpy(wire.PAYLOAD)
    if event is None:
        raise BackendFault("the engine ended a request without a result", fix="See the logs of the runtime's pod")
    if payload is None:
        raise BadOutput("the engine sent an event without its payload", fix="Run worker and runtime of one release")
    return wire.decode_message(event, payload)


def _explained(error: Exception, lease: Lease, *, accepted: bool) -> Exception:
    """What an error of the stream means: a replica that is gone, or a request that it cannot do."""
    status = str(getattr(error, "status", lambda: "")() or "")
    text = str(getattr(error, "message", lambda: error)() or error)
    gone = "UNAVAILABLE" in status or "CANCELLED" in status or bool(_GONE.search(text))
    if not gone:
        return _fault(text, lease)
    problem = f"replica {lease.address} is gone: {text.splitlines()[0] if text else status}"
    lease.report_refused(problem)
    return Transient(problem) if accepted else _Refused(problem)


def _failed(report: ErrorReport, *, accepted: bool) -> Exception:
    """A replica that is full says so before it accepts, and one that drains may say so later: another one takes the item."""
    error = report.to_error()
    refused = isinstance(error, HandedBack) or (isinstance(error, Transient) and not accepted)
    return _Refused(str(error)) if refused else error


def _fault(text: str, lease: Lease) -> EaselError:
    return BackendFault(
        "Triton refused the request",
        where=lease.address,
        found=text.splitlines()[0],
        fix="Run worker and runtime of one release",
    )
