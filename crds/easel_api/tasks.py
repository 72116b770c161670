"""The tasks that Easel knows and what each one takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """What to make."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"
    TEXT_TO_VIDEO = "text-to-video"


class AdapterKind(StrEnum):
    """What an adapter adds to a model."""

    MOTION = "Motion"


@dataclass(frozen=True, slots=True)
class Takes:
    """What a task needs and allows."""

    image: bool = False
    mask: bool = False
    strength: bool = False
    video: bool = False


TAKES: dict[Task, Takes] = {
    Task.TEXT_TO_IMAGE: Takes(),
    Task.IMAGE_TO_IMAGE: Takes(image=True, strength=True),
    Task.INPAINT: Takes(image=True, mask=True, strength=True),
    Task.TEXT_TO_VIDEO: Takes(video=True),
}

FAMILIES: dict[str, frozenset[Task]] = {
    "StableDiffusion": frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT}),
}
"""Model families that the engine serves, by the class prefix in `model_index.json`, and their tasks without adapters."""


def tasks_of(family: str, adapters: frozenset[AdapterKind] = frozenset()) -> frozenset[Task]:
    """The tasks a model of this family can do with these adapters; none when the family is unknown."""
    tasks = FAMILIES.get(family, frozenset())
    if tasks and AdapterKind.MOTION in adapters:
        tasks |= {Task.TEXT_TO_VIDEO}
    return tasks
