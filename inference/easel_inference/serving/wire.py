"""The wire contract: names and shapes of the tensors between a worker and Triton.

Request                                        Response (decoupled: many for one request)
    request  UINT8 [-1]  GenerationRequest       event    UINT8 [-1]  one event as JSON
    image    UINT8 [-1]  encoded, optional       payload  UINT8 [-1]  bytes of a preview or result, else empty
    mask     UINT8 [-1]  encoded, optional
    control  UINT8 [-1]  encoded, optional
    clip     UINT8 [-1]  encoded, optional

JSON is UTF-8. A stream ends with Triton's final flag after a `result` or `error` event. Response parameters are not
used: the release in the wheel lacks them. Nor are BYTES tensors: that release spoils them under numpy 2, while bytes
pass whole through DLPack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from easel_api.errors import BadOutput, InvalidInput
from easel_inference.generation import Event, GenerationRequest, Inputs, Message

MODEL_NAME = "easel"
MODEL_VERSION = "1"

REQUEST = "request"
INPUTS = tuple(part.name for part in dataclasses.fields(Inputs))
"""Names of the optional tensors: one for each part of `Inputs`."""
EVENT = "event"
PAYLOAD = "payload"

DATATYPE = "UINT8"
"""Triton's datatype of every tensor here."""

MAX_MESSAGE_BYTES = 2**31 - 1
"""gRPC's own limit; a raw clip of a second at 1080p would pass its default of 4 MiB."""

_EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


def encode_request(request: GenerationRequest, inputs: Inputs) -> dict[str, np.ndarray]:
    """Tensors of a request by name; absent inputs have no tensor."""
    tensors = {REQUEST: _bytes(request.model_dump_json(exclude_none=True).encode())}
    for name, data in inputs.named().items():
        if data is not None:
            tensors[name] = _bytes(data)
    return tensors


def decode_request(
    request: np.ndarray | None, inputs: Mapping[str, np.ndarray | None]
) -> tuple[GenerationRequest, Inputs]:
    """The request again, its inputs by name; `InvalidInput` names the field that is wrong."""
    try:
        parsed = GenerationRequest.model_validate_json(b"" if request is None else request.tobytes())
    except ValidationError as error:
        raise invalid(error) from error
    return parsed, Inputs(**{name: None if data is None else data.tobytes() for name, data in inputs.items()})


def encode_message(message: Message) -> dict[str, np.ndarray]:
    """Tensors of a response by name."""
    return {EVENT: _bytes(message.event.model_dump_json().encode()), PAYLOAD: _bytes(message.payload)}


def decode_message(event: np.ndarray, payload: np.ndarray) -> Message:
    """The message again; `BadOutput` when it is none of ours."""
    try:
        parsed = _EVENTS.validate_json(event.tobytes())
    except ValidationError as error:
        raise BadOutput(
            "the engine sent an event that this worker does not know",
            found=type(error).__name__,
            fix="Run the worker and the runtime of one release",
        ) from error
    return Message(parsed, payload.tobytes())


def invalid(error: ValidationError) -> InvalidInput:
    """The first thing wrong with a request, without its value when that is a prompt."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    # Texts may be prompts, also under a misspelt name or in a document that is no JSON at all.
    found = repr(first["input"]) if isinstance(first.get("input"), int | float) else ""
    return InvalidInput(first["msg"], where=where or REQUEST, found=found)


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)
