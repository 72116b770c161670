"""`manifest.json`: what a job made, item by item, for people, programs, and the worker that takes over.

An item is written as `Storing` before its object is and as `Succeeded` once the object was read back. So whoever finds
a `Storing` item after a crash knows the exact bytes to look for, and nothing that reached the store is made again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from easel_api.errors import ErrorReport, InvalidInput
from easel_api.tasks import Quality, Task
from easel_inference.generation import AdapterUse, Chosen, Expand, Timings

MAX_BYTES = 128 * 2**20
"""More than 1024 items with the longest prompts; a larger file is not ours."""


class _Recorded(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ItemState(StrEnum):
    """How far an item is."""

    SUBMITTED = "Submitted"
    """A provider was asked for it, and nobody has heard of the end."""
    STORING = "Storing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Requested(_Recorded):
    """What was asked of the backend; null means the model's own default."""

    width: int | None = None
    height: int | None = None
    steps: int
    guidance_scale: float
    strength: float | None = None
    frames: int | None = None
    fps: int | None = None
    end: str | None = None
    """The prompt that the clip leads to."""
    search: str | None = None
    """What of the picture was meant."""
    end_seed: int | None = None
    adapters: tuple[AdapterUse, ...] = ()
    mask_colours: tuple[str, ...] = ()
    expand: Expand | None = None
    scale: int | None = None
    truncation: float | None = None
    quality: Quality | None = None
    reproducible: bool = False


class Delivered(_Recorded):
    """What came, and where it is."""

    uri: str
    key: str
    sha256: str
    bytes: int
    media_type: str
    width: int
    height: int
    frames: int = 1
    fps: int | None = None
    steps: int
    computed_steps: int = 0
    """Steps that the denoiser computed; the others were extrapolated."""
    quality: Quality = Quality.EXACT
    reproducible: bool = False
    model_digest: str
    dtype: str
    device: str
    threads: int = 0
    """Threads of one operation on the CPU, which bitwise equality depends on there; 0 where a GPU computes."""
    versions: dict[str, str] = {}
    """Versions of the libraries that decide the pixels, by name."""
    adapters: dict[str, str] = {}
    """Digests of the adapters that took part, by name."""
    timings: Timings = Timings()
    reused: bool = False
    """True when the engine still held the result of an earlier attempt and made nothing again."""


class Adapted(_Recorded):
    """A field that a provider was asked for otherwise."""

    field: str
    asked: str
    resolved: str
    """Empty: it was left out."""


class Insights(_Recorded):
    """What an indexer found in a clip, and where that is. The clip counts whatever becomes of them."""

    state: ItemState
    cost: str
    """What the indexer was paid, or may have been, in US dollars."""
    remote: str | None = None
    """What the indexer knows the clip by."""
    uri: str | None = None
    key: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    error: ErrorReport | None = None


class ManifestItem(_Recorded):
    """One item."""

    id: str
    state: ItemState
    prompt: str
    negative: str = ""
    variables: dict[str, str] = {}
    seed: int
    requested: Requested
    delivered: Delivered | None = None
    error: ErrorReport | None = None
    attempts: int = 0
    backend: str = ""
    selected_reason: str = ""
    """Why this backend of the class, as one CamelCase word; empty for a job without a class."""
    cost: str | None = None
    """What a provider was paid, or may have been, in US dollars; null: none was asked, empty: nobody knows how much."""
    remote: str | None = None
    """What the provider knows the call by while it is under way."""
    adapted: tuple[Adapted, ...] = ()
    """Fields that were not made as they were asked for, where the job allows that."""
    passed_over: dict[str, str] = {}
    """Backends of the class that did not make it, and why."""
    insights: Insights | None = None

    @property
    def choice(self) -> Chosen | None:
        """Who of a class's backends was to make it; None without a class."""
        if not self.selected_reason and not self.passed_over:
            return None
        return Chosen(backend=self.backend, selected_reason=self.selected_reason, passed_over=self.passed_over)


class InputDigests(_Recorded):
    """sha256 of the pictures and clips that a job started from."""

    image: str | None = None
    mask: str | None = None
    control: str | None = None
    clip: str | None = None
    style: str | None = None
    garment: str | None = None


class Manifest(_Recorded):
    """All items of a job in their order; items that nobody finished yet are absent."""

    api_version: Literal["easel.dev/v1alpha1"] = "easel.dev/v1alpha1"
    kind: Literal["GenerationManifest"] = "GenerationManifest"
    job: str
    namespace: str = ""
    uid: str = ""
    task: Task
    spec_hash: str
    inputs: InputDigests = InputDigests()
    total: int
    items: tuple[ManifestItem, ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON for people to read; the same manifest is the same bytes."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode() + b"\n"


def parse(data: bytes, uri: str) -> Manifest:
    """The manifest again; `InvalidInput` when the file is something else."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(
            "a file that is not a manifest of this release is where the job's manifest goes",
            where=uri,
            found=f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}",
            fix="Move it away, or give the job another name or prefix",
        ) from error
