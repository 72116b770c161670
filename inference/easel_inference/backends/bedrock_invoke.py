"""Amazon Bedrock, InvokeModel: Stability AI's models, a picture for a call.

The bodies have no machine-readable schema; they are those of docs.aws.amazon.com/bedrock/latest/userguide (model parameters of Stable
Image Core, Ultra and SD 3.5, and Stability AI Image Services), read on 2026-11-28. A picture that a filter holds back comes as HTTP 200
with a finish reason and no picture.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from easel_api.errors import (
    BackendFault,
    BilledBadOutput,
    Cancelled,
    ContentBlocked,
    InvalidInput,
    Unsupported,
)
from easel_api.tasks import Task
from easel_inference.generation import Accepted, Finished, GenerationRequest, Inputs, Message, Timings
from easel_inference.routing.request import Resolved

from .aws import AwsAccount, client, explained
from .base import OnEvent, Result
from .delivered import picture

LARGEST_SEED = 4294967294
LARGEST_BODY = 25_000_000
"""Bytes of a request or an answer."""

Body = dict[str, Any]
Shape = Callable[[GenerationRequest, Inputs, Resolved], Body]
"""How a model is asked."""


class BedrockInvoke:
    """One model in one region; safe to call from many threads."""

    def __init__(self, name: str, account: AwsAccount, model: str, resolved: Resolved) -> None:
        """`name` is what the manifest calls this backend; `resolved` is what the plan made of the job's size."""
        asks = shape(model)
        if asks is None:
            raise Unsupported(
                "Bedrock's InvokeModel family does not know this model",
                where="spec.offers[].model",
                found=model,
                fix="See docs/providers.md for those that it knows",
            )
        self._name, self._account, self._model = name, account, model
        self._asks, self._resolved = asks, resolved
        self._client = client(account, "bedrock-runtime")

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        sent = json.dumps(body(self._asks, request, inputs, self._resolved)).encode()
        if len(sent) > LARGEST_BODY:
            raise InvalidInput("the inputs are too large for Bedrock", where="spec.inputs", found=f"{len(sent)} bytes")
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        made, seed = self._made(sent)
        result = picture(made, request.encoding)
        finished = Finished(
            media_type=result.media_type,
            sha256=result.sha256,
            width=result.width,
            height=result.height,
            seed=request.seed if seed is None else seed,
            model_digest=f"bedrock/{self._model}",
            dtype="",
            device=f"Amazon Bedrock, {self._account.region}",
            steps=0,
            timings=Timings(total=time.monotonic() - began),
        )
        return Result(finished, result.data, self._name)

    def _made(self, sent: bytes) -> tuple[bytes, int | None]:
        try:
            answer = self._client.invoke_model(
                modelId=self._model, body=sent, contentType="application/json", accept="application/json"
            )
            told = answer["body"].read(LARGEST_BODY + 1)
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            # Without the cause: what AWS says may repeat the prompt.
            raise explained(error, self._model) from None
        if len(told) > LARGEST_BODY:
            raise BilledBadOutput(
                "Bedrock's answer is too large", where=self._model, found=f"over {LARGEST_BODY} bytes"
            )
        return read(told, self._model)


def read(told: bytes, model: str) -> tuple[bytes, int | None]:
    """The picture and its seed; `ContentBlocked` when a filter held it back.

    With neither picture nor reason nobody knows whether it is billed, and `BilledBadOutput` takes it that it is.
    """
    try:
        answer = json.loads(told)
        reasons, pictures, seeds = (answer.get(name) or [] for name in ("finish_reasons", "images", "seeds"))
        reason = next(filter(None, reasons), None)
        found = base64.b64decode(pictures[0], validate=True) if pictures and not reason else b""
        seed = int(seeds[0]) if seeds else None
    except (ValueError, TypeError, AttributeError, KeyError, binascii.Error) as error:
        raise BilledBadOutput(
            "Bedrock answered with no message of this model", where=model, found=f"{len(told)} bytes"
        ) from error
    if reason is not None:
        if str(reason).startswith("Filter reason"):
            raise ContentBlocked("a safety policy of the provider refused it", where=model, found=str(reason))
        raise BackendFault("the model failed", where=model, found=str(reason))
    if not found:
        raise BilledBadOutput("Bedrock answered without a picture", where=model)
    return found, seed


def body(asks: Shape, request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Body:
    """What a model is asked, in its own fields."""
    if request.seed > LARGEST_SEED:
        raise Unsupported(
            "Bedrock takes seeds up to 4294967294", where="spec.parameters.seeds", found=str(request.seed)
        )
    if request.mask_colours:
        raise Unsupported("Bedrock takes a white mask alone", where="spec.parameters.maskColours")
    return asks(request, inputs, resolved) | {"output_format": "jpeg" if request.encoding == "jpeg" else "png"}


def shape(model: str) -> Shape | None:
    """How a model is asked: by its name, without the region's prefix and the version."""
    name = model.removeprefix("us.").removeprefix("stability.").rpartition("-v")[0]
    return _SHAPES.get(name)


def _worded(request: GenerationRequest) -> Body:
    told: Body = {"prompt": request.prompt, "seed": request.seed}
    return told | ({"negative_prompt": request.negative_prompt} if request.negative_prompt else {})


def _text(request: GenerationRequest, _: Inputs, resolved: Resolved) -> Body:
    return _worded(request) | ({"aspect_ratio": resolved.aspect_ratio} if resolved.aspect_ratio else {})


def _sd35(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Body:
    if request.task is Task.TEXT_TO_IMAGE:
        return _text(request, inputs, resolved) | {"mode": "text-to-image"}
    strength = 0.8 if request.strength is None else request.strength
    return _worded(request) | {"mode": "image-to-image", "image": _base64(inputs.image, "image"), "strength": strength}


def _edited(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Body:
    return _worded(request) | {"image": _base64(inputs.image, "image")}


def _masked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Body:
    return _edited(request, inputs, resolved) | {"mask": _base64(inputs.mask, "mask")}


def _expanded(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Body:
    sides = request.expand
    grown = {} if sides is None else {"left": sides.left, "right": sides.right, "up": sides.top, "down": sides.bottom}
    return _edited(request, inputs, resolved) | grown


def _controlled(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Body:
    return _worded(request) | {"image": _base64(inputs.control, "control")}


_SHAPES: dict[str, Shape] = {
    "stable-image-core": _text,
    "stable-image-ultra": _text,
    "sd3-5-large": _sd35,
    "stable-image-inpaint": _masked,
    "stable-outpaint": _expanded,
    "stable-image-control-sketch": _controlled,
    "stable-image-control-structure": _controlled,
}
"""Those of which a job can say all that it says. The other services read no prompt (erasing, removing a background, the fast upscale), ask
for a second prompt or picture that no job has a field for (replacing, recolouring, both styles), or choose their own size (upscales)."""


def _base64(data: bytes | None, name: str) -> str:
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    return base64.b64encode(data).decode()
