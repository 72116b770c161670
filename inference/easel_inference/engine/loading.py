"""A checked folder to weights on a device, by the classes that `inspection` allowed; no loader chooses a class here."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from easel_api.errors import EaselError, EnvironmentFault, InvalidInput
from easel_api.modeldeployment import DType, ModelDeploymentSpec, WeightsDType
from easel_api.tasks import AdapterKind, Task, tasks_of
from easel_api.weights import dtype_of, too_large
from easel_inference.generation import ModelInfo

from .acceleration import store_in_float8
from .families import FAMILIES, Component, Family
from .families.family import DIFFUSERS_WEIGHTS
from .inspection import CheckedAdapter, CheckedFolders, CheckedModel, check, variant_of, weights_of
from .memory import Memory
from .sizes import Limits, limits_of

# The libraries' warnings quote prompts ("the following part of your input was truncated: …").
diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

DTYPES = {DType.FLOAT32: torch.float32, DType.BFLOAT16: torch.bfloat16, DType.FLOAT16: torch.float16}
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights on a device and what the engine says of them."""

    family: Family
    parts: dict[str, Any]
    """Every loaded component by its name; what the folder lacks or the family ignores is not there."""
    settings: dict[str, Any]
    """Plain values for the pipelines' constructors; each pipeline class takes the ones that it knows."""
    motion_unet: Any | None
    """The UNet with a motion adapter's layers in it."""
    controlnets: dict[str, Any]
    """ControlNets by the adapters' names."""
    loras: dict[str, Path]
    """Files of LoRA weights by the adapters' names; nothing of them is in the parts."""
    limits: Limits
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights go and the format they are computed in."""

    device: torch.device
    dtype: torch.dtype


def load(spec: ModelDeploymentSpec, claims: Path, folders: CheckedFolders | None = None) -> LoadedModel:
    """The model of a deployment with its adapters; every failure is of the error tree and names the file.

    `folders` are its checked folders where the caller has checked them already.
    """
    started = time.monotonic()
    place = _place(spec)
    folders = folders or check(spec, claims)
    family = FAMILIES[folders.model.family]
    _check_room(spec, folders.model, place)
    parts = {name: _part(folders.model, name, family.loaded[name], place) for name in folders.model.classes}
    for name in family.denoisers if spec.engine.weights_dtype is WeightsDType.FLOAT8 else ():
        if name in parts:
            store_in_float8(parts[name], place.dtype)
    moving = next(iter(folders.of_kind(AdapterKind.MOTION).values()), None)
    motion_unet = _motion_unet(parts["unet"], moving, place) if moving else None
    controlnets = folders.of_kind(AdapterKind.CONTROL_NET).items()
    loras = folders.of_kind(AdapterKind.LORA).items()
    limits = limits_of(family, parts, motion_unet)
    loaded = LoadedModel(
        family=family,
        parts=parts,
        settings={**folders.model.settings, **family.constructor},
        motion_unet=motion_unet,
        controlnets={name: _adapter(adapter, place) for name, adapter in controlnets},
        loras={name: adapter.weights for name, adapter in loras if adapter.weights},
        limits=limits,
        info=_info(spec, folders, limits, place),
    )
    measured = {"parameters": _parameters(loaded), "loaded_seconds": time.monotonic() - started}
    return replace(loaded, info=loaded.info.model_copy(update=measured))


def _place(spec: ModelDeploymentSpec) -> Place:
    wants_gpu = spec.resources.gpus > 0
    if wants_gpu and not torch.cuda.is_available():
        raise EnvironmentFault(
            "no CUDA device is visible",
            where="spec.resources.gpus",
            found=f"{spec.resources.gpus} wanted",
            fix="Check the node's driver and device plugin, or set gpus to 0 to serve on the CPU",
        )
    return Place(torch.device("cuda" if wants_gpu else "cpu"), DTYPES[dtype_of(spec)])


def _check_room(spec: ModelDeploymentSpec, checked: CheckedModel, place: Place) -> None:
    """Before minutes of loading that the kernel or CUDA would end without a word of how much was wanted."""
    where, weights = "spec.resources" if spec.resources.gpus else "spec.resources.memory", weights_of(checked)
    if weights and (error := too_large(spec, weights, where, Memory(place.device).capacity)):
        raise error


def _part(checked: CheckedModel, name: str, component: Component, place: Place) -> Any:
    cls = getattr(LIBRARIES[component.library], checked.classes[name])
    if not component.weights:
        return _plain(cls, checked.folder / name, name)
    return _model(cls, checked.folder / name, component.weights, name, place)


def _adapter(adapter: CheckedAdapter, place: Place) -> Any:
    cls = getattr(diffusers, adapter.class_name)
    return _model(cls, adapter.folder, DIFFUSERS_WEIGHTS, f"spec.adapters: {adapter.name}", place)


def _model(cls: Any, folder: Path, weights: str, where: str, place: Place) -> Any:
    """A model with every one of its weights, ready to compute; a folder that lacks some would draw noise in silence."""
    # Each library has its own word for the format.
    dtype = {"torch_dtype" if issubclass(cls, diffusers.ModelMixin) else "dtype": place.dtype}
    options = {"local_files_only": True, "use_safetensors": True, "variant": variant_of(folder, weights), **dtype}
    try:
        model, found = cls.from_pretrained(folder, output_loading_info=True, **options)
    except EaselError:
        raise
    except Exception as error:
        raise _broken(where, error) from error
    _check_complete(found, where)
    return model.to(place.device).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _check_complete(found: dict[str, Any], where: str) -> None:
    missing = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if missing:
        raise InvalidInput(
            "the weights do not fit the configuration",
            where=where,
            found=f"{len(missing)} weights missing or of another shape, the first is {missing[0]}",
        )


def _plain(cls: Any, folder: Path, where: str) -> Any:
    try:
        return cls.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise _broken(where, error) from error


def _broken(where: str, error: Exception) -> InvalidInput:
    return InvalidInput("the component cannot be loaded", where=where, found=f"{type(error).__name__}: {error}")


def _motion_unet(unet: Any, adapter: CheckedAdapter, place: Place) -> Any:
    """The UNet with motion modules between its layers; its other weights are the UNet's own memory."""
    motion = _adapter(adapter, place)
    try:
        moving = diffusers.UNetMotionModel.from_unet2d(unet, motion).to(place.dtype)
    except Exception as error:
        raise InvalidInput(
            "the motion adapter does not fit the model",
            where=f"spec.adapters: {adapter.name}",
            found=f"{type(error).__name__}: {error}",
        ) from error
    shared = dict(unet.named_parameters())
    for name, parameter in moving.named_parameters():
        if name in shared and shared[name].shape == parameter.shape:
            parameter.data = shared[name].data
    return moving.to(place.device).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _parameters(loaded: LoadedModel) -> int:
    """Numbers in the weights; those that models share count once."""
    models = [*loaded.parts.values(), *loaded.controlnets.values(), loaded.motion_unet]
    weights = [weight for model in models if isinstance(model, torch.nn.Module) for weight in model.parameters()]
    return sum({weight.data_ptr(): weight.numel() for weight in weights}.values())


def _info(spec: ModelDeploymentSpec, folders: CheckedFolders, limits: Limits, place: Place) -> ModelInfo:
    kinds = frozenset(adapter.kind for adapter in folders.adapters.values())
    tasks = tasks_of(folders.model.family, kinds) & _drawable(folders.model)
    return ModelInfo(
        name=spec.model.source,
        digest=folders.model.digest,
        family=folders.model.family,
        tasks=tuple(task for task in Task if task in tasks),
        parameters=0,
        dtype=str(place.dtype).removeprefix("torch."),
        device=_device_name(place.device),
        width=limits.width,
        height=limits.height,
        adapters={name: adapter.digest for name, adapter in folders.adapters.items()},
        versions={library.__name__: library.__version__ for library in (torch, diffusers, transformers)},
    )


def _drawable(checked: CheckedModel) -> frozenset[Task]:
    """Tasks whose pipelines use every denoiser of the folder: drawn with some of them, late steps would be noise."""
    family = FAMILIES[checked.family]
    present = {name for name in family.denoisers if name in checked.classes}
    return frozenset(
        task
        for task, name in family.tasks.items()
        if present <= set(inspect.signature(getattr(diffusers, name)).parameters)
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
