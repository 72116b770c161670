"""Model families: which classes each one is made of, which pipelines it has for which task. Plain data, no torch.

    family                what a family says of itself
    stable_diffusion      StableDiffusion (1.x): pictures; clips with a motion adapter; ControlNets; LoRA

One module a family, each with a `FAMILY`. `inspection` refuses what a folder names beyond it, `loading` loads the
classes it lists, `seats` builds its pipelines, `proxies` joins its denoiser's calls. Nothing here imports torch,
diffusers or another part of the engine.
"""

from __future__ import annotations

from . import stable_diffusion
from .family import Component, Family

FAMILIES: dict[str, Family] = {family.name: family for family in (stable_diffusion.FAMILY,)}
"""Every family by its name in the contract."""

BY_PIPELINE: dict[str, Family] = {pipeline: family for family in FAMILIES.values() for pipeline in family.pipelines}
"""The family of a folder by the `_class_name` of its model_index.json."""

__all__ = ["BY_PIPELINE", "FAMILIES", "Component", "Family"]
