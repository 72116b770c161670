"""Amazon Bedrock, InvokeModel: Stability AI's models, a picture for a call.

The bodies have no machine-readable schema. A picture that a filter holds back comes as HTTP 200
with a finish reason and no picture.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from typing import Any

from easel_api.errors import (
    BackendFault,
    BilledBadOutput,
    Cancelled,
    ContentBlocked,
    Unsupported,
)
from easel_inference.generation import Accepted, GenerationRequest, Inputs, Message
from easel_inference.routing.request import Resolved

from . import aws
from .aws import AwsAccount, explained
from .base import OnEvent, Result, Setup
from .delivered import check_format, delivered
from .stability_models import SHAPES, Shape, asked

LARGEST_BODY = 25_000_000
"""Bytes of a request or an answer."""


def client(setup: Setup) -> BedrockInvoke:
    """The client of a model; see `families.client_of`."""
    return BedrockInvoke(setup.name, aws.account(setup), setup.model, setup.resolved)


class BedrockInvoke:
    """One model in one region; safe to call from many threads."""

    def __init__(self, name: str, account: AwsAccount, model: str, resolved: Resolved) -> None:
        """See `Setup` for what each is."""
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
        self._client = aws.client(account, "bedrock-runtime")

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        sent = json.dumps(body(self._asks, request, inputs, self._resolved)).encode()
        if len(sent) > LARGEST_BODY:
            raise Unsupported("the inputs are too large for Bedrock", where="spec.inputs", found=f"{len(sent)} bytes")
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        made, seed = self._made(sent)
        return delivered(
            self._name,
            request,
            made,
            model=f"bedrock/{self._model}",
            provider=f"Amazon Bedrock, {self._account.region}",
            seconds=time.monotonic() - began,
            seed=seed,
        )

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
        # Of services that take none nobody says what they give in its place.
        seed = int(seeds[0]) if seeds and str(seeds[0]).isdigit() else None
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


def body(asks: Shape, request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """What a model is asked, as Bedrock takes it."""
    found = asked(asks, request, inputs, resolved)
    return found.fields | {name: base64.b64encode(data).decode() for name, data in found.pictures.items()}


def shape(model: str) -> Shape | None:
    """How a model is asked: by its name, without the region's prefix and the version."""
    name = model.removeprefix("us.").removeprefix("stability.").rpartition("-v")[0]
    return SHAPES.get(_NAMES.get(name, ""))


_NAMES = {
    "stable-image-core": "core",
    "stable-image-ultra": "ultra",
    "sd3-5-large": "sd3.5-large",
    "stable-image-inpaint": "inpaint",
    "stable-outpaint": "outpaint",
    "stable-image-erase-object": "erase",
    "stable-image-search-replace": "search-and-replace",
    "stable-image-search-recolor": "search-and-recolor",
    "stable-image-remove-background": "remove-background",
    "stable-image-control-sketch": "control/sketch",
    "stable-image-control-structure": "control/structure",
    "stable-image-style-guide": "control/style",
    "stable-style-transfer": "control/style-transfer",
    "stable-fast-upscale": "upscale/fast",
    "stable-conservative-upscale": "upscale/conservative",
    "stable-creative-upscale": "upscale/creative",
}
"""Bedrock's names of Stability AI's models."""
