"""A request's own light pipelines around the shared weights.

Schedulers keep the step they are at, and fast tokenizers keep padding and truncation, so threads that shared them would
break one another. A seat has its own tokenizer and pipelines and is used by one request at a time; the scheduler is new
for each request. Building one takes milliseconds and no weights.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import queue
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch

from easel_api.tasks import Task

from .batcher import Batcher
from .loading import LoadedModel
from .proxies import Autoencoder, Denoiser, TextEncoder

PIPELINES: dict[Task, Any] = {
    Task.TEXT_TO_IMAGE: diffusers.StableDiffusionPipeline,
    Task.IMAGE_TO_IMAGE: diffusers.StableDiffusionImg2ImgPipeline,
    Task.INPAINT: diffusers.StableDiffusionInpaintPipeline,
    Task.TEXT_TO_VIDEO: diffusers.AnimateDiffPipeline,
}


class SharedModel:
    """The proxies around one loaded model, shared by all seats."""

    def __init__(self, model: LoadedModel, batcher: Batcher) -> None:
        self.model = model
        self.batcher = batcher
        self.vae = Autoencoder(model.vae, batcher, "vae")
        self.text_encoder = TextEncoder(model.text_encoder, batcher, "text-encoder")
        self.unet = Denoiser(model.unet, batcher, "denoiser")
        self.motion_unet = None if model.motion_unet is None else Denoiser(model.motion_unet, batcher, "motion")


class Seat:
    """Pipelines for one request at a time."""

    def __init__(self, shared: SharedModel) -> None:
        self._shared = shared
        self._tokenizer = copy.deepcopy(shared.model.tokenizer)
        self._pipelines: dict[Task, Any] = {}

    def pipeline(self, task: Task) -> Any:
        """The task's pipeline with a scheduler that no request has used."""
        if task not in self._pipelines:
            self._pipelines[task] = self._build(task)
        pipeline = self._pipelines[task]
        scheduler = self._shared.model.scheduler
        pipeline.scheduler = type(scheduler).from_config(scheduler.config)
        return pipeline

    def _build(self, task: Task) -> Any:
        shared = self._shared
        parts = {"vae": shared.vae, "text_encoder": shared.text_encoder, "tokenizer": self._tokenizer}
        parts |= {"scheduler": copy.deepcopy(shared.model.scheduler), "feature_extractor": None}
        if task is Task.TEXT_TO_VIDEO:
            parts |= {"unet": shared.motion_unet, "motion_adapter": None}
        else:
            parts |= {"unet": shared.unet, "safety_checker": None, "requires_safety_checker": False}
        pipeline = PIPELINES[task](**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


class Seats:
    """Seats that are free; a new one is built when none is."""

    def __init__(self, shared: SharedModel) -> None:
        self._shared = shared
        self._free: queue.SimpleQueue[Seat] = queue.SimpleQueue()

    @contextlib.contextmanager
    def one(self) -> Iterator[Seat]:
        """A seat for the length of a request."""
        try:
            seat = self._free.get_nowait()
        except queue.Empty:
            seat = Seat(self._shared)
        try:
            yield seat
        finally:
            self._free.put(seat)


class PredictedResult:
    """Remembers what a scheduler expects the finished latents to be, for previews.

    The latents of an unfinished request are mostly noise; the scheduler's own guess of the result is a picture from the
    first steps on. Schedulers that make no guess fall back to the latents.
    """

    def __init__(self, scheduler: Any) -> None:
        self.latents: torch.Tensor | None = None
        scheduler.step = self._watched(scheduler.step)

    def _watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        # functools.wraps keeps the signature, which pipelines inspect.
        @functools.wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            guess = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            self.latents = guess if guess is not None else getattr(output, "pred_original_sample", None)
            return output

        return watched
