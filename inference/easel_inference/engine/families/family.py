"""What a family says of itself, and the components that many families have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from easel_api.tasks import Task

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
TRANSFORMERS_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a pipeline's folder: the library that `model_index.json` names and the classes that may stand there."""

    library: str
    classes: frozenset[str]
    weights: str = ""
    """The file that holds its weights; empty for parts without (schedulers, tokenizers, image processors)."""
    config: str = "config.json"
    """The file that says how it is built."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family; names of classes are those of diffusers and transformers."""

    name: str
    pipelines: tuple[str, ...]
    """Values of `_class_name` in model_index.json that mean this family."""
    components: Mapping[str, Component]
    """What a folder must hold."""
    tasks: Mapping[Task, str]
    """The diffusers pipeline class of each task, those that need an adapter included."""
    optional: Mapping[str, Component] = field(default_factory=dict)
    """What a folder may hold, and what is loaded then."""
    ignored: Mapping[str, Component] = field(default_factory=dict)
    """What a folder may hold and what is never loaded."""
    denoisers: tuple[str, ...] = ("unet",)
    """Components whose calls are the steps."""
    encoders: tuple[str, ...] = ("text_encoder",)
    """Text and image encoders: their results are kept."""
    shared: frozenset[str] = frozenset()
    """Tensors and lists among the denoiser's arguments that have no row for each sample, such as position ids."""
    listed: frozenset[str] = frozenset()
    """Arguments of the denoiser that are lists with an entry for each sample."""
    settings: frozenset[str] = frozenset()
    """Plain values in model_index.json that the pipeline's constructor takes, such as `boundary_ratio`."""
    disregarded: frozenset[str] = frozenset()
    """Plain values in model_index.json that mean nothing here, since what they switch is never loaded."""
    constructor: Mapping[str, Any] = field(default_factory=dict)
    """Values that the pipeline's constructor always gets."""
    native: tuple[int, int] | None = None
    """Width and height in pixels that the family was trained on; None: the denoiser's or VAE's `sample_size` says."""
    patch: int = 1
    """Latent pixels on a side of what the denoiser takes as one token: sides are multiples of VAE factor times patch."""
    frame_multiple: int = 1
    """A clip has a multiple of it plus one frames; 1: any number."""
    frames: int = 1
    """Most frames of a clip; 1: no clips without an adapter."""
    default_frames: int = 8
    """Frames of a clip that names no number; a denoiser's own `num_frames` goes before."""
    guidance: str = "guidance_scale"
    """The pipeline's argument that means classifier-free guidance."""
    unheeded: frozenset[str] = frozenset()
    """Arguments that the pipelines take and do not heed as they are called here: a request that names one is refused."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that every call of the pipeline gets."""
    tokenizer: str = "tokenizer"
    """The tokenizer whose window bounds a prompt: of several encoders the one that reads furthest."""
    tokens: int | None = None
    """Tokens of a prompt that reach the denoiser; None: as many as the tokenizer's window holds."""

    @property
    def loaded(self) -> dict[str, Component]:
        """All components that are loaded when the folder holds them."""
        return {**self.components, **self.optional}

    @property
    def known(self) -> dict[str, Component]:
        """All components that a folder may name."""
        return {**self.loaded, **self.ignored}


def diffusers_model(*classes: str) -> Component:
    """A model of diffusers, weights and all."""
    return Component("diffusers", frozenset(classes), DIFFUSERS_WEIGHTS)


def transformers_model(*classes: str) -> Component:
    """A text or image encoder of transformers."""
    return Component("transformers", frozenset(classes), TRANSFORMERS_WEIGHTS)


def scheduler(*classes: str) -> Component:
    """A scheduler of one of these classes."""
    return Component("diffusers", frozenset(classes), config="scheduler_config.json")


def tokenizer(*classes: str) -> Component:
    """A tokenizer of one of these classes."""
    return Component("transformers", frozenset(classes), config="tokenizer_config.json")


def image_processor(*classes: str) -> Component:
    """What scales pictures for an image encoder."""
    return Component("transformers", frozenset(classes), config="preprocessor_config.json")


CLIP_TEXT = transformers_model("CLIPTextModel")
CLIP_TEXT_PROJECTED = transformers_model("CLIPTextModelWithProjection")
CLIP_VISION_PROJECTED = transformers_model("CLIPVisionModelWithProjection")
CLIP_TOKENIZER = tokenizer("CLIPTokenizer", "CLIPTokenizerFast")
CLIP_IMAGES = image_processor(
    "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"
)
T5_TEXT = transformers_model("T5EncoderModel")
T5_TOKENIZER = tokenizer("T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast")
QWEN_TOKENIZER = tokenizer("Qwen2Tokenizer", "Qwen2TokenizerFast")
KL_VAE = diffusers_model("AutoencoderKL")
UMT5_TEXT = transformers_model("UMT5EncoderModel")
WAN_VAE = diffusers_model("AutoencoderKLWan")
FLOW_MATCH = scheduler("FlowMatchEulerDiscreteScheduler")
FLOW_MATCH_OR_UNIPC = scheduler("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")
KARRAS = scheduler(
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
    "DEISMultistepScheduler",
    "KDPM2DiscreteScheduler",
)
