"""What each of Runway's models is asked: by the types of its official SDK, runwayml 5.24.0, and docs.dev.runwayml.com/assets/inputs."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from easel_api.errors import BadOutput, InvalidInput, Unsupported
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

LONGEST_PROMPT = 1000
"""UTF-16 code units."""
LARGEST_PICTURE, LARGEST_CLIP = 5_000_000, 16_000_000
"""Bytes of a data URI."""
USUAL_SECONDS = 5
"""Asked for where the job names no length and the model wants one."""

PORTRAIT = {"16:9": "1280:720", "9:16": "720:1280"}
CLIPS = PORTRAIT | {"4:3": "1104:832", "3:4": "832:1104", "1:1": "960:960", "21:9": "1584:672"}
PICTURES = {
    "720p": PORTRAIT | {"1:1": "720:720", "4:3": "960:720", "3:4": "720:960", "21:9": "1680:720"},
    "1080p": {
        "16:9": "1920:1080",
        "9:16": "1080:1920",
        "1:1": "1080:1080",
        "4:3": "1440:1080",
        "3:4": "1080:1440",
        "21:9": "2112:912",
    },
}
"""What each size is called, by its ratio."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A path and a body."""

    path: str
    body: dict[str, Any]


def _text(request: GenerationRequest, *, needed: bool = True, longest: int | None = LONGEST_PROMPT) -> dict[str, str]:
    units = len(request.prompt.encode("utf-16-le")) // 2
    if longest is not None and units > longest:
        raise Unsupported(
            f"the model takes {longest} UTF-16 code units", where="spec.prompts", found=f"{units} of them"
        )
    if not request.prompt and needed:
        wrong = Unsupported if TAKES[request.task].wordless else InvalidInput
        raise wrong("the model needs a prompt", where="spec.prompts", fix="Write one")
    return {"promptText": request.prompt} if request.prompt else {}


def _uri(data: bytes | None, name: str, kinds: tuple[str, ...], largest: int) -> str:
    """An input as a data URI."""
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    try:
        kind = read_header(data).media_type
    except BadOutput:
        kind = "something else"
    if kind not in kinds:
        raise Unsupported(f"Runway takes {' and '.join(kinds)}", where=f"spec.inputs.{name}", found=kind)
    uri = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if len(uri) > largest:
        raise Unsupported(
            f"Runway takes {largest // 1_000_000} MB in base64", where=f"spec.inputs.{name}", found=f"{len(uri)} bytes"
        )
    return uri


def _picture(inputs: Inputs) -> str:
    return _uri(inputs.image, "image", ("image/png", "image/jpeg", "image/webp"), LARGEST_PICTURE)


def _ratio(names: Mapping[str, str], resolved: Resolved, picture: bytes | None = None) -> str:
    """The size's name: by the ratio that the plan chose, else the one nearest the input's, else the first."""
    if resolved.aspect_ratio is not None:
        if resolved.aspect_ratio not in names:
            raise Unsupported(
                "the model makes no such shape", where="spec.parameters.width", found=resolved.aspect_ratio
            )
        return names[resolved.aspect_ratio]
    if picture is None:
        return next(iter(names.values()))
    header = read_header(picture)
    wanted = math.log(header.width / header.height)
    return min(names.values(), key=lambda each: abs(math.log(_value(each)) - wanted))


def _value(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _gen45(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    if request.task is Task.IMAGE_TO_VIDEO:
        return _animated(request, inputs, resolved, worded=True)
    seconds = {"duration": resolved.seconds or USUAL_SECONDS}
    return Asked("/v1/text_to_video", _text(request) | seconds | {"ratio": _ratio(PORTRAIT, resolved)})


def _animated(request: GenerationRequest, inputs: Inputs, resolved: Resolved, *, worded: bool = False) -> Asked:
    body: dict[str, Any] = {
        "promptImage": _picture(inputs),
        "ratio": _ratio(CLIPS, resolved, inputs.image),
        "duration": resolved.seconds or USUAL_SECONDS,
    }
    return Asked("/v1/image_to_video", body | _text(request, needed=worded))


def _image(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    names = PICTURES[resolved.tier or "720p"]
    if request.task is Task.TEXT_TO_IMAGE:
        return Asked("/v1/text_to_image", _text(request) | {"ratio": _ratio(names, resolved)})
    body: dict[str, Any] = {"referenceImages": [{"uri": _picture(inputs)}]}
    return Asked("/v1/text_to_image", body | _text(request) | {"ratio": _ratio(names, resolved, inputs.image)})


def _edited(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    """The clip keeps its size and length."""
    body = {"videoUri": _uri(inputs.clip, "clip", ("video/mp4",), LARGEST_CLIP)}
    return Asked("/v1/video_to_video", body | _text(request, needed=False, longest=None))


SHAPES: dict[str, Callable[[GenerationRequest, Inputs, Resolved], Asked]] = {
    "gen4.5": _gen45,
    "gen4_turbo": _animated,
    "gen4_image": _image,
    "aleph2": _edited,
}
"""How each model is asked."""
