"""What Stability AI's models are asked, whoever serves them: the same fields at Bedrock and at the company's own API.

By docs.aws.amazon.com/bedrock/latest/userguide (model parameters of Stable Image Core, Ultra and SD 3.5, and Stability AI Image
Services), read on 2026-11-28.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from easel_api.errors import InvalidInput, Unsupported
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

LARGEST_SEED = 4294967294


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


def _sd35(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    if request.task is Task.TEXT_TO_IMAGE:
        return Asked(_text(request, inputs, resolved).fields | {"mode": "text-to-image"})
    strength = 0.8 if request.strength is None else request.strength
    fields = _worded(request) | {"mode": "image-to-image", "strength": strength}
    return Asked(fields, {"image": _needed(inputs.image, "image")})


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


SHAPES: dict[str, Shape] = {
    "core": _text,
    "ultra": _text,
    "sd3.5-large": _sd35,
    "inpaint": _masked,
    "outpaint": _expanded,
    "control/sketch": _controlled,
    "control/structure": _controlled,
}
"""Those of which a job can say all that it says. The other services read no prompt (erasing, removing a background, the fast upscale), ask
for a second prompt or picture that no job has a field for (replacing, recolouring, both styles), or choose their own size (upscales)."""


def _needed(data: bytes | None, name: str) -> bytes:
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    return data
