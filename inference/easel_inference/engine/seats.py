"""A request's own light pipelines around the shared weights.

Schedulers keep the step they are at, and fast tokenizers keep padding and truncation, so threads that shared them would
break one another. A seat has its own tokenizers and pipelines and is used by one request at a time; the scheduler is new
for each request. Building one takes milliseconds and no weights.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import queue
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch

from easel_api.tasks import TAKES, Task

from .acceleration import compile_blocks
from .batcher import Batcher
from .counters import Counters
from .embeddings import EmbeddingCache
from .loading import LoadedModel
from .loras import Loras
from .proxies import Autoencoder, ControlNet, Denoiser, Encoder


class SharedModel:
    """The proxies around one loaded model, shared by all seats."""

    def __init__(self, model: LoadedModel, batcher: Batcher, counters: Counters) -> None:
        self.model, self.batcher = model, batcher
        embeddings, family = EmbeddingCache(counters), model.family
        denoisers = {name: model.parts[name] for name in family.denoisers if name in model.parts}
        moving = {} if model.motion_unet is None else {"motion": model.motion_unet}
        loras = Loras(model.loras, [*denoisers.values(), *moving.values()])
        use = loras.use if model.loras else None
        for denoiser in (denoisers | moving).values():
            # Each set of LoRAs would compile anew; with graphs alone a set that is new costs one capture.
            if denoiser.device.type == "cuda" and not model.loras:
                compile_blocks(denoiser)
        self.proxies: dict[str, Any] = {
            name: Denoiser(part, batcher, name, shared=family.shared, listed=family.listed, use=use)
            for name, part in (denoisers | moving).items()
        }
        for name in family.encoders:
            if model.parts.get(name) is not None:
                self.proxies[name] = Encoder(model.parts[name], batcher, name, embeddings)
        self.proxies["vae"] = Autoencoder(model.parts["vae"], batcher, "vae")
        self.controlnets = {
            name: ControlNet(net, batcher, f"controlnet {name}") for name, net in model.controlnets.items()
        }

    @property
    def vae(self) -> Any:
        """The VAE's proxy."""
        return self.proxies["vae"]


class Seat:
    """Pipelines for one request at a time."""

    def __init__(self, shared: SharedModel) -> None:
        self._shared = shared
        self._own = {
            name: copy.deepcopy(part)
            for name, part in shared.model.parts.items()
            if name.startswith("tokenizer") or name == "processor"
        }
        self._pipelines: dict[tuple[Task, str], Any] = {}

    def pipeline(self, task: Task, controlnet: str = "") -> Any:
        """The task's pipeline with a scheduler that no request has used; `controlnet` names the one to follow."""
        if (task, controlnet) not in self._pipelines:
            self._pipelines[task, controlnet] = self._build(task, controlnet)
        pipeline = self._pipelines[task, controlnet]
        scheduler = self._shared.model.parts["scheduler"]
        pipeline.scheduler = type(scheduler).from_config(scheduler.config)
        return pipeline

    def _build(self, task: Task, controlnet: str) -> Any:
        shared = self._shared
        pipeline_class = getattr(diffusers, shared.model.family.tasks[task])
        available = {**shared.model.parts, **shared.proxies, **self._own, **shared.model.settings}
        if "motion" in shared.proxies and TAKES[task].video and task is not Task.INTERPOLATION:
            available |= {"unet": shared.proxies["motion"], "motion_adapter": None}
        if controlnet:
            available["controlnet"] = shared.controlnets[controlnet]
        # What the folder lacks or the family ignores, such as a safety checker, is None; settings keep their defaults.
        parameters = inspect.signature(pipeline_class.__init__).parameters.values()
        required = {taken.name: None for taken in parameters if taken.default is taken.empty and taken.name != "self"}
        taken = {taken.name: available[taken.name] for taken in parameters if taken.name in available}
        pipeline = pipeline_class(**(required | taken))
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
