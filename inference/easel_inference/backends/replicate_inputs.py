"""What a model of Replicate can be asked, by the schema of its own that each version has.

A model drops an input that it does not know without a word, so that whatever the Provider's offer honours and the schema has no name for is
refused before the call. The names are those of diffusers' pipelines, and what widely used models call the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from easel_api.errors import EnvironmentFault, InvalidInput, Unsupported
from easel_api.offers import Honours
from easel_api.tasks import TAKES
from easel_inference.generation import GenerationRequest, Inputs

from .base import Setup

Value = str | int | float
FORMATS = {"png": ("png",), "jpeg": ("jpg", "jpeg"), "webp": ("webp",), "mp4": ("mp4",)}
"""What models call each encoding."""
ONE = ("num_outputs", "num_images", "number_of_images", "num_samples")
"""Names of how many results there shall be: each is paid for."""
WORDS = ("prompt", "negative_prompt")
"""Inputs that no error may show."""
HONOURED = (
    (Honours.NEGATIVE, ("negative_prompt",)),
    (Honours.SEED, ("seed",)),
    (Honours.STEPS, ("num_inference_steps", "steps")),
    (Honours.GUIDANCE_SCALE, ("guidance_scale", "guidance", "cfg", "cfg_scale")),
    (Honours.STRENGTH, ("prompt_strength", "strength")),
    (Honours.FRAMES, ("num_frames", "frames")),
    (Honours.FPS, ("fps", "frames_per_second")),
    (Honours.SCALE, ("scale", "scale_factor", "upscale_factor")),
)
FILES = (
    (
        "image",
        ("image", "input_image", "init_image", "first_frame_image", "start_image", "input_images", "image_input"),
    ),
    ("mask", ("mask", "mask_image")),
    ("control", ("control_image", "image", "input_image")),
    ("clip", ("video", "input_video")),
)
"""Of the job's inputs: names that hold the same."""


class Schema:
    """The inputs of one version of a model."""

    def __init__(self, described: Mapping[str, Any], model: str) -> None:
        """`described` is the version's OpenAPI description; `EnvironmentFault` when it tells no inputs."""
        self._model = model
        self._parts = _at(described, "components", "schemas")
        self._inputs = _at(self._parts, "Input", "properties")
        if not self._inputs:
            raise EnvironmentFault(
                "the model does not say what it takes",
                where=model,
                found="no schema of its inputs",
                fix="Name a version of it: OWNER/NAME:VERSION",
            )

    def name(self, known: tuple[str, ...], honoured: str) -> str:
        """What the model calls an input; `Unsupported` when it has none, and the offer says that it does."""
        found = next((each for each in known if each in self._inputs), None)
        if found is None:
            raise Unsupported(
                f"the model has no input {' or '.join(known)}",
                where="spec.offers[].honours",
                found=f"{honoured}, offered of {self._model}",
                fix="Take it out of the Provider's offer",
            )
        return found

    def has(self, name: str) -> bool:
        """Whether there is an input of that name."""
        return name in self._inputs

    def is_list(self, name: str) -> bool:
        """Whether the input takes several."""
        return _at(self._inputs, name).get("type") == "array"

    def choices(self, name: str) -> tuple[Any, ...]:
        """What the input may be; empty when the schema names nothing."""
        told = _at(self._inputs, name)
        for part in (told, *(each for each in told.get("allOf", ()) if isinstance(each, dict))):
            reference = str(part.get("$ref", ""))
            named = _at(self._parts, reference.rpartition("/")[2]) if reference else part
            if isinstance(named.get("enum"), list):
                return tuple(named["enum"])
        return ()

    def check(self, name: str, value: Value) -> None:
        """`Unsupported` for what the schema does not allow."""
        if name in WORDS:
            return
        choices, told = self.choices(name), _at(self._inputs, name)
        least, most = told.get("minimum"), told.get("maximum")
        wrong = bool(choices) and value not in choices
        if isinstance(value, int | float):
            wrong = wrong or (isinstance(least, int | float) and value < least)
            wrong = wrong or (isinstance(most, int | float) and value > most)
        if wrong:
            allowed = ", ".join(map(str, choices)) or f"from {least} to {most}"
            raise Unsupported(f"the model's {name} is not that: {allowed}", where=self._model, found=str(value)[:40])


def _at(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        found = told.get(name)
        told = found if isinstance(found, dict) else {}
    return dict(told)


def worded(schema: Schema, request: GenerationRequest, setup: Setup) -> dict[str, Value]:
    """All inputs but files; raises `Unsupported` for what the offer says and the model's schema does not."""
    refuse(request, setup)
    takes = TAKES[request.task]
    if takes.is_named_apart:
        raise Unsupported(
            "Replicate's models share no names for this task", where="spec.task", found=request.task.value
        )
    if request.prompt:
        schema.name(("prompt",), "a prompt")
    elif not takes.wordless and not takes.mute:
        raise InvalidInput("the task needs a prompt", where="spec.prompts", fix="Write one")
    told: dict[str, Value] = {"prompt": request.prompt} if request.prompt else {}
    told |= dict(_honoured(schema, request, setup)) | dict(_shape(schema, setup))
    told |= {name: 1 for name in ONE if schema.has(name)}
    for name, value in told.items():
        schema.check(name, value)
    wanted = FORMATS.get(request.encoding, ())
    given = next((each for each in wanted if each in schema.choices("output_format")), None)
    return told | ({} if given is None else {"output_format": given})


def files(schema: Schema, request: GenerationRequest, inputs: Inputs) -> Iterator[tuple[str, bytes, bool]]:
    """Each input file: what the model calls it, the file, and whether it goes into a list."""
    takes, given = TAKES[request.task], inputs.named()
    for part, known in FILES:
        if not getattr(takes, part):
            continue
        data = given[part]
        if data is None:
            raise InvalidInput("the task needs it", where=f"spec.inputs.{part}", fix="Add it")
        name = schema.name(known, request.task)
        yield name, data, schema.is_list(name)


def refuse(request: GenerationRequest, setup: Setup) -> None:
    """Raises for what no model here has a name for, and the offer says nevertheless."""
    wordless = {
        Honours.QUALITY: request.quality,
        Honours.REPRODUCIBLE: request.reproducible,
        Honours.ADAPTERS: request.adapters,
        Honours.EXPAND: request.expand,
        Honours.MASK_COLOURS: request.mask_colours,
        Honours.END_SEED: request.end_seed,
        Honours.TRUNCATION: request.truncation,
    }
    for honour, value in wordless.items():
        if value and honour in setup.offer.honours:
            raise Unsupported(
                "models of Replicate cannot be told of it",
                where="spec.offers[].honours",
                found=honour.value,
                fix="Take it out of the Provider's offer",
            )
    if request.end_prompt:
        raise Unsupported("models of Replicate take one prompt", where="spec.prompts[].end")


def _honoured(schema: Schema, request: GenerationRequest, setup: Setup) -> Iterator[tuple[str, Value]]:
    values: dict[Honours, Value | None] = {
        Honours.NEGATIVE: request.negative_prompt or None,
        Honours.SEED: request.seed,
        Honours.STEPS: request.steps,
        Honours.GUIDANCE_SCALE: request.guidance_scale,
        Honours.STRENGTH: request.strength,
        Honours.FRAMES: request.frames,
        Honours.FPS: request.fps,
        Honours.SCALE: setup.resolved.scale or request.scale,
    }
    for honour, known in HONOURED:
        value = values[honour]
        if value is not None and honour in setup.offer.honours:
            yield schema.name(known, honour.value), value


def _shape(schema: Schema, setup: Setup) -> Iterator[tuple[str, Value]]:
    """What the plan made of size and length."""
    resolved = setup.resolved
    if resolved.size is not None:
        for name, side in zip(("width", "height"), resolved.size, strict=True):
            yield schema.name((name,), "sizes.free"), side
    if resolved.aspect_ratio is not None:
        yield schema.name(("aspect_ratio",), "sizes.aspectRatios"), resolved.aspect_ratio
    if resolved.tier is not None:
        yield schema.name(("resolution",), "sizes.tiers"), resolved.tier
    if resolved.seconds is not None and Honours.FRAMES not in setup.offer.honours:
        yield schema.name(("duration", "seconds"), "seconds"), resolved.seconds
