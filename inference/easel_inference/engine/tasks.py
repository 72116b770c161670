"""One planned request from prompt to frames, by the stock pipeline of its task.

A request draws its noise from a generator of its own on the CPU, seeded by the request alone, so its result depends
neither on its neighbours nor on the device.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ImageFilter
from torch import Tensor
from torch.nn import functional

from easel_api.errors import BadOutput
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.encoding import DEFAULT_FPS, Frames, thumbnail
from easel_inference.generation import PreviewOptions

from .interpolation import path
from .participant import Participant
from .pictures import Pictures
from .plans import Plan
from .seats import PredictedResult, Seat, SharedModel

FADE_PIXELS = 3

OnStep = Callable[[int, int], None]
OnPreview = Callable[[int, int, bytes], None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Frames as uint8 [frames, height, width, 3], and where the seconds went."""

    frames: Frames
    steps: int
    computed_steps: int
    denoise_seconds: float
    decode_seconds: float


@dataclass(slots=True)
class _Progress:
    """What a running request tells while it runs. `parts` denoising loops of `steps` steps make it whole."""

    plan: Plan
    shared: SharedModel
    participant: Participant
    on_step: OnStep
    on_preview: OnPreview
    guess: PredictedResult | None
    parts: int = 1
    steps: int = 0

    def step_ended(self, pipeline: Any, step: int, _: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The callback of the pipelines; raises `Cancelled` at the step after a cancellation."""
        self.participant.check()
        self.participant.step_ended()
        self.steps += 1
        total = int(pipeline.num_timesteps) * self.parts
        self.on_step(self.steps, total)
        previews = self.plan.request.previews
        if self.guess and previews and self.steps % previews.every_steps == 0 and self.steps < total:
            latents = tensors["latents"] if self.guess.latents is None else self.guess.latents
            self.on_preview(self.steps, total, preview(latents, self.shared, previews))
        return {}


def draw(
    plan: Plan, seat: Seat, shared: SharedModel, participant: Participant, on_step: OnStep, on_preview: OnPreview
) -> Drawn:
    """Run the plan; calls back after each step. Raises `Cancelled` at the step after a cancellation."""
    started = time.monotonic()
    pipeline = seat.pipeline(plan.request.task, plan.controlnet)
    guess = PredictedResult(pipeline.scheduler) if plan.request.previews else None
    progress = _Progress(plan, shared, participant, on_step, on_preview, guess)
    with torch.inference_mode(), shared.batcher.taking_part(participant):
        if plan.request.task is Task.INTERPOLATION:
            frames = _interpolated(plan, seat, progress)
        else:
            frames = _pixels(_run(pipeline, progress, _arguments(plan, shared, pipeline)))
    frames = _kept_outside_mask(frames, plan.pictures)
    seconds = time.monotonic() - started - participant.decode_seconds
    return Drawn(frames, progress.steps, participant.computed_steps, seconds, participant.decode_seconds)


def _run(pipeline: Any, progress: _Progress, arguments: dict[str, Any]) -> Tensor:
    plan = progress.plan
    progress.participant.begin(plan.steps)
    result: Tensor = pipeline(
        num_inference_steps=plan.request.steps,
        output_type="pt",
        callback_on_step_end=progress.step_ended,
        return_dict=False,
        **arguments,
    )[0]
    return result


def _arguments(plan: Plan, shared: SharedModel, pipeline: Any) -> dict[str, Any]:
    """What the task's pipeline takes of this: pipelines that start from a picture know its size already."""
    request, pictures, family = plan.request, plan.pictures, shared.model.family
    still = pictures.image if pictures.image is not None else pictures.control
    clip = list(pictures.clip) or [pictures.image for _ in range(plan.frames) if pictures.image is not None]
    offered = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        family.guidance: request.guidance_scale,
        "generator": seeded(request.seed),
        "width": plan.width,
        "height": plan.height,
        "num_frames": plan.frames if TAKES[request.task].video else None,
        "frame_rate": request.fps or DEFAULT_FPS,
        "fps": request.fps or DEFAULT_FPS,
        "image": still,
        "mask_image": pictures.mask,
        "video": clip if TAKES[request.task].video and clip else None,
        "strength": plan.strength,
        "controlnet_conditioning_scale": plan.control_scale,
        **family.fixed,
    }
    taken = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in offered.items() if name in taken and value is not None}


def seeded(seed: int) -> torch.Generator:
    """The request's own source of noise."""
    return torch.Generator("cpu").manual_seed(seed)


def _interpolated(plan: Plan, seat: Seat, progress: _Progress) -> Frames:
    """The frames of a path between two prompts or seeds, some at a time."""
    request = plan.request
    parts = path(plan, seat.pipeline(request.task))
    progress.parts = len(parts)
    shown = []
    for part in parts:
        pipeline = seat.pipeline(request.task)  # its scheduler counts from the start again
        arguments = {"width": plan.width, "height": plan.height, "guidance_scale": request.guidance_scale}
        shown.append(_pixels(_run(pipeline, progress, arguments | part)))
    return np.concatenate(shown)


def preview(latents: Tensor, shared: SharedModel, options: PreviewOptions) -> bytes:
    """A small JPEG of unfinished work: of a clip its middle frame; decoded at its own small size."""
    if latents.ndim == 5:
        latents = latents[:, :, latents.shape[2] // 2]
    factor = 2 ** (len(shared.vae.config.block_out_channels) - 1)
    share = options.size / (factor * max(latents.shape[-2:]))
    if share < 1:
        size = [max(1, round(side * share)) for side in latents.shape[-2:]]
        latents = functional.interpolate(latents[:1].float(), size=size, mode="area")
    config = shared.vae.config
    scaled = latents[:1].to(shared.vae.dtype) / config.scaling_factor + (getattr(config, "shift_factor", None) or 0)
    picture = shared.vae.decode(scaled, return_dict=False)[0]
    return thumbnail(_pixels(picture / 2 + 0.5)[0], options.size)


def _pixels(pictures: Tensor) -> Frames:
    """0…1 in [rows, 3, h, w], or [1, frames, 3, h, w] for a clip, to uint8 in [rows or frames, h, w, 3]."""
    flat = pictures[0] if pictures.ndim == 5 else pictures
    if not torch.isfinite(flat).all():  # half precision overflows in some VAEs, and the picture would be black
        raise BadOutput(
            "the model's pictures hold values that are no numbers", fix="Serve the model in bfloat16 or float32"
        )
    scaled = flat.float().clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _kept_outside_mask(frames: Frames, pictures: Pictures) -> Frames:
    """Outside the mask an inpainted picture is its input, pixel by pixel: the VAE would blur it a little."""
    if pictures.mask is None or pictures.image is None:
        return frames
    mask = np.asarray(pictures.mask)
    # Fades in from the mask's edge inwards, so that there is no seam and still nothing outside changes.
    blurred = np.asarray(pictures.mask.filter(ImageFilter.BoxBlur(FADE_PIXELS)), np.float32) / 255
    share = np.where(mask > 0, (2 * blurred - 1).clip(0, 1), 0)[None, :, :, None]
    before = np.asarray(pictures.image, np.float32)[None]
    return (before + (frames - before) * share).round().astype(np.uint8)
