"""A path between two prompts and two seeds: the text's embeddings by a line, the noise by an arc, frame by frame.

Noise is Gaussian: a straight line between two draws is too short in the middle and comes out grey, so it goes along the
arc between them (`latents.slerp`). Embeddings have no such norm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import latents
from .plans import Plan

FRAMES_AT_ONCE = 8
"""Frames of one denoising loop: more would hold up others at every step."""


def path(plan: Plan, pipeline: Any) -> list[dict[str, Any]]:
    """Arguments of the pipeline for each part of the frames, from the first prompt and seed to the last."""
    request = plan.request
    first, negative = _embedded(pipeline, plan, request.prompt)
    last, _ = _embedded(pipeline, plan, request.prompt if request.end_prompt is None else request.end_prompt)
    noise = torch.split(_noise_path(plan, pipeline), FRAMES_AT_ONCE)
    shares = torch.split(torch.linspace(0, 1, plan.frames), FRAMES_AT_ONCE)
    return [
        {
            "prompt_embeds": torch.cat([torch.lerp(first, last, float(share)) for share in part]),
            "negative_prompt_embeds": None if negative is None else negative.repeat(len(part), 1, 1),
            "latents": drawn,
        }
        for part, drawn in zip(shares, noise, strict=True)
    ]


def _embedded(pipeline: Any, plan: Plan, prompt: str) -> tuple[Tensor, Tensor | None]:
    guided = plan.request.guidance_scale > 1
    positive, negative = pipeline.encode_prompt(
        prompt, pipeline.device, 1, guided, negative_prompt=plan.request.negative_prompt
    )
    return positive, negative


def _noise_path(plan: Plan, pipeline: Any) -> Tensor:
    """Starting latents [frames, channels, height, width]; those of a seed are the ones that a picture begins with."""
    request, factor = plan.request, pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, plan.height // factor, plan.width // factor)
    seeds = request.seed, request.seed if request.end_seed is None else request.end_seed
    ends = [torch.randn((1, *shape), generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    flat = [end.flatten().double().numpy() for end in ends]
    drawn = torch.from_numpy(latents.path(flat[0], flat[1], plan.frames))
    return drawn.reshape(-1, *shape).to(pipeline.device, pipeline.unet.dtype)
