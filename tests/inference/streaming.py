"""A client of the wire as plain as can be: one gRPC stream for each request."""

from __future__ import annotations

import queue
import re
from dataclasses import dataclass, field
from typing import Any

import tritonclient.grpc as triton
import urllib3
from asking import SECONDS

from easel_inference.generation import GenerationRequest, Inputs, Message
from easel_inference.serving import wire


@dataclass
class Stream:
    """One request on a stream of its own."""

    endpoint: str
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = triton.InferenceServerClient(self.endpoint)
        self._answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))

    def ask(self, request: GenerationRequest, image: bytes | None = None, mask: bytes | None = None) -> Stream:
        return self.send_with(request, Inputs(image, mask))

    def send_with(self, request: GenerationRequest, inputs: Inputs) -> Stream:
        return self.send(wire.encode_request(request, inputs))

    def send(self, tensors: dict[str, Any]) -> Stream:
        inputs = []
        for name, value in tensors.items():
            tensor = triton.InferInput(name, list(value.shape), wire.DATATYPE)
            tensor.set_data_from_numpy(value)
            inputs.append(tensor)
        self._client.async_stream_infer(wire.MODEL_NAME, inputs, model_version=wire.MODEL_VERSION)
        return self

    def next(self) -> Message:
        """The next event; raises what gRPC raised."""
        result, error = self._answers.get(timeout=SECONDS)
        if error is not None:
            raise error
        message = wire.decode_message(result.as_numpy(wire.EVENT), result.as_numpy(wire.PAYLOAD))
        self.messages.append(message)
        return message

    def until(self, kind: str) -> Message:
        while (message := self.next()).event.kind != kind:
            assert not message.is_last, f"ended with {message.event} before a {kind}"
        return message

    def result(self) -> Message:
        """The last event; the stream is closed after it."""
        while not (message := self.next()).is_last:
            pass
        self.close()
        return message

    def kinds(self) -> list[str]:
        return [message.event.kind for message in self.messages]

    def close(self, *, cancel: bool = False) -> None:
        self._client.stop_stream(cancel_requests=cancel)
        self._client.close()


def metrics(url: str) -> dict[str, float]:
    """Triton's metrics by name and labels as they stand there."""
    text = urllib3.request("GET", url, retries=False, timeout=30).data.decode()
    return {name: float(value) for name, value in re.findall(r"^(\S+?(?:\{.*?\})?) (\S+)$", text, re.MULTILINE)}


def status(url: str) -> int:
    """The HTTP status of a probe; 0 when nobody answers."""
    try:
        return urllib3.request("GET", url, retries=False, timeout=30).status
    except urllib3.exceptions.HTTPError:
        return 0
