"""Model families: which classes each one is made of, which pipelines it has for which task. Plain data, no torch.

    family                   what a family says of itself
    stable_diffusion         StableDiffusion (1.x): pictures; clips with a motion adapter; ControlNets; LoRA
    stable_diffusion_xl      StableDiffusionXL: pictures; ControlNets; LoRA
    stable_diffusion_3       StableDiffusion3: pictures
    flux                     Flux (FLUX.1): pictures
    flux2                    Flux2 (FLUX.2 klein): text to image
    qwen_image               QwenImage: pictures
    z_image                  ZImage: pictures
    wan                      Wan: text and video to video
    wan_image_to_video       WanImageToVideo
    ltx                      LTX: text and image to video
    stable_video_diffusion   StableVideoDiffusion: image to video

One module a family, each with a `FAMILY`. `inspection` refuses what a folder names beyond it, `loading` loads the
classes it lists, `seats` builds its pipelines, `proxies` joins its denoiser's calls. Nothing here imports torch,
diffusers or another part of the engine.
"""

from __future__ import annotations

from . import (
    flux,
    flux2,
    ltx,
    qwen_image,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    stable_video_diffusion,
    wan,
    wan_image_to_video,
    z_image,
)
from .family import Component, Family

_MODULES = (
    stable_diffusion,
    stable_diffusion_xl,
    stable_diffusion_3,
    flux,
    flux2,
    qwen_image,
    z_image,
    wan,
    wan_image_to_video,
    ltx,
    stable_video_diffusion,
)

FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in _MODULES}
"""Every family by its name in the contract."""

BY_PIPELINE: dict[str, Family] = {pipeline: family for family in FAMILIES.values() for pipeline in family.pipelines}
"""The family of a folder by the `_class_name` of its model_index.json."""

__all__ = ["BY_PIPELINE", "FAMILIES", "Component", "Family"]
