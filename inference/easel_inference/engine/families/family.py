"""What a family says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from easel_api.tasks import Task


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a pipeline's folder: the library that `model_index.json` names and the classes that may stand there."""

    library: str
    classes: frozenset[str]
    weights: str = ""
    """The file that holds its weights; empty for parts without (schedulers, tokenizers, image processors)."""


DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
TRANSFORMERS_WEIGHTS = "model.safetensors"

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Family:
    """One family; names of classes are those of diffusers and transformers."""

    name: str
    pipelines: tuple[str, ...]
    """Values of `_class_name` in model_index.json that mean this family."""
    components: Mapping[str, Component]
    """What a folder must hold."""
    tasks: Mapping[Task, str]
    """The diffusers pipeline class of each task."""
    optional: Mapping[str, Component] = field(default=NOTHING)
    """What a folder may hold, and what is loaded then."""
    ignored: Mapping[str, Component] = field(default=NOTHING)
    """What a folder may hold and what is never loaded."""
    denoisers: tuple[str, ...] = ("unet",)
    """Components whose calls are the steps."""
    encoders: tuple[str, ...] = ("text_encoder",)
    """Text and image encoders: their results are kept."""
    shared: frozenset[str] = frozenset()
    """Arguments of the denoiser that have no row for each sample, such as position ids."""
    listed: frozenset[str] = frozenset()
    """Arguments of the denoiser that are lists with an entry for each sample."""
    settings: frozenset[str] = frozenset()
    """Plain values in model_index.json that the pipeline's constructor takes, such as `boundary_ratio`."""
    multiple: int = 8
    """Sides in pixels are multiples of it."""
    frame_multiple: int = 1
    """A clip has a multiple of it plus one frames; 1: any number."""
    frames: int = 1
    """Most frames of a clip; 1: no clips without an adapter."""
    guidance: str = "guidance_scale"
    """The pipeline's argument that means classifier-free guidance."""
    fixed: Mapping[str, Any] = field(default=NOTHING)
    """Arguments that every call of the pipeline gets."""
