"""A checked folder to weights on a device, by the explicit classes of `inspection`; no loader chooses a class here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from easel_api.errors import EaselError, EnvironmentFault, InvalidInput
from easel_api.modeldeployment import DType, ModelDeploymentSpec
from easel_api.tasks import AdapterKind, Task, tasks_of
from easel_inference.generation import ModelInfo

from .inspection import CheckedModel, check
from .sizes import Limits

# The libraries' warnings quote prompts ("the following part of your input was truncated: …").
diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

DTYPES = {DType.FLOAT32: torch.float32, DType.BFLOAT16: torch.bfloat16, DType.FLOAT16: torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights on a device and what the engine says of them."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    motion_unet: Any | None
    limits: Limits
    info: ModelInfo


def load(spec: ModelDeploymentSpec, claims: Path) -> LoadedModel:
    """The model of a deployment with its adapters; every failure is of the error tree and names the file."""
    started = time.monotonic()
    device, dtype = _place(spec)
    folders = check(spec, claims)
    checked = folders.model
    options = {"local_files_only": True, "use_safetensors": True}
    parts = {
        "unet": _weights(diffusers.UNet2DConditionModel, checked, "unet", torch_dtype=dtype, **options),
        "vae": _weights(diffusers.AutoencoderKL, checked, "vae", torch_dtype=dtype, **options),
        "text_encoder": _weights(transformers.CLIPTextModel, checked, "text_encoder", dtype=dtype, **options),
    }
    for model in parts.values():
        model.to(device).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    moving = _motion_unet(parts["unet"], folders.motion, dtype, options) if folders.motion else None
    limits = _limits(parts, moving)
    return LoadedModel(
        **parts,
        tokenizer=_plain(transformers.CLIPTokenizer, checked, "tokenizer"),
        scheduler=_plain(getattr(diffusers, checked.classes["scheduler"]), checked, "scheduler"),
        motion_unet=moving,
        limits=limits,
        info=_info(spec, checked, parts, moving, limits, dtype, device, time.monotonic() - started),
    )


def _place(spec: ModelDeploymentSpec) -> tuple[torch.device, torch.dtype]:
    wants_gpu = spec.resources.gpus > 0
    if wants_gpu and not torch.cuda.is_available():
        raise EnvironmentFault(
            "no CUDA device is visible",
            where="spec.resources.gpus",
            found=f"{spec.resources.gpus} wanted",
            fix="Check the node's driver and device plugin, or set gpus to 0 to serve on the CPU",
        )
    default = DType.BFLOAT16 if wants_gpu else DType.FLOAT32
    return torch.device("cuda" if wants_gpu else "cpu"), DTYPES[spec.engine.dtype or default]


def _weights(cls: Any, checked: CheckedModel, component: str, **options: Any) -> Any:
    """A component with every one of its weights; a folder that lacks some would draw noise without a word."""
    folder = checked.folder / component if component else checked.folder
    if not _plain_weights(folder):
        options["variant"] = "fp16"
    try:
        model, found = cls.from_pretrained(folder, output_loading_info=True, **options)
    except EaselError:
        raise
    except Exception as error:
        raise _broken(component, error) from error
    missing = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if missing:
        raise InvalidInput(
            "the weights do not fit the configuration",
            where=component or os.fspath(folder.name),
            found=f"{len(missing)} weights missing or of another shape, the first is {missing[0]}",
        )
    return model


def _plain_weights(folder: Path) -> bool:
    return any(folder.glob("*model.safetensors")) or any(folder.glob("*.safetensors.index.json"))


def _plain(cls: Any, checked: CheckedModel, component: str) -> Any:
    try:
        return cls.from_pretrained(checked.folder / component, local_files_only=True)
    except Exception as error:
        raise _broken(component, error) from error


def _broken(component: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        "the component cannot be loaded", where=component or "adapter", found=f"{type(error).__name__}: {error}"
    )


def _motion_unet(unet: Any, adapter: CheckedModel, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    """The UNet with motion modules between its layers; its other weights are the UNet's own memory."""
    motion = _weights(diffusers.MotionAdapter, adapter, "", torch_dtype=dtype, **options)
    try:
        moving = diffusers.UNetMotionModel.from_unet2d(unet, motion).to(dtype)
    except Exception as error:
        raise InvalidInput(
            "the motion adapter does not fit the model", where="spec.adapters", found=f"{type(error).__name__}: {error}"
        ) from error
    shared = dict(unet.named_parameters())
    for name, parameter in moving.named_parameters():
        if name in shared and shared[name].shape == parameter.shape:
            parameter.data = shared[name].data
    return moving.to(unet.device).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _limits(parts: dict[str, Any], moving: Any | None) -> Limits:
    factor = 2 ** (len(parts["vae"].config.block_out_channels) - 1)
    frames = 1 if moving is None else int(moving.config.motion_max_seq_length)
    return Limits(native=int(parts["unet"].config.sample_size) * factor, factor=factor, frames=frames)


def _info(
    spec: ModelDeploymentSpec,
    checked: CheckedModel,
    parts: dict[str, Any],
    moving: Any | None,
    limits: Limits,
    dtype: torch.dtype,
    device: torch.device,
    seconds: float,
) -> ModelInfo:
    kinds = frozenset({AdapterKind.MOTION}) if moving is not None else frozenset[AdapterKind]()
    models = parts if moving is None else parts | {"unet": moving}
    return ModelInfo(
        name=spec.model.source,
        digest=checked.digest,
        family=checked.family,
        tasks=tuple(task for task in Task if task in tasks_of(checked.family, kinds)),
        parameters=sum(weight.numel() for model in models.values() for weight in model.parameters()),
        dtype=str(dtype).removeprefix("torch."),
        device=_device_name(device),
        width=limits.native,
        height=limits.native,
        loaded_seconds=seconds,
        versions={library.__name__: library.__version__ for library in (torch, diffusers, transformers)},
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
