"""A request checked whole against the model, before it waits for its turn; every refusal names the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from easel_api.errors import InvalidInput, Unsupported
from easel_api.generationjob import CLIP_FORMATS, DEFAULT_SCALE, PICTURE_FORMATS
from easel_api.tasks import ADDED, TAKES, AdapterKind, Quality, Task
from easel_inference.generation import AdapterUse, GenerationRequest, Inputs

from .pictures import Pictures, decode
from .sizes import Limits

DEFAULT_STRENGTH = {
    Task.IMAGE_TO_IMAGE: 0.8,
    Task.INPAINT: 1.0,
    Task.OUTPAINT: 1.0,
    Task.UPSCALE: 0.3,
    Task.IMAGE_TO_VIDEO: 0.9,
    Task.VIDEO_TO_VIDEO: 0.7,
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a loaded model can do."""

    tasks: tuple[Task, ...]
    limits: Limits
    adapters: Mapping[str, AdapterKind] = field(default_factory=dict)
    quality: Quality = Quality.EXACT
    arguments: Mapping[Task, frozenset[str]] = field(default_factory=dict)
    """Names of the arguments that each task's pipeline takes; a task without an entry takes all."""
    previews: bool = True

    def takes(self, task: Task, argument: str) -> bool:
        """Whether the task's pipeline has this argument."""
        return task not in self.arguments or argument in self.arguments[task]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that was checked against the model, with its pictures decoded and scaled."""

    request: GenerationRequest
    width: int
    height: int
    frames: int
    pictures: Pictures
    strength: float | None
    quality: Quality
    loras: tuple[tuple[str, float], ...]
    controlnet: str = ""
    control_scale: float = 1.0
    motion: str = ""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that take part."""
        return (*(name for name, _ in self.loras), *filter(None, (self.controlnet, self.motion)))

    @property
    def steps(self) -> int:
        """Steps that the denoising loop makes: the strength leaves out the first ones."""
        return self.request.steps if self.strength is None else int(self.request.steps * self.strength)


def plan(request: GenerationRequest, inputs: Inputs, abilities: Abilities) -> Plan:
    """Raises `InvalidInput` or `Unsupported` with the field that is wrong."""
    _check_fields(request, abilities)
    if request.task is Task.UPSCALE and request.scale is None and request.width is None and request.height is None:
        request = request.model_copy(update={"scale": DEFAULT_SCALE})
    pictures = decode(request, inputs)
    width, height = abilities.limits.size_of(request, pictures.size)
    strength = _strength(request, abilities)
    controlnet, control_scale = _controlnet(request, abilities)
    return Plan(
        request,
        width,
        height,
        abilities.limits.frames_of(request),
        pictures.fitted(request, (width, height)),
        strength,
        request.quality or abilities.quality,
        tuple(sorted((use.name, use.weight) for use in _used(request, abilities, AdapterKind.LORA))),
        controlnet,
        control_scale,
        _motion(request.task, abilities),
    )


def _check_fields(request: GenerationRequest, abilities: Abilities) -> None:
    task = request.task
    if task not in abilities.tasks:
        raise Unsupported(
            "this model cannot do this task", where="task", found=task, fix=f"It does {', '.join(abilities.tasks)}"
        )
    for name, value, taken in _optional(request):
        if value is not None and not taken:
            raise Unsupported(f"{task} takes no {name}", where=name, found=str(value)[:80], fix="Leave it out")
    for name in ("prompt", "negative_prompt", "strength"):
        if getattr(request, name) and not abilities.takes(task, name):
            raise Unsupported(f"this model takes no {name}", where=name, fix="Leave it out")
    if TAKES[task].prompt and TAKES[task].wordless and abilities.takes(task, "prompt") and not request.prompt:
        # Another model of the task may do without, to which the item goes where a class has one.
        raise Unsupported(
            "this model reads a prompt, and there is none", where="prompt", fix="Say what the result shows"
        )
    if request.negative_prompt and request.guidance_scale <= 1:
        raise Unsupported(
            "without guidance a negative prompt changes nothing",
            where="negative_prompt",
            found=f"guidance_scale {request.guidance_scale:g}",
            fix="Ask for a guidance above 1, or leave it out",
        )
    if request.previews and not abilities.previews:
        raise Unsupported("this model shows no unfinished work", where="previews", fix="Leave it out")
    if task is Task.INTERPOLATION and request.end_prompt is None and request.end_seed is None:
        raise InvalidInput("interpolation leads somewhere", where="end_prompt", fix="Name an end prompt or an end seed")
    _check_encoding(request)
    _check_adapters(request, abilities)


def _optional(request: GenerationRequest) -> Iterator[tuple[str, object, bool]]:
    takes = TAKES[request.task]
    yield "strength", request.strength, takes.strength
    yield "frames", request.frames, takes.video
    yield "fps", request.fps, takes.video
    yield "expand", request.expand, takes.expand
    yield "scale", request.scale, takes.scale
    yield "truncation", request.truncation, takes.truncation
    yield "end_prompt", None if request.end_prompt is None else "a text", takes.end
    yield "search_prompt", None if request.search_prompt is None else "a text", takes.search
    yield "end_seed", request.end_seed, takes.end
    yield "mask_colours", request.mask_colours or None, takes.mask


def _check_encoding(request: GenerationRequest) -> None:
    allowed = CLIP_FORMATS if TAKES[request.task].video else PICTURE_FORMATS
    if request.encoding not in allowed:
        raise Unsupported(
            f"{request.task} cannot be stored so",
            where="encoding",
            found=request.encoding,
            fix=f"Ask for {', '.join(allowed)}",
        )


def _check_adapters(request: GenerationRequest, abilities: Abilities) -> None:
    for use in request.adapters:
        if abilities.adapters.get(use.name) not in (AdapterKind.LORA, AdapterKind.CONTROL_NET):
            usable = [name for name, kind in abilities.adapters.items() if kind is not AdapterKind.MOTION]
            raise Unsupported(
                "this model has no such adapter",
                where="adapters",
                found=use.name,
                fix=f"It has {', '.join(usable)}" if usable else "Leave it out: it has none to choose from",
            )
        if abilities.adapters[use.name] is AdapterKind.CONTROL_NET and not TAKES[request.task].control:
            raise Unsupported(
                f"{request.task} follows no ControlNet", where="adapters", found=use.name, fix="Leave it out"
            )


def _used(request: GenerationRequest, abilities: Abilities, kind: AdapterKind) -> list[AdapterUse]:
    return [use for use in request.adapters if abilities.adapters.get(use.name) is kind]


def _controlnet(request: GenerationRequest, abilities: Abilities) -> tuple[str, float]:
    if not TAKES[request.task].control:
        return "", 1.0
    named = _used(request, abilities, AdapterKind.CONTROL_NET)
    present = [name for name, kind in abilities.adapters.items() if kind is AdapterKind.CONTROL_NET]
    if len(named) == 1:
        return named[0].name, named[0].weight
    if not named and len(present) == 1:
        return present[0], 1.0
    raise InvalidInput(
        "name one ControlNet to follow",
        where="adapters",
        found=f"{len(named)} named",
        fix=f"The model has {', '.join(present)}",
    )


def _motion(task: Task, abilities: Abilities) -> str:
    """The motion adapter, where it makes the task; no request names it."""
    moves = any(task in tasks for (_, kind), tasks in ADDED.items() if kind is AdapterKind.MOTION)
    present = (name for name, kind in abilities.adapters.items() if kind is AdapterKind.MOTION)
    return next(present, "") if moves else ""


def _strength(request: GenerationRequest, abilities: Abilities) -> float | None:
    if not TAKES[request.task].strength or not abilities.takes(request.task, "strength"):
        return None
    strength = request.strength or DEFAULT_STRENGTH[request.task]
    if int(request.steps * strength) < 1:
        raise InvalidInput(
            "steps times strength must be at least 1", where="strength", found=f"{request.steps} x {strength}"
        )
    return strength
