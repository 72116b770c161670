"""Google Vertex AI, predict: Virtual Try-On, a picture of a person in a piece of clothing.

The method is that of Google's Discovery document (aiplatform v1, revision 20261106), which says nothing of instances and parameters: they
are those of docs.cloud.google.com (VirtualTryOnModelInstance, VirtualTryOnModelParams, VirtualTryOnModelResult) and of google-genai's
converter. There is no prompt, one piece of clothing, and no size: the result has that of the person's picture.

A seed is heeded without Google's invisible watermark alone. The watermark stays: nobody asked for pictures of people without one, and a job that
names no seed has one all the same. How many steps are taken stays Google's default, too.

What a filter holds back is an HTTP 200 that says why in the picture's place. Google charges for requests that end with 200, and nowhere says
that it does not for these, so that such an answer counts as a picture.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from easel_api.errors import BilledBadOutput, Unsupported
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from . import google
from .base import OnEvent, PaidBlock, Result, Setup
from .delivered import check_format, delivered

MODEL = "virtual-try-on-001"
KINDS = ("image/png", "image/jpeg")
LARGEST_PICTURE = 7_000_000
"""Bytes of each input that goes within the request (docs.cloud.google.com, models/vto/virtual-try-on-001: 7 MB; an older page said 10 MB)."""
CODE = re.compile(r"\b[0-9]{8}\b")
"""What a filter calls its reason by, behind words (docs.cloud.google.com, gemini-image-responsible-ai)."""


class VertexTryOn:
    """The model in one account; safe to call from many threads."""

    def __init__(self, setup: Setup) -> None:
        """Raises `Unsupported` where the Provider names an endpoint of its own for the model, which is Google's."""
        if setup.offer.deployment is not None:
            raise Unsupported(
                "this model is Google's own, and no endpoint of the account serves it",
                where="spec.offers[].deployment",
                found=setup.offer.deployment,
                fix="Leave it out, or give the account's own model another name",
            )
        self._name, self._account, self._resolved = setup.name, google.account(setup), setup.resolved
        self._path = f"/v1/{self._account.place}/publishers/google/models/{MODEL}:predict"

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        body = asked(request, inputs, self._resolved)
        answer, began = google.called(self._account, self._path, body, MODEL, on_event, stop)
        if answer.status != 200:
            raise google.refused(answer, MODEL)
        return delivered(
            self._name,
            request,
            read(answer.json()),
            model=f"vertex/{MODEL}",
            provider=f"Google Vertex AI, {self._account.region}",
            seconds=time.monotonic() - began,
        )


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """What the model is asked, as Google takes it.

    `InvalidInput` for an input that is missing or no picture, `Unsupported` for what the model has no words for.
    """
    if request.task is not Task.VIRTUAL_TRY_ON:
        raise Unsupported("this model has no such task", where="spec.task", found=request.task.value)
    if resolved.size or resolved.aspect_ratio or resolved.tier:
        raise Unsupported(
            "its result has the size of the person's picture",
            where="spec.offers[].sizes",
            found=resolved.aspect_ratio or resolved.tier or "free",
        )
    settings: dict[str, Any] = {
        "sampleCount": 1,
        "outputOptions": {"mimeType": "image/jpeg" if request.encoding == "jpeg" else "image/png"},
    }
    instance = {
        "personImage": {"image": _picture(inputs.image, "image")},
        "productImages": [{"image": _picture(inputs.garment, "garment")}],
    }
    return {"instances": [instance], "parameters": settings}


def _picture(data: bytes | None, part: str) -> dict[str, str]:
    kind, where = google.media_type(data, part), f"spec.inputs.{part}"
    if kind not in KINDS:
        raise Unsupported("this model takes PNG and JPEG alone", where=where, found=kind, fix="Convert it to PNG")
    data = data or b""
    if len(data) > LARGEST_PICTURE:
        raise Unsupported(
            f"this model takes pictures of up to {LARGEST_PICTURE} bytes",
            where=where,
            found=f"{len(data)} bytes",
            fix="Make it smaller, or a JPEG",
        )
    return {"bytesBase64Encoded": base64.b64encode(data).decode(), "mimeType": kind}


def read(told: Mapping[str, Any]) -> bytes:
    """The picture of an answer that looks well; `PaidBlock` when a filter held it back, `BilledBadOutput` when there is none."""
    try:
        first: Mapping[str, Any] = next(iter(told.get("predictions") or ()), {})
        reason = first.get("raiFilteredReason")
        if reason:
            code = CODE.search(str(reason))
            found = f"support code {code[0]}" if code else ""
            raise PaidBlock("a safety policy of the provider refused it", where=MODEL, found=found)
        picture = first.get("bytesBase64Encoded")
        if not picture:
            raise BilledBadOutput("the model answered without a picture", where=MODEL)
        return base64.b64decode(picture, validate=True)
    except (TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise BilledBadOutput("the model answered in another shape", where=MODEL, found=type(error).__name__) from None
