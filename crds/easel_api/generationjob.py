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
from .tasks import TAKES, Takes, Task
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
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.task", ".status.phase"),
)

MAX_ITEMS = 1024
"""Items that one job may expand to (prompts × matrix × seeds)."""

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_]*)\s*\}\}")

VARIABLE_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
PREFIX_PATTERN = r"^([A-Za-z0-9][-._A-Za-z0-9]*/)*$"
ENDPOINT_PATTERN = r"^https?://[^[:space:]@?#]+$"
REGION_PATTERN = r"^[-a-z0-9]+$"
PATTERN_WORDS.update(
    {
        VARIABLE_PATTERN: "Letters, digits and _, starting with a letter.",
        PREFIX_PATTERN: "Folders of letters, digits, -, . and _, each followed by a slash and none starting with a dot, such as art/mugs/.",
        ENDPOINT_PATTERN: "http:// or https:// and a host, without user, password or query, such as https://s3.example.org.",
        REGION_PATTERN: "Lower-case letters, digits and -, such as eu-central-1.",
    }
)

MAX_PROMPT = 8000
"""Characters of a prompt after its placeholders are filled."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN, max_length=63)]
VariableValue = Annotated[str, StringConstraints(max_length=256)]
VariableValues = Annotated[list[VariableValue], ListSet(), Field(min_length=1, max_length=64)]
InputUri = Annotated[str, StringConstraints(pattern=INPUT_PATTERN, max_length=1024)]
Prefix = Annotated[str, StringConstraints(pattern=PREFIX_PATTERN, max_length=512)]
Seed = Annotated[int, Field(ge=0, le=4294967295)]
Pixels = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]

PICTURE_FORMATS = ("png", "jpeg", "webp")
CLIP_FORMATS = ("mp4", "gif", "webp")


class FailurePolicy(StrEnum):
    """What a failed item means for its job."""

    ALL_OR_NOTHING = "AllOrNothing"
    KEEP_PARTIAL = "KeepPartial"


class Phase(StrEnum):
    """Where a job is, for people; conditions are the contract."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


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

    text: Annotated[Text, Field(description="The prompt. {{name}} is replaced by each value of matrix.name.")]
    negative: Annotated[
        str, Field(max_length=4000, description="What the picture must not show; {{name}} works here too.")
    ] = ""


class InputFile(ApiModel):
    """A picture to start from."""

    rules: ClassVar[tuple[Rule, ...]] = (no_climbing("uri", lambda source: source.uri),)

    uri: Annotated[
        InputUri,
        Field(
            description="s3://BUCKET/KEY (read with the output store's endpoint and credentials), pvc://CLAIM/PATH in the "
            "job's own namespace, or file://PATH, which only `easel run` accepts. PNG, JPEG or WebP."
        ),
    ]


class Inputs(ApiModel):
    """Pictures that a task starts from."""

    image: Annotated[InputFile | None, Field(description="The picture to change.")] = None
    mask: Annotated[
        InputFile | None, Field(description="White where inpaint may change the image; same size as the image.")
    ] = None


class Parameters(ApiModel):
    """How to make the pictures."""

    width: Annotated[
        Pixels | None,
        Field(description="Width in pixels. Default: the model's own, or the input image's."),
    ] = None
    height: Annotated[
        Pixels | None,
        Field(description="Height in pixels. Default: the model's own, or the input image's."),
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
            description="Share of the input image that may change. Default: 0.8 for image-to-image, 1 for inpaint; other tasks take none.",
        ),
    ] = None
    frames: Annotated[
        int | None, Field(ge=2, le=256, description="Frames of a clip. Default: 8. text-to-video only.")
    ] = None
    fps: Annotated[
        int | None, Field(ge=1, le=60, description="Frames per second of a clip. Default: 8. text-to-video only.")
    ] = None


class SecretReference(ApiModel):
    """A Secret in the job's own namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class S3Store(ApiModel):
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
    endpoint: Annotated[
        str | None,
        Field(max_length=512, pattern=ENDPOINT_PATTERN, description="URL of the S3 endpoint. Default: AWS."),
    ] = None
    region: Annotated[
        str | None,
        Field(max_length=64, pattern=REGION_PATTERN, description="Region of the bucket. Default: us-east-1."),
    ] = None
    credentials_secret_ref: Annotated[
        SecretReference | None,
        Field(
            description="Secret with keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), mounted by the "
            "worker alone. Default: the worker's own identity."
        ),
    ] = None


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


def _uris(spec: GenerationJobSpec) -> list[str]:
    sources = (spec.inputs.image, spec.inputs.mask) if spec.inputs else ()
    return [source.uri for source in sources if source is not None]


def _has_input(spec: GenerationJobSpec, name: str) -> bool:
    return spec.inputs is not None and getattr(spec.inputs, name) is not None


def _tasks(taking: Callable[[Takes], bool]) -> str:
    """The tasks that take something, as a list in CEL."""
    return str([str(task) for task, takes in TAKES.items() if taking(takes)])


_NO_INPUT_STARTS_WITH = (
    "(!has(self.inputs.image) || !self.inputs.image.uri.startsWith('{0}')) && "
    "(!has(self.inputs.mask) || !self.inputs.mask.uri.startsWith('{0}'))"
)


class GenerationJobSpec(ApiModel):
    """What to make. Immutable except `suspend` and `cancel`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"(self.task in {_tasks(lambda takes: takes.image)}) == (has(self.inputs) && has(self.inputs.image))",
            message="image-to-image and inpaint need inputs.image; other tasks take none",
            holds=lambda spec: TAKES[spec.task].image == _has_input(spec, "image"),
            path="inputs.image",
        ),
        Rule(
            cel=f"(self.task in {_tasks(lambda takes: takes.mask)}) == (has(self.inputs) && has(self.inputs.mask))",
            message="inpaint needs inputs.mask; other tasks take none",
            holds=lambda spec: TAKES[spec.task].mask == _has_input(spec, "mask"),
            path="inputs.mask",
        ),
        Rule(
            cel=f"self.task in {_tasks(lambda takes: takes.strength)} || !has(self.parameters) || !has(self.parameters.strength)",
            message="strength is for image-to-image and inpaint only",
            holds=lambda spec: TAKES[spec.task].strength or spec.parameters.strength is None,
            path="parameters.strength",
        ),
        Rule(
            cel=f"self.task in {_tasks(lambda takes: takes.video)} || !has(self.parameters) || !has(self.parameters.frames)",
            message="frames is for text-to-video only",
            holds=lambda spec: TAKES[spec.task].video or spec.parameters.frames is None,
            path="parameters.frames",
        ),
        Rule(
            cel=f"self.task in {_tasks(lambda takes: takes.video)} || !has(self.parameters) || !has(self.parameters.fps)",
            message="fps is for text-to-video only",
            holds=lambda spec: TAKES[spec.task].video or spec.parameters.fps is None,
            path="parameters.fps",
        ),
        Rule(
            cel="!has(self.output) || !has(self.output.format) || "
            f"(self.task in {_tasks(lambda takes: takes.video)} ? self.output.format in {list(CLIP_FORMATS)} "
            f": self.output.format in {list(PICTURE_FORMATS)})",
            message="pictures are png, jpeg or webp; clips are mp4, gif or webp",
            holds=lambda spec: (
                spec.output.format is None
                or spec.output.format in (CLIP_FORMATS if TAKES[spec.task].video else PICTURE_FORMATS)
            ),
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
            holds=lambda spec: not any(uri.startswith("file://") for uri in _uris(spec)),
            path="inputs",
            cluster_only=True,
        ),
        Rule(
            cel="!has(self.inputs) || (has(self.output) && has(self.output.store) && has(self.output.store.s3)) || "
            f"({_NO_INPUT_STARTS_WITH.format('s3://')})",
            message="an s3:// input is read with the endpoint and credentials of output.store.s3, which is missing",
            holds=lambda spec: (
                (spec.output.store is not None and spec.output.store.s3 is not None)
                or not any(uri.startswith("s3://") for uri in _uris(spec))
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
            description="Who may make it, in order of preference: the first that exists and can do the task.",
        ),
    ]
    prompts: Annotated[
        list[Prompt], Immutable(), Field(min_length=1, max_length=256, description="What the pictures show.")
    ]
    matrix: Annotated[
        dict[VariableName, VariableValues],
        Immutable(),
        Field(
            max_length=8,
            description=f"Values for the {{{{name}}}} of the prompts; every combination is made, at most {MAX_ITEMS} items in all.",
        ),
    ] = {}
    inputs: Annotated[Inputs | None, Immutable(), Field(description="Pictures that the task starts from.")] = None
    parameters: Annotated[Parameters, Immutable(), Field(description="How to make the pictures.")] = Parameters()
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
    suspend: Annotated[bool, Field(description="Stop (finished items are kept) until set to false again.")] = False
    cancel: Annotated[bool, Field(description="Stop for good. Finished items are kept. Cannot be taken back.")] = False
    ttl_seconds_after_finished: Annotated[
        int | None,
        Immutable(),
        Field(
            ge=0,
            le=31536000,
            description="Seconds after which a finished job object is deleted; its results stay. Default: never. "
            "Leave it unset for jobs kept in Git, or they are made again.",
        ),
    ] = None

    def combinations(self) -> int:
        """Number of combinations of the matrix (1 when it is empty)."""
        return math.prod(len(values) for values in self.matrix.values())

    def item_count(self) -> int:
        """Number of items this job makes: prompts × matrix × seeds."""
        return len(self.prompts) * self.combinations() * len(self.parameters.seeds)

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


class ChosenBackend(ApiModel):
    """Who makes it and why."""

    model_deployment: Annotated[str, Field(max_length=63, description="Name of the ModelDeployment.")] = ""
    selected_reason: Annotated[str, Field(max_length=64, description="Why this one, as one CamelCase word.")] = ""


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

    Two writers share it by server-side apply. The worker owns items, done, progress, manifest, artifacts and lastFailure;
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
