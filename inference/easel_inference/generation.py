"""The neutral request and its events: what every backend takes and gives.

One `GenerationRequest` makes one item: a picture or a clip. Input pictures and clips travel beside it as encoded bytes
(`Inputs`), results as `Result` with their encoded bytes. Nothing here knows of torch, Triton or Kubernetes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from easel_api.errors import ErrorReport
from easel_api.generationjob import MAX_PROMPT
from easel_api.tasks import Quality, Task

Encoding = Literal["png", "jpeg", "webp", "mp4", "gif"]
HexColour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]

MEDIA_TYPES: dict[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "gif": "image/gif",
}
SUFFIXES: dict[str, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "mp4": ".mp4", "gif": ".gif"}


class _Neutral(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreviewOptions(_Neutral):
    """Small pictures of unfinished work: one every `every_steps` steps, `size` pixels on the longest side."""

    every_steps: Annotated[int, Field(ge=1, le=200)]
    size: Annotated[int, Field(ge=32, le=256)] = 128


class AdapterUse(_Neutral):
    """An adapter of the model and how strongly it works: a LoRA's weight or a ControlNet's conditioning scale."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    weight: Annotated[float, Field(ge=-4, le=4)] = 1.0


class Expand(_Neutral):
    """Pixels that an outpainted picture gains on each side."""

    left: Annotated[int, Field(ge=0, le=2048)] = 0
    top: Annotated[int, Field(ge=0, le=2048)] = 0
    right: Annotated[int, Field(ge=0, le=2048)] = 0
    bottom: Annotated[int, Field(ge=0, le=2048)] = 0


class GenerationRequest(_Neutral):
    """One item to make. `None` means the model's own default."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    task: Task
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)]
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    width: Annotated[int | None, Field(ge=64, le=4096, multiple_of=8)] = None
    height: Annotated[int | None, Field(ge=64, le=4096, multiple_of=8)] = None
    steps: Annotated[int, Field(ge=1, le=200)] = 20
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 4.0
    strength: Annotated[float | None, Field(gt=0, le=1)] = None
    frames: Annotated[int | None, Field(ge=2, le=256)] = None
    fps: Annotated[int | None, Field(ge=1, le=60)] = None
    end_prompt: Annotated[str | None, Field(max_length=MAX_PROMPT)] = None
    search_prompt: Annotated[str | None, Field(max_length=MAX_PROMPT)] = None
    """What of the picture is meant, while the prompt says what it becomes."""
    end_seed: Annotated[int | None, Field(ge=0, le=2**32 - 1)] = None
    adapters: Annotated[tuple[AdapterUse, ...], Field(max_length=8)] = ()
    mask_colours: Annotated[tuple[HexColour, ...], Field(max_length=16)] = ()
    """Colours of the mask, a segmentation map then, whose pixels are drawn anew; none: the white ones."""
    expand: Expand | None = None
    scale: Annotated[int | None, Field(ge=2, le=4)] = None
    truncation: Annotated[float | None, Field(gt=0, le=1)] = None
    quality: Quality | None = None
    reproducible: bool = False
    """The same bytes again on the same machine and versions: never joined with others."""
    encoding: Encoding = "png"
    previews: PreviewOptions | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher goes first."""
    deadline_seconds: Annotated[float | None, Field(gt=0)] = None
    """Seconds from acceptance in which the result is wanted; the engine orders by it and drops what is too late."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Encoded inputs of a request: pictures as PNG, JPEG or WebP, the clip as MP4, GIF or animated WebP."""

    image: bytes | None = None
    mask: bytes | None = None
    control: bytes | None = None
    """What a ControlNet follows: a segmentation map, edges, depth."""
    clip: bytes | None = None
    style: bytes | None = None
    """A picture of which the style alone counts."""
    garment: bytes | None = None
    """What the person in the picture is to wear."""

    def named(self) -> dict[str, bytes | None]:
        """The parts by name, in the order of the fields."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


UNDECISIVE = frozenset({"id", "previews", "priority", "deadline_seconds"})
"""Fields of a request that say how it is served, not what it shows."""


def fingerprint(request: GenerationRequest, inputs: Inputs) -> str:
    """sha256 (hex) over everything that decides the result."""
    digest = hashlib.sha256(request.model_dump_json(exclude=set(UNDECISIVE)).encode())
    for part in inputs.named().values():
        digest.update(b"\0" if part is None else hashlib.sha256(part).digest())
    return digest.hexdigest()


class Timings(_Neutral):
    """Where the seconds of a request went, measured in the engine."""

    queued: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0
    encode: float = 0.0
    total: float = 0.0


class Accepted(_Neutral):
    """The engine took the request."""

    kind: Literal["accepted"] = "accepted"


class StepDone(_Neutral):
    """One denoising step ended; `steps` is how many this request takes in all."""

    kind: Literal["step"] = "step"
    step: int
    steps: int


class Preview(_Neutral):
    """A small picture of unfinished work follows as the payload, a JPEG."""

    kind: Literal["preview"] = "preview"
    step: int
    steps: int


class Chosen(_Neutral):
    """Who of a class's backends is to make it next, or that nobody may."""

    kind: Literal["chosen"] = "chosen"
    backend: str
    """Empty: nobody may at this moment."""
    selected_reason: str
    """As one CamelCase word, such as `Fallback`; empty without a backend."""
    passed_over: dict[str, str] = {}
    """Backends that may not, and why, by their names."""


class Submitted(_Neutral):
    """A provider is about to be asked, for money: what hears of it keeps it before it returns, or raises."""

    kind: Literal["submitted"] = "submitted"
    backend: str
    price: str
    """What a result costs, in US dollars; empty: nobody knows."""


class Handed(_Neutral):
    """The call is out under this handle, by which whoever takes over asks for its result; kept before it returns, too."""

    kind: Literal["handed"] = "handed"
    handle: str


class Withdrawn(_Neutral):
    """The call ended, and nothing was made or billed."""

    kind: Literal["withdrawn"] = "withdrawn"


class Finished(_Neutral):
    """The result follows as the payload, encoded as asked. What is here was delivered, not asked."""

    kind: Literal["result"] = "result"
    media_type: str
    sha256: str
    width: int
    height: int
    frames: int = 1
    fps: int | None = None
    seed: int
    model_digest: str
    dtype: str
    device: str
    threads: int = 0
    """Threads of one operation on the CPU, which bitwise equality depends on there; 0 where a GPU computes."""
    versions: dict[str, str] = {}
    """Versions of the libraries that decide the pixels, by name."""
    steps: int
    computed_steps: int = 0
    """Steps that the denoiser computed; fewer than `steps` when the quality left some to extrapolation."""
    quality: Quality = Quality.EXACT
    reproducible: bool = False
    adapters: dict[str, str] = {}
    """Digests of the adapters that took part, by name."""
    timings: Timings = Timings()
    reused: bool = False
    """True when the engine still held this very result and made nothing again."""


class Failed(_Neutral):
    """The request ended without a result."""

    kind: Literal["error"] = "error"
    error: ErrorReport


Event = Annotated[Accepted | StepDone | Preview | Finished | Failed, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Message:
    """An event and the bytes that came with it (empty but for previews and results)."""

    event: Accepted | StepDone | Preview | Chosen | Submitted | Handed | Withdrawn | Finished | Failed
    payload: bytes = b""

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return isinstance(self.event, Finished | Failed)


class ModelInfo(_Neutral):
    """What a serving replica says of itself."""

    name: str
    digest: str
    family: str
    tasks: tuple[Task, ...]
    parameters: int
    dtype: str
    device: str
    width: int
    height: int
    loaded_seconds: float = 0.0
    adapters: dict[str, str] = {}
    """Digests of the loaded adapters by name."""
    peak_memory: dict[str, int] = {}
    """Bytes that one request takes beyond `weights_memory`, by shape: `WIDTHxHEIGHT`, `xFRAMES` added for clips."""
    step_seconds: dict[str, float] = {}
    """Seconds of one denoising step by shape, as in `peak_memory`: a request's share of a pass of as many as are fastest."""
    weights_memory: int = 0
    """Bytes in use between requests."""
    memory_capacity: int = 0
    """Bytes that the device, or on a CPU the container, has for all of it; 0: nobody measured."""
    versions: dict[str, str] = {}
