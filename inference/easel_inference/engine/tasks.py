"""One request from prompt to frames: text-to-image, image-to-image, inpaint, text-to-video.

A request draws its noise from a generator of its own on the CPU, seeded by the request alone, so its result depends
neither on its neighbours nor on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ImageFilter
from torch import Tensor
from torch.nn import functional

from easel_api.errors import InvalidInput, Unsupported
from easel_api.generationjob import CLIP_FORMATS, PICTURE_FORMATS
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.encoding import Frames, thumbnail
from easel_inference.generation import GenerationRequest, Inputs, PreviewOptions

from .batcher import Participant
from .pictures import Pictures, decode
from .seats import PredictedResult, Seat, SharedModel
from .sizes import Limits

DEFAULT_STRENGTH = {Task.IMAGE_TO_IMAGE: 0.8, Task.INPAINT: 1.0}
DECODED_AT_ONCE = 16
MASK_THRESHOLD = 128
FADE_PIXELS = 3

OnStep = Callable[[int, int], None]
OnPreview = Callable[[int, int, bytes], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that was checked against the model, with its pictures decoded and scaled."""

    request: GenerationRequest
    width: int
    height: int
    frames: int
    pictures: Pictures
    strength: float | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Frames as uint8 [frames, height, width, 3], and where the seconds went."""

    frames: Frames
    steps: int
    denoise_seconds: float
    decode_seconds: float


def plan(request: GenerationRequest, inputs: Inputs, tasks: tuple[Task, ...], limits: Limits) -> Plan:
    """Check a request whole, before it waits for its turn; every refusal names the field."""
    if request.task not in tasks:
        raise Unsupported(
            "this model cannot do this task", where="task", found=request.task, fix=f"It does {', '.join(tasks)}"
        )
    takes = TAKES[request.task]
    for name, value, taken in (
        ("strength", request.strength, takes.strength),
        ("frames", request.frames, takes.video),
        ("fps", request.fps, takes.video),
    ):
        if value is not None and not taken:
            raise Unsupported(f"{request.task} takes no {name}", where=name, found=str(value), fix="Leave it out")
    _check_encoding(request)
    pictures = decode(request, inputs)
    width, height = limits.size_of(request, pictures.image.size if pictures.image else None)
    strength = (request.strength or DEFAULT_STRENGTH[request.task]) if takes.strength else None
    if strength is not None and int(request.steps * strength) < 1:
        raise InvalidInput(
            "steps times strength must be at least 1", where="strength", found=f"{request.steps} x {strength}"
        )
    return Plan(request, width, height, limits.frames_of(request), pictures.scaled((width, height)), strength)


def _check_encoding(request: GenerationRequest) -> None:
    allowed = CLIP_FORMATS if TAKES[request.task].video else PICTURE_FORMATS
    if request.encoding not in allowed:
        raise Unsupported(
            f"{request.task} cannot be stored so",
            where="encoding",
            found=request.encoding,
            fix=f"Ask for {', '.join(allowed)}",
        )


def draw(
    plan: Plan, seat: Seat, shared: SharedModel, participant: Participant, on_step: OnStep, on_preview: OnPreview
) -> Drawn:
    """Run the plan; calls back after each step. Raises `Cancelled` at the step after a cancellation."""
    request, started = plan.request, time.monotonic()
    pipeline = seat.pipeline(request.task)
    guess = PredictedResult(pipeline.scheduler) if request.previews else None
    steps = 0

    def step_ended(pipeline: Any, step: int, _: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal steps
        participant.check()
        steps, total = step + 1, int(pipeline.num_timesteps)
        on_step(steps, total)
        if guess and request.previews and steps % request.previews.every_steps == 0 and steps < total:
            latents = tensors["latents"] if guess.latents is None else guess.latents
            on_preview(steps, total, preview(latents, shared, request.previews))
        return {}

    with torch.inference_mode(), shared.batcher.taking_part(participant):
        latents = pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="latent",
            callback_on_step_end=step_ended,
            return_dict=False,
            **_arguments(plan),
        )[0]
        denoised = time.monotonic()
        frames = decoded(latents, shared, participant)
    frames = _kept_outside_mask(frames, plan.pictures)
    return Drawn(frames, steps, denoised - started, time.monotonic() - denoised)


def _arguments(plan: Plan) -> dict[str, Any]:
    """What the task's pipeline takes besides."""
    size = {"width": plan.width, "height": plan.height}
    match plan.request.task:
        case Task.TEXT_TO_IMAGE:
            return size
        case Task.IMAGE_TO_IMAGE:
            return {"image": plan.pictures.image, "strength": plan.strength}
        case Task.INPAINT:
            pictures = {"image": plan.pictures.image, "mask_image": plan.pictures.mask}
            return {**size, **pictures, "strength": plan.strength}
        case Task.TEXT_TO_VIDEO:
            return {**size, "num_frames": plan.frames}


def decoded(latents: Tensor, shared: SharedModel, participant: Participant) -> Frames:
    """Latents [rows, channels, h, w] or [1, channels, frames, h, w] to frames, some at a time."""
    if latents.ndim == 5:
        latents = latents[0].transpose(0, 1)
    parts = []
    for part in torch.split(latents, DECODED_AT_ONCE):
        participant.check()
        parts.append(_pixels(shared.vae.decode(part / shared.vae.config.scaling_factor, return_dict=False)[0]))
    return np.concatenate(parts)


def preview(latents: Tensor, shared: SharedModel, options: PreviewOptions) -> bytes:
    """A small JPEG of unfinished work: of a clip its middle frame; decoded at its own small size."""
    if latents.ndim == 5:
        latents = latents[:, :, latents.shape[2] // 2]
    share = options.size / (shared.model.limits.factor * max(latents.shape[-2:]))
    if share < 1:
        size = [max(1, round(side * share)) for side in latents.shape[-2:]]
        latents = functional.interpolate(latents[:1].float(), size=size, mode="area").to(latents.dtype)
    picture = shared.vae.decode(latents[:1] / shared.vae.config.scaling_factor, return_dict=False)[0]
    return thumbnail(_pixels(picture)[0], options.size)


def _pixels(pictures: Tensor) -> Frames:
    """-1…1 in [rows, 3, h, w] to uint8 in [rows, h, w, 3]."""
    scaled = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _kept_outside_mask(frames: Frames, pictures: Pictures) -> Frames:
    """Outside the mask an inpainted picture is its input, pixel by pixel: the VAE would blur it a little."""
    if pictures.mask is None or pictures.image is None:
        return frames
    mask = pictures.mask.point(lambda grey: 255 * (grey >= MASK_THRESHOLD))
    # Fades in from the mask's edge inwards, so that there is no seam and still nothing outside changes.
    blurred = np.asarray(mask.filter(ImageFilter.BoxBlur(FADE_PIXELS)), np.float32) / 255
    share = np.where(np.asarray(mask) > 0, (2 * blurred - 1).clip(0, 1), 0)[None, :, :, None]
    before = np.asarray(pictures.image, np.float32)[None]
    return (before + (frames - before) * share).round().astype(np.uint8)
