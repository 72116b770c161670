"""What Stability AI's models are asked, whoever serves them: the same fields at Bedrock and at the company's own API.

By docs.aws.amazon.com/bedrock/latest/userguide (model parameters of Stable Image Core, Ultra and SD 3.5, and Stability AI Image
Services), read on 2026-11-28; what its pages leave out (replacing a background, and how large a picture an upscale takes) by the schemas of
docs.comfy.org's router and by its nodes, read on 2026-11-29. That Stable Image Ultra takes a picture and a strength at the company's own API, and not at Bedrock, is by its
reference as ComfyUI's node and docs.1min.ai have it, read on 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from easel_api.errors import InvalidInput, Unsupported
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from .delivered import LARGEST_SIDE

LARGEST_SEED = 4294967294
LEAST_SIDE = 64
MEGAPIXEL = 2**20
"""Pixels. Of a picture that is to be upscaled."""
FAST = 4
"""How many times as wide and high the fast upscale makes a picture."""
USUAL_STRENGTH = 0.8
"""Asked for where the job names none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Fields by their names, and encoded pictures by theirs."""

    fields: dict[str, str | int | float]
    pictures: dict[str, bytes] = field(default_factory=dict)


Shape = Callable[[GenerationRequest, Inputs, Resolved], Asked]
"""How a model is asked."""


def asked(shape: Shape, request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    """What a model is asked, in its own fields; refuses what none of them has a field for."""
    if request.seed > LARGEST_SEED:
        raise Unsupported(
            f"Stability's models take seeds up to {LARGEST_SEED}",
            where="spec.parameters.seeds",
            found=str(request.seed),
        )
    if request.mask_colours:
        raise Unsupported("Stability's models take a white mask alone", where="spec.parameters.maskColours")
    found = shape(request, inputs, resolved)
    return Asked(found.fields | {"output_format": "jpeg" if request.encoding == "jpeg" else "png"}, found.pictures)


def _worded(request: GenerationRequest) -> dict[str, str | int | float]:
    told: dict[str, str | int | float] = {"prompt": request.prompt, "seed": request.seed}
    return told | ({"negative_prompt": request.negative_prompt} if request.negative_prompt else {})


def _text(request: GenerationRequest, _: Inputs, resolved: Resolved) -> Asked:
    return Asked(_worded(request) | ({"aspect_ratio": resolved.aspect_ratio} if resolved.aspect_ratio else {}))


def _ultra(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    """At the company's own API alone it begins with a picture, too; it has no word for that but the picture itself."""
    found = _text(request, inputs, resolved)
    if request.task is Task.TEXT_TO_IMAGE:
        return found
    return Asked(found.fields | {"strength": _strength(request)}, {"image": _needed(inputs.image, "image")})


def _sd35(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    if request.task is Task.TEXT_TO_IMAGE:
        return Asked(_text(request, inputs, resolved).fields | {"mode": "text-to-image"})
    fields = _worded(request) | {"mode": "image-to-image", "strength": _strength(request)}
    return Asked(fields, {"image": _needed(inputs.image, "image")})


def _strength(request: GenerationRequest) -> float:
    """A picture is never sent without it."""
    return USUAL_STRENGTH if request.strength is None else request.strength


def _edited(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    return Asked(_worded(request), {"image": _needed(inputs.image, "image")})


def _masked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    found = _edited(request, inputs, resolved)
    return Asked(found.fields, found.pictures | {"mask": _needed(inputs.mask, "mask")})


def _expanded(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    sides, found = request.expand, _edited(request, inputs, resolved)
    grown = {} if sides is None else {"left": sides.left, "right": sides.right, "up": sides.top, "down": sides.bottom}
    return Asked(found.fields | grown, found.pictures)


def _controlled(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    return Asked(_worded(request), {"image": _needed(inputs.control, "control")})


def _found(name: str) -> Shape:
    """Of services that look for a part of the picture; `name` is what they call the words for it."""

    def shape(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
        found = _edited(request, inputs, resolved)
        if not request.search_prompt:
            raise InvalidInput("the task needs it", where="spec.prompts[].search", fix="Add it")
        return Asked(found.fields | {name: request.search_prompt}, found.pictures)

    return shape


def _erased(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    pictures = {"image": _needed(inputs.image, "image"), "mask": _needed(inputs.mask, "mask")}
    return Asked({"seed": request.seed}, pictures)


def _plain(_: GenerationRequest, inputs: Inputs, __: Resolved) -> Asked:
    """Of services that are told nothing but the picture."""
    return Asked({}, {"image": _needed(inputs.image, "image")})


def _upscaled(shape: Shape, most: int, longest: int = LARGEST_SIDE) -> Shape:
    """The same for a picture of that many pixels at most; another backend may take what this one does not."""

    def checked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
        picture = read_header(_needed(inputs.image, "image"))
        sides = sorted((picture.width, picture.height))
        if picture.width * picture.height > most or sides[0] < LEAST_SIDE or sides[1] > longest:
            raise Unsupported(
                f"it upscales pictures of {LEAST_SIDE} to {longest} pixels a side, and of {most // MEGAPIXEL} megapixels or less",
                where="spec.inputs.image",
                found=f"{picture.width}x{picture.height}",
            )
        found = shape(request, inputs, resolved)
        if found.fields.get("prompt") == "":
            raise Unsupported("this model needs a prompt", where="spec.prompts", fix="Write one")
        return found

    return checked


def _relit(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    told = _worded(request)
    return Asked({"background_prompt": told.pop("prompt")} | told, {"subject_image": _needed(inputs.image, "image")})


def _styled(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    return Asked(_text(request, inputs, resolved).fields, {"image": _needed(inputs.style, "style")})


def _restyled(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    told = _worded(request)
    if not request.prompt:
        del told["prompt"]
    return Asked(told, {"init_image": _needed(inputs.image, "image"), "style_image": _needed(inputs.style, "style")})


SHAPES: dict[str, Shape] = {
    "core": _text,
    "ultra": _ultra,
    "sd3.5-large": _sd35,
    "inpaint": _masked,
    "outpaint": _expanded,
    "erase": _erased,
    "search-and-replace": _found("search_prompt"),
    "search-and-recolor": _found("select_prompt"),
    "remove-background": _plain,
    "replace-background-and-relight": _relit,
    "control/sketch": _controlled,
    "control/structure": _controlled,
    "control/style": _styled,
    "control/style-transfer": _restyled,
    "upscale/fast": _upscaled(_plain, MEGAPIXEL, LARGEST_SIDE // FAST),
    "upscale/conservative": _upscaled(_edited, 9 * MEGAPIXEL),
    "upscale/creative": _upscaled(_edited, MEGAPIXEL),
}
"""By the names of the company's own API."""


def _needed(data: bytes | None, name: str) -> bytes:
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    return data
