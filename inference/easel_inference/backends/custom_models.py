"""What a model of the team's own is asked and answers, whichever cloud its endpoint is at: docs/custom-models.md.

The words are those of Hugging Face's inference toolkit (`inputs` and `parameters`), and the parameters those of diffusers' pipelines. The
offer of the Provider says which of them the model heeds; nothing else is sent.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from easel_api.errors import BilledBadOutput, ContentBlocked, InvalidInput, Unsupported
from easel_api.offers import Honours
from easel_api.tasks import TAKES
from easel_inference.generation import GenerationRequest, Inputs

from .base import PaidBlock, Setup

RESULTS = ("image", "video", "generated_image")
"""Keys of an answer that hold the result in base64."""
LONGEST_ADDRESS = 8192
"""Bytes of an answer that holds an address in place of a result; base64 of a picture is longer, and not read for it."""


def asked(request: GenerationRequest, inputs: Inputs, setup: Setup) -> dict[str, Any]:
    """What the model is asked, as JSON; `Unsupported` for what it is said to heed and no parameter says."""
    _refuse(request, inputs, setup)
    told = dict(_numbers(request, setup)) | _size(setup) | _length(request, setup) | dict(_pictures(request, inputs))
    return {"inputs": request.prompt, "parameters": told}


def read(content_type: str, body: bytes, where: str) -> bytes:
    """The picture or clip of an answer that says that all went well, whether raw or in JSON.

    Raises `PaidBlock` when the model held it back, `BilledBadOutput` when there is none. `where` is what errors call the model.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if body and media_type.startswith(("image/", "video/")):
        return body
    try:
        told = json.loads(body)
    except ValueError:
        # Toolkits call a picture JSON when that was accepted; `delivered` sees what it is.
        if body:
            return body
        raise BilledBadOutput("the model answered with nothing", where=where) from None
    return found(told, where)


def found(told: Any, where: str) -> bytes:
    """The picture or clip of an answer in JSON; raises as `read` does."""
    first = told[0] if isinstance(told, list) and told else told
    if isinstance(first, dict):
        if first.get("blocked") is True:
            raise PaidBlock("the model's own safety check refused it", where=where, found="blocked")
        if first.get("error"):
            raise BilledBadOutput("the model answered with an error", where=where)
        first = next((first[name] for name in RESULTS if first.get(name)), None)
    if not isinstance(first, str) or not first:
        raise BilledBadOutput("the model answered without a result", where=where, found="JSON")
    try:
        return base64.b64decode(first, validate=True)
    except (ValueError, binascii.Error):
        raise BilledBadOutput(
            "the model's result is no base64", where=where, found=f"{len(first)} characters"
        ) from None


def address(body: bytes) -> str | None:
    """Where the result lies, of an answer that says so in place of it: `{"url": …}`. None for any other."""
    if len(body) > LONGEST_ADDRESS:
        return None
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("blocked") or told.get("error"):
        return None
    place = told.get("url")
    return place if isinstance(place, str) else None


def refused(body: str | bytes, where: str) -> ContentBlocked | None:
    """What the body of an HTTP error means when the model refused the request before any work; None when it failed otherwise."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if isinstance(told, dict) and told.get("blocked") is True:
        return ContentBlocked("the model's own safety check refused it", where=where, found="blocked")
    return None


def _refuse(request: GenerationRequest, inputs: Inputs, setup: Setup) -> None:
    takes = TAKES[request.task]
    unsaid = takes.clip or takes.end or takes.expand or takes.truncation or takes.mute or takes.is_named_apart
    if unsaid or not takes.prompt:
        raise Unsupported("a custom model cannot be asked for this task", where="spec.task", found=request.task.value)
    wordless = {
        Honours.QUALITY: request.quality,
        Honours.REPRODUCIBLE: request.reproducible,
        Honours.ADAPTERS: request.adapters,
        Honours.SCALE: request.scale,
        Honours.MASK_COLOURS: request.mask_colours,
    }
    for name, value in wordless.items():
        if value and name in setup.offer.honours:
            raise Unsupported(
                "a custom model cannot be told of it",
                where="spec.offers[].honours",
                found=name.value,
                fix="Take it out of the Provider's offer",
            )
    for part, needed in (("image", takes.image), ("mask", takes.mask), ("control", takes.control)):
        if needed and getattr(inputs, part) is None:
            raise InvalidInput("the task needs it", where=f"spec.inputs.{part}", fix="Add it")


def _numbers(request: GenerationRequest, setup: Setup) -> Iterator[tuple[str, str | int | float]]:
    for honour, name, value in (
        (Honours.NEGATIVE, "negative_prompt", request.negative_prompt or None),
        (Honours.SEED, "seed", request.seed),
        (Honours.STEPS, "num_inference_steps", request.steps),
        (Honours.GUIDANCE_SCALE, "guidance_scale", request.guidance_scale),
        (Honours.STRENGTH, "strength", request.strength),
        (Honours.FRAMES, "num_frames", request.frames),
        (Honours.FPS, "fps", request.fps),
    ):
        if honour in setup.offer.honours and value is not None:
            yield name, value


def _size(setup: Setup) -> dict[str, int]:
    resolved = setup.resolved
    if resolved.aspect_ratio or resolved.tier:
        raise Unsupported(
            "a custom model is asked for pixels, and not for a ratio or a tier",
            where="spec.offers[].sizes",
            found=resolved.aspect_ratio or resolved.tier or "",
            fix="Give the Provider's offer sizes.free",
        )
    return {} if resolved.size is None else {"width": resolved.size[0], "height": resolved.size[1]}


def _length(request: GenerationRequest, setup: Setup) -> dict[str, int]:
    """A length that the plan chose, in frames; what else a job says of it is among the numbers."""
    seconds = setup.resolved.seconds
    if seconds is None or len(setup.offer.seconds) == 1:
        return {}
    if request.fps is None or Honours.FPS not in setup.offer.honours:
        raise Unsupported(
            "a custom model is asked for frames, and not for seconds",
            where="spec.offers[].honours",
            found=f"{seconds} s without fps",
            fix="Have the Provider's offer honour fps, or name one length",
        )
    return {"num_frames": seconds * request.fps}


def _pictures(request: GenerationRequest, inputs: Inputs) -> Iterator[tuple[str, str]]:
    takes = TAKES[request.task]
    for name, taken, data in (
        ("image", takes.image, inputs.image),
        ("mask_image", takes.mask, inputs.mask),
        ("control_image", takes.control, inputs.control),
    ):
        if taken and data is not None:
            yield name, base64.b64encode(data).decode()
