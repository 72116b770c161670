"""The tasks that Easel knows and what each one takes."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """What to make."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"
    OUTPAINT = "outpaint"
    SEGMENTATION_TO_IMAGE = "segmentation-to-image"
    CONTROL_TO_IMAGE = "control-to-image"
    UPSCALE = "upscale"
    ERASE = "erase"
    REMOVE_BACKGROUND = "remove-background"
    REPLACE_BACKGROUND = "replace-background"
    SEARCH_AND_REPLACE = "search-and-replace"
    SEARCH_AND_RECOLOR = "search-and-recolor"
    STYLE_TO_IMAGE = "style-to-image"
    STYLE_TRANSFER = "style-transfer"
    VIRTUAL_TRY_ON = "virtual-try-on"
    INTERPOLATION = "interpolation"
    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"
    VIDEO_TO_VIDEO = "video-to-video"
    LATENT_TO_IMAGE = "latent-to-image"
    LATENT_TO_VIDEO = "latent-to-video"


class AdapterKind(StrEnum):
    """What an adapter adds to a model."""

    MOTION = "Motion"
    CONTROL_NET = "ControlNet"
    LORA = "LoRA"


class Quality(StrEnum):
    """How many of a request's steps are computed, fewest first; the others are extrapolated from the ones before."""

    DRAFT = "Draft"
    STANDARD = "Standard"
    EXACT = "Exact"


@dataclass(frozen=True, slots=True)
class Takes:
    """What a task needs (inputs, prompt) and allows (parameters)."""

    image: bool = False
    mask: bool = False
    control: bool = False
    clip: bool = False
    """An input clip."""
    style: bool = False
    """A picture of which the style alone counts."""
    garment: bool = False
    prompt: bool = True
    """Its results show what a prompt says; without, a prompt may name a generator's class."""
    wordless: bool = False
    """Some models of it read no prompt, so that a job may have none."""
    mute: bool = False
    """No model of it reads a prompt, so that a job has none."""
    search: bool = False
    """A prompt says beside what the picture shows which part of it is meant: `prompts[].search` applies, and is needed."""
    transparent: bool = False
    """The result has a transparent background, which of the formats PNG alone keeps here."""
    strength: bool = False
    video: bool = False
    """The result is a clip: `frames` and `fps` apply."""
    expand: bool = False
    scale: bool = False
    end: bool = False
    """The result leads from one prompt or seed to another: `prompts[].end` and `endSeed` apply."""
    truncation: bool = False

    @property
    def is_named_apart(self) -> bool:
        """Whether it takes what models have no common name for."""
        return self.search or self.style or self.garment

    @property
    def has_input(self) -> bool:
        """Whether it begins with a picture or a clip; a mask is never the only one."""
        return self.image or self.clip or self.control or self.style


TAKES: dict[Task, Takes] = {
    Task.TEXT_TO_IMAGE: Takes(),
    Task.IMAGE_TO_IMAGE: Takes(image=True, strength=True),
    Task.INPAINT: Takes(image=True, mask=True, strength=True),
    Task.OUTPAINT: Takes(image=True, strength=True, expand=True),
    Task.SEGMENTATION_TO_IMAGE: Takes(control=True),
    Task.CONTROL_TO_IMAGE: Takes(control=True),
    Task.UPSCALE: Takes(image=True, wordless=True, strength=True, scale=True),
    Task.ERASE: Takes(image=True, mask=True, mute=True),
    Task.REMOVE_BACKGROUND: Takes(image=True, mute=True, transparent=True),
    Task.REPLACE_BACKGROUND: Takes(image=True),
    Task.SEARCH_AND_REPLACE: Takes(image=True, search=True),
    Task.SEARCH_AND_RECOLOR: Takes(image=True, search=True),
    Task.STYLE_TO_IMAGE: Takes(style=True),
    Task.STYLE_TRANSFER: Takes(image=True, style=True, wordless=True),
    Task.VIRTUAL_TRY_ON: Takes(image=True, garment=True, mute=True),
    Task.INTERPOLATION: Takes(video=True, end=True),
    Task.TEXT_TO_VIDEO: Takes(video=True),
    Task.IMAGE_TO_VIDEO: Takes(image=True, wordless=True, strength=True, video=True),
    Task.VIDEO_TO_VIDEO: Takes(clip=True, strength=True, video=True),
    Task.LATENT_TO_IMAGE: Takes(prompt=False, wordless=True, truncation=True),
    Task.LATENT_TO_VIDEO: Takes(prompt=False, wordless=True, truncation=True, video=True, end=True),
}

_PICTURES = frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.OUTPAINT, Task.UPSCALE})

FAMILIES: dict[str, frozenset[Task]] = {
    "StableDiffusion": _PICTURES | {Task.INTERPOLATION},
    "StableDiffusionXL": _PICTURES,
    "StableDiffusion3": _PICTURES,
    "Flux": _PICTURES,
    "Flux2": frozenset({Task.TEXT_TO_IMAGE}),
    "QwenImage": _PICTURES,
    "ZImage": _PICTURES,
    "Wan": frozenset({Task.TEXT_TO_VIDEO, Task.VIDEO_TO_VIDEO}),
    "WanImageToVideo": frozenset({Task.IMAGE_TO_VIDEO}),
    "LTX": frozenset({Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO}),
    "StableVideoDiffusion": frozenset({Task.IMAGE_TO_VIDEO}),
    "Onnx": frozenset({Task.LATENT_TO_IMAGE, Task.LATENT_TO_VIDEO}),
}
"""Model families that the engine serves and their tasks without adapters."""

ADDED: dict[tuple[str, AdapterKind], frozenset[Task]] = {
    ("StableDiffusion", AdapterKind.MOTION): frozenset({Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO, Task.VIDEO_TO_VIDEO}),
    ("StableDiffusion", AdapterKind.CONTROL_NET): frozenset({Task.SEGMENTATION_TO_IMAGE, Task.CONTROL_TO_IMAGE}),
    ("StableDiffusion", AdapterKind.LORA): frozenset(),
    ("StableDiffusionXL", AdapterKind.CONTROL_NET): frozenset({Task.SEGMENTATION_TO_IMAGE, Task.CONTROL_TO_IMAGE}),
    ("StableDiffusionXL", AdapterKind.LORA): frozenset(),
}
"""The adapters that a family takes, and the tasks that each adds."""

OWN = frozenset[Task]().union(*FAMILIES.values(), *ADDED.values())
"""Tasks that a model of the team's own may do; the others are done by providers alone."""


def tasks_of(family: str, adapters: frozenset[AdapterKind] = frozenset()) -> frozenset[Task]:
    """The tasks a model of this family can do with these adapters; none when the family is unknown."""
    added = (ADDED.get((family, kind), frozenset()) for kind in adapters)
    return FAMILIES.get(family, frozenset()).union(*added)


def may_do(known: Set[Task] | None, task: Task) -> bool:
    """Whether a model of the team's own can do the task by its known tasks; or may, while only its engine can tell (None)."""
    return task in (OWN if known is None else known)


def needed_for(task: Task) -> str:
    """What a model needs to do the task, for a person: `an adapter of kind Motion or a model of family Wan or LTX`."""
    kinds = dict.fromkeys(f"an adapter of kind {kind}" for (_, kind), tasks in ADDED.items() if task in tasks)
    families = [family for family, tasks in FAMILIES.items() if task in tasks]
    if not kinds and not families:
        return "a provider whose model does it"
    return " or ".join([*kinds, *([f"a model of family {' or '.join(families)}"] if families else [])])


def in_words(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
