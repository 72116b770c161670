"""What an item asks for, whoever makes it."""

from __future__ import annotations

from dataclasses import dataclass

from easel_api.offers import Honours
from easel_api.tasks import Task


@dataclass(frozen=True, slots=True)
class Request:
    """All that a choice depends on. Items that ask for the same share one, so that it is hashable and holds no prompt."""

    task: Task
    width: int | None = None
    """Pixels; None: whatever the model makes."""
    height: int | None = None
    seconds: float | None = None
    """Length of a clip."""
    scale: int | None = None
    """How many times as wide and high an upscaled picture becomes; None: nobody said."""
    set_parameters: frozenset[Honours] = frozenset()
    """Parameters that a person wrote down; defaults bind nobody."""
    prompt_characters: int = 0
    quality: str | None = None
    audio: bool | None = None
    """Whether a clip shall have sound; None: nobody said."""
    encoding: str = ""
    """Of the result: `png`, `mp4`; empty: whatever the model makes."""
    adapts: bool = False
    """Whether what cannot be had exactly may be replaced by what comes nearest (`onUnsupported: Adapt`)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A field that is not made as it was asked for."""

    field: str
    asked: str
    resolved: str
    """What the backend is asked for instead; empty: it is left out."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a backend is asked for."""

    size: tuple[int, int] | None = None
    aspect_ratio: str | None = None
    tier: str | None = None
    seconds: int | None = None
    scale: int | None = None
    """How many times as wide and high; None: as the job says."""
    losses: tuple[Loss, ...] = ()
