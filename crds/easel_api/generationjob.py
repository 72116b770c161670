"""`GenerationJob`: pictures or clips to make, written by a user."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .base import (
    NAME_RULE,
    PATTERN_WORDS,
    ApiModel,
    Column,
    Immutable,
    KindInfo,
    ListMap,
    ListSet,
    Name,
    ObjectMeta,
    ObjectName,
    Rule,
    Transition,
)
from .conditions import Condition
from .offers import Money
from .s3 import S3Access
from .tasks import OWN, TAKES, Quality, Takes, Task, in_words
from .uris import BUCKET_PATTERN, FILE_IN_CLUSTER, INPUT_PATTERN, no_climbing

KIND = KindInfo(
    kind="GenerationJob",
    plural="generationjobs",
    singular="generationjob",
    short_names=("gen",),
    columns=(
        Column("Task", ".spec.task"),
        Column("Phase", ".status.phase"),
        Column("Done", ".status.done"),
        Column("Backend", ".status.backend.modelDeployment"),
        Column("Cost", ".status.cost.spent"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
        Column("Maker", ".status.backends[0].name", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.task", ".status.phase"),
)

MAX_ITEMS = 1024
"""Items that one job may expand to (prompts × matrix × seeds)."""

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_]*)\s*\}\}")

VARIABLE_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
PREFIX_PATTERN = r"^([A-Za-z0-9][-._A-Za-z0-9]*/)*$"
COLOUR_PATTERN = r"^#[0-9a-f]{6}$"
PATTERN_WORDS.update(
    {
        VARIABLE_PATTERN: "Letters, digits and _, starting with a letter.",
        PREFIX_PATTERN: "Folders of letters, digits, -, . and _, each followed by a slash and none starting with a dot, such as art/mugs/.",
        COLOUR_PATTERN: "# and six lower-case hex digits, in quotes, since YAML reads a bare # as a comment.",
    }
)

MAX_PROMPT = 8000
"""Characters of a prompt after its placeholders are filled."""

DEFAULT_SCALE = 2
"""How many times as wide and high an upscaled picture is."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN, max_length=63)]
VariableValue = Annotated[str, StringConstraints(max_length=256)]
VariableValues = Annotated[list[VariableValue], ListSet(), Field(min_length=1, max_length=64)]
InputUri = Annotated[str, StringConstraints(pattern=INPUT_PATTERN, max_length=1024)]
Prefix = Annotated[str, StringConstraints(pattern=PREFIX_PATTERN, max_length=512)]
Seed = Annotated[int, Field(ge=0, le=4294967295)]
Pixels = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]
Margin = Annotated[int, Field(ge=0, le=2048, multiple_of=8)]
HexColour = Annotated[str, StringConstraints(pattern=COLOUR_PATTERN, max_length=7)]

PICTURE_FORMATS = ("png", "jpeg", "webp")
CLIP_FORMATS = ("mp4", "gif", "webp")
"""What pictures and clips may be stored as, those that a job starts from and those that it makes."""


class FailurePolicy(StrEnum):
    """What a failed item means for its job."""

    ALL_OR_NOTHING = "AllOrNothing"
    KEEP_PARTIAL = "KeepPartial"


def _taking(taking: Callable[[Takes], bool]) -> list[str]:
    """The tasks that take something, by name; printed, it is a list in CEL too."""
    return [task.value for task, takes in TAKES.items() if taking(takes)]


def _only(taking: Callable[[Takes], bool]) -> str:
    """For a description: the tasks that take a field."""
    return f"For {in_words(_taking(taking))} only."


class Phase(StrEnum):
    """Where a job is, for people; conditions are the contract."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


TERMINAL = frozenset({Phase.COMPLETE, Phase.FAILED, Phase.CANCELLED})
"""Phases of jobs that are over."""


class OnUnsupported(StrEnum):
    """What becomes of a field that a provider cannot honour."""

    REJECT = "Reject"
    ADAPT = "Adapt"


class Budget(ApiModel):
    """What may be spent."""

    max: Annotated[Money, Field(description="At most, over all items. A call that would exceed it is not made.")]
    currency: Annotated[Literal["USD"], Field(description="Of the amount.")] = "USD"


class BackendReference(ApiModel):
    """Who may make the pictures."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.modelDeployment)",
            message="name exactly one backend: modelDeployment",
            holds=lambda reference: reference.model_deployment is not None,
            path="modelDeployment",
        ),
    )

    model_deployment: Annotated[
        Name | None, Field(description="Name of a ModelDeployment in the job's own namespace.")
    ] = None


class Prompt(ApiModel):
    """What the picture shows."""

    text: Annotated[
        Text,
        Field(
            description="The prompt. {{name}} is replaced by each value of matrix.name. "
            f"For {in_words(_taking(lambda takes: not takes.prompt))} the name of one of the generator's classes."
        ),
    ]
    negative: Annotated[
        str, Field(max_length=4000, description="What the picture must not show; {{name}} works here too.")
    ] = ""
    end: Annotated[
        Text | None,
        Field(
            description="What the clip leads to, from what text says; {{name}} works here too. "
            f"{_only(lambda takes: takes.end)}"
        ),
    ] = None
    search: Annotated[
        Text | None,
        Field(
            description="What of the picture is meant, such as the mug, while text says what it becomes; {{name}} works here too. "
            f"{_only(lambda takes: takes.search)}"
        ),
    ] = None


class InputFile(ApiModel):
    """A picture or clip to start from."""

    rules: ClassVar[tuple[Rule, ...]] = (no_climbing("uri", lambda source: source.uri),)

    uri: Annotated[
        InputUri,
        Field(
            description="s3://BUCKET/KEY (read with the output store's endpoint and credentials), pvc://CLAIM/PATH in the "
            "job's own namespace, or file://PATH, which only `easel run` accepts."
        ),
    ]


class Inputs(ApiModel):
    """Pictures and clips that a task starts from."""

    image: Annotated[
        InputFile | None,
        Field(description=f"The picture to change: PNG, JPEG or WebP. {_only(lambda takes: takes.image)}"),
    ] = None
    mask: Annotated[
        InputFile | None,
        Field(
            description="Where the image may change, in a picture of its size: the white pixels, or those of "
            f"parameters.maskColours. {_only(lambda takes: takes.mask)}"
        ),
    ] = None
    control: Annotated[
        InputFile | None,
        Field(
            description="The picture that a ControlNet follows, such as a segmentation map: PNG, JPEG or WebP. "
            f"{_only(lambda takes: takes.control)}"
        ),
    ] = None
    clip: Annotated[
        InputFile | None,
        Field(description=f"The clip to change: MP4, GIF or animated WebP. {_only(lambda takes: takes.clip)}"),
    ] = None
    style: Annotated[
        InputFile | None,
        Field(description=f"A picture in the style to draw in: PNG, JPEG or WebP. {_only(lambda takes: takes.style)}"),
    ] = None
    garment: Annotated[
        InputFile | None,
        Field(
            description="A picture of the piece of clothing that the person in image is to wear: PNG, JPEG or WebP. "
            f"{_only(lambda takes: takes.garment)}"
        ),
    ] = None


class Expand(ApiModel):
    """How far a picture grows on each side."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=" || ".join(f"(has(self.{side}) && self.{side} > 0)" for side in ("left", "top", "right", "bottom")),
            message="at least one of left, top, right and bottom must be above 0",
            holds=lambda expand: expand.left + expand.top + expand.right + expand.bottom > 0,
        ),
    )

    left: Annotated[Margin, Field(description="Pixels added on the left.")] = 0
    top: Annotated[Margin, Field(description="Pixels added at the top.")] = 0
    right: Annotated[Margin, Field(description="Pixels added on the right.")] = 0
    bottom: Annotated[Margin, Field(description="Pixels added at the bottom.")] = 0


class Parameters(ApiModel):
    """How to make the pictures."""

    width: Annotated[
        Pixels | None,
        Field(description="Width in pixels. Default: the model's own, or the input's as expand and scale let it grow."),
    ] = None
    height: Annotated[
        Pixels | None,
        Field(
            description="Height in pixels. Default: the model's own, or the input's as expand and scale let it grow."
        ),
    ] = None
    steps: Annotated[int, Field(ge=1, le=200, description="Denoising steps.")] = 20
    guidance_scale: Annotated[
        float,
        Field(
            ge=0,
            le=50,
            description="How closely to follow the prompt (classifier-free guidance); 1 and below leave guidance off.",
        ),
    ] = 4.0
    seeds: Annotated[
        list[Seed],
        ListSet(),
        Field(
            min_length=1, max_length=1024, description="One result for each prompt and seed; all differ. Default: [0]."
        ),
    ] = [0]
    strength: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="Share of the input that may change. Default: 0.8 for image-to-image, 1 for inpaint and outpaint, "
            "0.3 for upscale, 0.9 for image-to-video, 0.7 for video-to-video; other tasks take none.",
        ),
    ] = None
    frames: Annotated[
        int | None,
        Field(
            ge=2,
            le=256,
            description="Frames of a clip. Default: 8, or what comes nearest of the numbers that the model can make. "
            f"{_only(lambda takes: takes.video)}",
        ),
    ] = None
    fps: Annotated[
        int | None,
        Field(ge=1, le=60, description=f"Frames per second of a clip. Default: 8. {_only(lambda takes: takes.video)}"),
    ] = None
    end_seed: Annotated[
        Seed | None,
        Field(
            description=f"Seed that the clip leads to, from each of seeds. Default: none. {_only(lambda takes: takes.end)}"
        ),
    ] = None
    mask_colours: Annotated[
        list[HexColour] | None,
        ListSet(),
        Field(
            min_length=1,
            max_length=16,
            description="Colours of inputs.mask, a segmentation map then, whose pixels are drawn anew. "
            f"Default: a white mask. {_only(lambda takes: takes.mask)}",
        ),
    ] = None
    expand: Annotated[
        Expand | None,
        Field(description=f"How far the picture grows on each side. {_only(lambda takes: takes.expand)}"),
    ] = None
    scale: Annotated[
        int | None,
        Field(
            ge=2,
            le=4,
            description="How many times as wide and high the picture becomes. "
            f"Default: {DEFAULT_SCALE}, unless width or height say; a provider's model has one of its own. {_only(lambda takes: takes.scale)}",
        ),
    ] = None
    truncation: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="How far a generator strays from its average picture: less is more alike and more flawless. "
            f"Default: 1. {_only(lambda takes: takes.truncation)}",
        ),
    ] = None


class AdapterUse(ApiModel):
    """An adapter to use, and how much."""

    name: Annotated[Name, Field(description="Name of a LoRA or ControlNet in the ModelDeployment's spec.adapters.")]
    weight: Annotated[
        float,
        Field(ge=-4, le=4, description="How strongly it works; below 0 a LoRA works the other way round."),
    ] = 1.0


class S3Store(S3Access):
    """A bucket of any S3 endpoint."""

    bucket: Annotated[
        str,
        Field(
            pattern=BUCKET_PATTERN,
            max_length=63,
            description="Name of the bucket; it must exist.",
        ),
    ]
    prefix: Annotated[
        Prefix,
        Field(description="Prefix of every key. Default: none; the job's name always follows."),
    ] = ""


class ClaimStore(ApiModel):
    """A PersistentVolumeClaim in the job's own namespace."""

    claim_name: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        Prefix,
        Field(description="Folder in the volume. Default: its root; a folder with the job's name always follows."),
    ] = ""


class Store(ApiModel):
    """Where results go."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.s3) != has(self.persistentVolumeClaim)",
            message="name exactly one store: s3 or persistentVolumeClaim",
            holds=lambda store: (store.s3 is None) != (store.persistent_volume_claim is None),
        ),
    )

    s3: Annotated[S3Store | None, Field(description="A bucket of any S3 endpoint.")] = None
    persistent_volume_claim: Annotated[ClaimStore | None, Field(description="A PersistentVolumeClaim.")] = None


class Previews(ApiModel):
    """Small pictures of unfinished work."""

    every_steps: Annotated[int, Field(ge=1, le=200, description="A preview after every so many denoising steps.")]
    size: Annotated[int, Field(ge=32, le=256, description="Longest side in pixels.")] = 128


class Output(ApiModel):
    """Where results go and how they are encoded."""

    store: Annotated[
        Store | None, Field(description="Where results go. Only `easel run` does without: it writes to a local folder.")
    ] = None
    format: Annotated[
        Literal["png", "jpeg", "webp", "mp4", "gif"] | None,
        Field(
            description="Default: png for pictures, mp4 for clips. Pictures: png, jpeg or webp; clips: mp4, gif or webp."
        ),
    ] = None
    previews: Annotated[
        Previews | None, Field(description="Store small pictures of unfinished work. Default: none.")
    ] = None


def _has_size(spec: GenerationJobSpec) -> bool:
    return spec.parameters.width is not None or spec.parameters.height is not None


def _needed_input(name: str) -> Rule:
    """The tasks that take this input need it, the others take none."""
    tasks = _taking(lambda takes: getattr(takes, name))
    return Rule(
        cel=f"(self.task in {tasks}) == (has(self.inputs) && has(self.inputs.{name}))",
        message=f"{in_words(tasks)} {'need' if len(tasks) > 1 else 'needs'} inputs.{name}; other tasks take none",
        holds=lambda spec: (spec.task in tasks) == (spec.inputs is not None and getattr(spec.inputs, name) is not None),
        path=f"inputs.{name}",
    )


def _limited(name: str, taking: Callable[[Takes], bool]) -> Rule:
    """A parameter of some tasks only."""
    tasks, field = _taking(taking), Parameters.model_fields[name].alias
    return Rule(
        cel=f"self.task in {tasks} || !has(self.parameters) || !has(self.parameters.{field})",
        message=f"{field} is for {in_words(tasks)} only",
        holds=lambda spec: spec.task in tasks or getattr(spec.parameters, name) is None,
        path=f"parameters.{field}",
    )


_WORDLESS = _taking(lambda takes: takes.wordless)
_WITHOUT_PROMPT = _taking(lambda takes: takes.wordless or takes.mute)
_MUTE = _taking(lambda takes: takes.mute)
_SEARCHING = _taking(lambda takes: takes.search)
_TRANSPARENT = _taking(lambda takes: takes.transparent)
_OF_PROVIDERS = [task.value for task in Task if task not in OWN]
_WITH_END = _taking(lambda takes: takes.end)
_NEEDING_END = _taking(lambda takes: takes.end and takes.prompt)
"""Without an end such a clip would stand still; a generator without prompts finds its own way."""
_EXPANDED = _taking(lambda takes: takes.expand)

_HAS_SIZE = "has(self.parameters.width) || has(self.parameters.height)"

_NO_INPUT_STARTS_WITH = " && ".join(
    f"(!has(self.inputs.{name}) || !self.inputs.{name}.uri.startsWith('{{0}}'))" for name in Inputs.model_fields
)


class GenerationJobSpec(ApiModel):
    """What to make. Immutable except `suspend`, `cancel` and `priorityClassName`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.backends) != has(self.generationClassName)",
            message="name exactly one: backends or generationClassName",
            holds=lambda spec: bool(spec.backends) != (spec.generation_class_name is not None),
            path="backends",
        ),
        Rule(
            cel="has(self.generationClassName) || !has(self.budget)",
            message="budget is for jobs of a generationClassName, whose providers cost money",
            holds=lambda spec: spec.budget is None or spec.generation_class_name is not None,
            path="budget",
        ),
        Rule(
            cel="has(self.generationClassName) || !has(self.onUnsupported)",
            message="onUnsupported is for jobs of a generationClassName, whose providers honour fewer fields",
            holds=lambda spec: spec.on_unsupported is None or spec.generation_class_name is not None,
            path="onUnsupported",
        ),
        Rule(
            cel=f"!(self.task in {_OF_PROVIDERS}) || has(self.generationClassName)",
            message="a task that providers alone do needs a generationClassName",
            holds=lambda spec: spec.task in OWN or spec.generation_class_name is not None,
            path="generationClassName",
        ),
        Rule(
            cel=f"self.task in {_WITHOUT_PROMPT} || (has(self.prompts) && self.prompts.size() > 0)",
            message="this task needs prompts",
            holds=lambda spec: spec.task in _WITHOUT_PROMPT or bool(spec.prompts),
            path="prompts",
        ),
        Rule(
            cel=f"!(self.task in {_MUTE}) || !has(self.prompts) || self.prompts.size() == 0",
            message=f"{in_words(_MUTE)} read no prompts; leave them out",
            holds=lambda spec: spec.task not in _MUTE or not spec.prompts,
            path="prompts",
        ),
        Rule(
            cel=f"!has(self.prompts) || self.prompts.all(p, (self.task in {_SEARCHING}) == has(p.search))",
            message=f"{in_words(_SEARCHING)} need a search in each prompt; other tasks take none",
            holds=lambda spec: all((spec.task in _SEARCHING) == (prompt.search is not None) for prompt in spec.prompts),
            path="prompts",
        ),
        Rule(
            cel=f"self.task in {_WITH_END} || !has(self.prompts) || !self.prompts.exists(p, has(p.end))",
            message=f"end is for {in_words(_WITH_END)} only",
            holds=lambda spec: spec.task in _WITH_END or all(prompt.end is None for prompt in spec.prompts),
            path="prompts",
        ),
        Rule(
            cel=f"!(self.task in {_NEEDING_END}) || (has(self.parameters) && has(self.parameters.endSeed)) || "
            "!has(self.prompts) || self.prompts.all(p, has(p.end))",
            message=f"{in_words(_NEEDING_END)} needs an end in each prompt, or parameters.endSeed",
            holds=lambda spec: (
                spec.task not in _NEEDING_END
                or spec.parameters.end_seed is not None
                or all(prompt.end is not None for prompt in spec.prompts)
            ),
            path="prompts",
        ),
        *(_needed_input(name) for name in Inputs.model_fields),
        Rule(
            cel=f"(self.task in {_EXPANDED}) == (has(self.parameters) && has(self.parameters.expand))",
            message=f"{in_words(_EXPANDED)} needs parameters.expand; other tasks take none",
            holds=lambda spec: (spec.task in _EXPANDED) == (spec.parameters.expand is not None),
            path="parameters.expand",
        ),
        Rule(
            cel=f"!(self.task in {_EXPANDED}) || !has(self.parameters) || !({_HAS_SIZE})",
            message=f"{in_words(_EXPANDED)} takes no width and height: expand decides",
            holds=lambda spec: spec.task not in _EXPANDED or not _has_size(spec),
            path="parameters",
        ),
        Rule(
            cel=f"!has(self.parameters) || !has(self.parameters.scale) || !({_HAS_SIZE})",
            message="name either scale or width and height",
            holds=lambda spec: spec.parameters.scale is None or not _has_size(spec),
            path="parameters.scale",
        ),
        _limited("strength", lambda takes: takes.strength),
        _limited("frames", lambda takes: takes.video),
        _limited("fps", lambda takes: takes.video),
        _limited("end_seed", lambda takes: takes.end),
        _limited("mask_colours", lambda takes: takes.mask),
        _limited("scale", lambda takes: takes.scale),
        _limited("truncation", lambda takes: takes.truncation),
        Rule(
            cel="!has(self.output) || !has(self.output.format) || "
            f"(self.task in {_taking(lambda takes: takes.video)} ? self.output.format in {list(CLIP_FORMATS)} "
            f": self.output.format in {list(PICTURE_FORMATS)})",
            message="pictures are png, jpeg or webp; clips are mp4, gif or webp",
            holds=lambda spec: (
                spec.output.format is None
                or spec.output.format in (CLIP_FORMATS if TAKES[spec.task].video else PICTURE_FORMATS)
            ),
            path="output.format",
        ),
        Rule(
            cel=f"!(self.task in {_TRANSPARENT}) || !has(self.output) || !has(self.output.format) || self.output.format == 'png'",
            message=f"{in_words(_TRANSPARENT)} gives png, which keeps what is transparent",
            holds=lambda spec: spec.task not in _TRANSPARENT or spec.output.format in (None, "png"),
            path="output.format",
        ),
        Rule(
            cel="has(self.output) && has(self.output.store)",
            message="a job in a cluster needs output.store",
            holds=lambda spec: spec.output.store is not None,
            path="output.store",
            cluster_only=True,
        ),
        Rule(
            cel=f"!has(self.inputs) || ({_NO_INPUT_STARTS_WITH.format('file://')})",
            message=f"{FILE_IN_CLUSTER} s3:// or pvc://",
            holds=lambda spec: not any(uri.startswith("file://") for uri in spec.input_uris()),
            path="inputs",
            cluster_only=True,
        ),
        Rule(
            cel="!has(self.inputs) || (has(self.output) && has(self.output.store) && has(self.output.store.s3)) || "
            f"({_NO_INPUT_STARTS_WITH.format('s3://')})",
            message="an s3:// input is read with the endpoint and credentials of output.store.s3, which is missing",
            holds=lambda spec: (
                (spec.output.store is not None and spec.output.store.s3 is not None)
                or not any(uri.startswith("s3://") for uri in spec.input_uris())
            ),
            path="inputs",
            cluster_only=True,
        ),
    )
    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition(
            cel="!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            message="cancel cannot be taken back",
            holds=lambda old, new: new.cancel or not old.cancel,
            path="cancel",
        ),
    )

    task: Annotated[
        Task,
        Immutable(),
        Field(description="What to make. The tasks differ in the inputs and parameters that they take."),
    ]
    backends: Annotated[
        list[BackendReference],
        Immutable(),
        Field(
            min_length=1,
            max_length=8,
            description="Who may make it, in order of preference: the first that exists and can do the task. Either these or generationClassName.",
        ),
    ] = []
    generation_class_name: Annotated[
        Name | None,
        Immutable(),
        Field(
            description="Name of a GenerationClass, which says who may make it: the team's own models, or providers within policy and budget."
        ),
    ] = None
    budget: Annotated[
        Budget | None,
        Immutable(),
        Field(description="What providers may be paid for it. Default: what the class says, else no limit of its own."),
    ] = None
    on_unsupported: Annotated[
        OnUnsupported | None,
        Immutable(),
        Field(
            description="Reject: a provider that cannot honour a field that is set is not taken. Adapt: it may, and the manifest records "
            "what was asked and what was delivered. Default: Reject."
        ),
    ] = None
    prompts: Annotated[
        list[Prompt],
        Immutable(),
        Field(
            max_length=256,
            description="What the pictures show. At least one, except that "
            f"{in_words(_WORDLESS)} also go without, where the model reads none, and {in_words(_MUTE)} always.",
        ),
    ] = []
    matrix: Annotated[
        dict[VariableName, VariableValues],
        Immutable(),
        Field(
            max_length=8,
            description=f"Values for the {{{{name}}}} of the prompts; every combination is made, at most {MAX_ITEMS} items in all.",
        ),
    ] = {}
    inputs: Annotated[
        Inputs | None, Immutable(), Field(description="Pictures and clips that the task starts from.")
    ] = None
    parameters: Annotated[Parameters, Immutable(), Field(description="How to make the pictures.")] = Parameters()
    adapters: Annotated[
        list[AdapterUse],
        Immutable(),
        ListMap(("name",)),
        Field(max_length=8, description="Adapters of the ModelDeployment to use, by name."),
    ] = []
    quality: Annotated[
        Quality | None,
        Immutable(),
        Field(
            description="Exact computes every denoising step. Standard computes about three quarters of them and Draft about half; "
            "the others are extrapolated, which is faster and shows in fine detail. Default: the model's spec.engine.quality."
        ),
    ] = None
    reproducible: Annotated[
        bool,
        Immutable(),
        Field(
            description="Make the same bytes again on the same machine and versions. Items are then never computed together with "
            "others, so a job of many takes longer."
        ),
    ] = False
    output: Annotated[Output, Immutable(), Field(description="Where results go and how they are encoded.")] = Output()
    max_attempts: Annotated[
        int, Immutable(), Field(ge=1, le=10, description="Tries for each item when the backend fails.")
    ] = 3
    failure_policy: Annotated[
        FailurePolicy,
        Immutable(),
        Field(
            description="AllOrNothing: one failed item fails the job. KeepPartial: the job completes and names the failed items."
        ),
    ] = FailurePolicy.ALL_OR_NOTHING
    deadline_seconds: Annotated[
        int | None,
        Immutable(),
        Field(
            ge=1, le=2592000, description="Seconds that the job may run once its worker has started. Default: no limit."
        ),
    ] = None
    priority_class_name: Annotated[
        Name | None,
        Field(
            description="Name of a class that the platform defines in the chart's values: jobs of a higher one begin first, and their "
            "steps go first in the engine. A change counts until the worker starts. Default: none, which ranks as 0."
        ),
    ] = None
    suspend: Annotated[bool, Field(description="Stop (finished items are kept) until set to false again.")] = False
    cancel: Annotated[bool, Field(description="Stop for good. Finished items are kept. Cannot be taken back.")] = False
    ttl_seconds_after_finished: Annotated[
        int | None,
        Immutable(),
        Field(
            ge=0,
            le=31536000,
            description="Seconds after which a finished job object is deleted; its results stay. Default: never. "
            "Of a job that Argo CD, Flux or Helm would make anew its pods are deleted, and the object stays.",
        ),
    ] = None

    def combinations(self) -> int:
        """Number of combinations of the matrix (1 when it is empty)."""
        return math.prod(len(values) for values in self.matrix.values())

    def item_count(self) -> int:
        """Number of items this job makes: prompts (one empty prompt when there are none) × matrix × seeds."""
        return max(1, len(self.prompts)) * self.combinations() * len(self.parameters.seeds)

    def input_uris(self) -> list[str]:
        """Where the pictures and clips are that it starts from."""
        files = (getattr(self.inputs, name) for name in Inputs.model_fields) if self.inputs else ()
        return [file.uri for file in files if file is not None]

    def resolved_format(self) -> str:
        """Encoding of the results."""
        return self.output.format or ("mp4" if TAKES[self.task].video else "png")


class ItemCounts(ApiModel):
    """Items of a job by state."""

    total: Annotated[int, Field(ge=0, description="Items that the job makes.")] = 0
    succeeded: Annotated[int, Field(ge=0, description="Items stored and read back.")] = 0
    failed: Annotated[int, Field(ge=0, description="Items given up.")] = 0
    running: Annotated[int, Field(ge=0, description="Items being made.")] = 0


class Progress(ApiModel):
    """How far the denoising is, over all items."""

    percent: Annotated[int, Field(ge=0, le=100, description="Share of the steps done.")] = 0
    steps_done: Annotated[int, Field(ge=0, description="Denoising steps done.")] = 0
    steps_total: Annotated[int, Field(ge=0, description="Denoising steps of the whole job.")] = 0
    eta_seconds: Annotated[int | None, Field(ge=0, description="Estimated seconds to the end.")] = None


class Cost(ApiModel):
    """What a job of a class costs."""

    estimated: Annotated[
        Money | None,
        Field(
            description="What all items cost where each is made by the backend whose turn it is, without what a video indexer takes; told when the worker begins. "
            "Default: none, where nobody can tell before."
        ),
    ] = None
    spent: Annotated[
        Money | None,
        Field(
            description="What each provider told with its result, else the price that was known before the call; with what may have been "
            "paid where nobody heard of a call's end. Default: none, while no provider was asked."
        ),
    ] = None
    unpriced: Annotated[
        int,
        Field(
            ge=0, description="Results that were paid for and of which nobody knows how much; they are not in spent."
        ),
    ] = 0
    currency: Annotated[Literal["USD"], Field(description="Of the amounts.")] = "USD"


class ChosenBackend(ApiModel):
    """Who makes it and why."""

    model_deployment: Annotated[str, Field(max_length=63, description="Name of the ModelDeployment.")] = ""
    selected_reason: Annotated[str, Field(max_length=64, description="Why this one, as one CamelCase word.")] = ""


MAX_SHARES, MAX_SHARE_MESSAGE = 32, 1024


class BackendShare(ApiModel):
    """What a backend of the class has of the job."""

    name: Annotated[
        str,
        Field(max_length=320, description="A ModelDeployment, or a Provider and its model: PROVIDER/MODEL."),
    ]
    items: Annotated[int, Field(ge=0, description="Results that it made and that are stored.")] = 0
    selected_reason: Annotated[
        str,
        Field(
            max_length=64,
            description="Why it was taken for the latest item: Ordered, Cheapest, Fastest or BestQuality by the policy, Weight when it was drawn, "
            "Fallback when those before it may not, NothingElse when the class would pass it over and all others are out.",
        ),
    ] = ""
    message: Annotated[
        str,
        Field(
            max_length=MAX_SHARE_MESSAGE,
            description="Who was passed over for that item, and why; the manifest says it of each item.",
        ),
    ] = ""


class Artifact(ApiModel):
    """One stored result."""

    item: Annotated[str, Field(max_length=64, description="Id of the item.")]
    uri: Annotated[str, Field(max_length=2048, description="Where it is.")]
    sha256: Annotated[str, Field(max_length=64, description="Hash of its bytes.")]
    bytes: Annotated[int, Field(ge=0, description="Size in bytes.")]
    media_type: Annotated[str, Field(max_length=64, description="MIME type.")]
    seed: Annotated[int, Field(ge=0, description="Seed it was made with.")]


class Failure(ApiModel):
    """Why something failed."""

    reason: Annotated[str, Field(max_length=64, description="One word of the error tree, such as InvalidInput.")]
    message: Annotated[str, Field(max_length=2048, description="For a person to read.")] = ""
    item: Annotated[str, Field(max_length=64, description="Id of the item, when one failed.")] = ""
    attempt: Annotated[int, Field(ge=0, description="Which try.")] = 0
    retryable: Annotated[bool, Field(description="Whether trying again may help.")] = False


class GenerationJobStatus(ApiModel):
    """The observed state.

    Two writers share it by server-side apply. The worker owns items, done, progress, cost, backends, waitingFor, manifest, artifacts and lastFailure;
    the operator owns the rest, and writes done and lastFailure only while no worker has run.
    """

    observed_generation: Annotated[int, Field(ge=0, description="metadata.generation that this status is about.")] = 0
    phase: Annotated[Phase | None, Field(description="For people; conditions are the contract.")] = None
    conditions: Annotated[
        list[Condition],
        ListMap(("type",)),
        Field(max_length=16, description="Ready, Reconciling, Stalled, Complete, Failed, Suspended."),
    ] = []
    backend: Annotated[ChosenBackend | None, Field(description="Who makes it and why.")] = None
    start_time: Annotated[
        str | None, Field(max_length=40, description="When the worker was created, RFC 3339 in UTC.")
    ] = None
    completion_time: Annotated[str | None, Field(max_length=40, description="When the job ended, RFC 3339 in UTC.")] = (
        None
    )
    items: Annotated[ItemCounts | None, Field(description="Items by state.")] = None
    done: Annotated[str, Field(max_length=16, description="Finished items of all, such as 12/16.")] = ""
    progress: Annotated[Progress | None, Field(description="How far the denoising is.")] = None
    cost: Annotated[Cost | None, Field(description="What it costs, of a job of a class.")] = None
    backends: Annotated[
        list[BackendShare],
        ListMap(("name",)),
        Field(
            max_length=MAX_SHARES,
            description="Of a job of a class: who makes how much of it, and why; those with most items first.",
        ),
    ] = []
    waiting_for: Annotated[
        str,
        Field(
            max_length=MAX_SHARE_MESSAGE,
            description="Of a job of a class: what keeps each backend from making the latest item, while none may.",
        ),
    ] = ""
    manifest: Annotated[str, Field(max_length=2048, description="Where the manifest of all results is.")] = ""
    artifacts: Annotated[
        list[Artifact],
        ListMap(("item",)),
        Field(max_length=20, description="The first 20 results; the manifest has all."),
    ] = []
    last_failure: Annotated[Failure | None, Field(description="The latest failure.")] = None


class GenerationJob(ApiModel):
    """Pictures or clips to make, once."""

    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    api_version: Literal["easel.dev/v1alpha1"] = "easel.dev/v1alpha1"
    kind: Literal["GenerationJob"] = "GenerationJob"
    metadata: ObjectMeta
    spec: GenerationJobSpec
    status: GenerationJobStatus = GenerationJobStatus()
