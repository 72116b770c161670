"""A diffusion model that serves requests: its weights, its batcher, its seats."""

from __future__ import annotations

import inspect
import threading
import time
from pathlib import Path

import diffusers
import torch

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.shapes import Shape, name_of
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs, ModelInfo

from .acceleration import keep_compiled_code
from .batcher import UNITS, Batcher, Job
from .counters import Counters
from .loading import LoadedModel, load
from .memory import Memory
from .participant import Participant
from .plans import Abilities, Plan, plan
from .seats import Seats, SharedModel
from .tasks import Drawn, OnPreview, OnStep, draw
from .words import PromptLength

WARMED_UP = (Task.TEXT_TO_IMAGE, Task.TEXT_TO_VIDEO)


class Diffusion:
    """Blocks while it loads and warms up; raises what `loading` raises."""

    def __init__(self, spec: ModelDeploymentSpec, claims: Path, counters: Counters, threads: int) -> None:
        started = time.monotonic()
        if spec.cache:
            keep_compiled_code(claims / spec.cache.folder)
        model = load(spec, claims)
        device = torch.device("cuda" if spec.resources.gpus else "cpu")
        self._counters = counters
        self._batcher = Batcher(counters, threads=threads, units=UNITS[device.type])
        self._shared = SharedModel(model, self._batcher, counters)
        self._seats = Seats(self._shared)
        self._prompt_length = PromptLength(model.family, model.parts)
        self._abilities = _abilities(spec, model)
        self._memory = Memory(device)
        self._step_seconds: dict[Shape, float] = {}
        self._warm_up(spec)
        measured = {
            "loaded_seconds": round(time.monotonic() - started, 3),
            "peak_memory": {name_of(shape): peak for shape, peak in self._memory.peaks.items()},
            "step_seconds": {name_of(shape): seconds for shape, seconds in self._step_seconds.items()},
            "weights_memory": self._memory.weights,
            "memory_capacity": self._memory.capacity,
        }
        self.info: ModelInfo = model.info.model_copy(update=measured)

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of the batcher's last turn."""
        return self._batcher.heartbeat

    def plan(self, request: GenerationRequest, inputs: Inputs) -> Plan:
        """Check a request; see `plans.plan`."""
        checked = plan(request, inputs, self._abilities)
        self._prompt_length.check(request)
        self._memory.check((checked.width, checked.height, checked.frames))
        return checked

    def participant(self, checked: Plan, deadline: float) -> Participant:
        """How the batcher will see the request."""
        request = checked.request
        return Participant(
            priority=request.priority,
            deadline=deadline,
            quality=checked.quality,
            adapters=checked.loras,
            alone=request.reproducible,
        )

    def draw(self, checked: Plan, participant: Participant, on_step: OnStep, on_preview: OnPreview) -> Drawn:
        """Make it; see `tasks.draw`."""
        with self._seats.one() as seat:
            return draw(checked, seat, self._shared, participant, on_step, on_preview)

    def wake(self) -> None:
        """A request was cancelled."""
        self._batcher.wake()

    def close(self) -> None:
        """End the batcher."""
        self._batcher.close()

    def _warm_up(self, spec: ModelDeploymentSpec) -> None:
        """Draw one step at each size, so that the first request pays for nothing that happens once, and measure it."""
        shapes = [(shape.width, shape.height) for shape in spec.engine.shapes] or [self._abilities.limits.native]
        for task in WARMED_UP:
            for width, height in shapes if task in self._abilities.tasks else ():
                request = GenerationRequest(
                    id="warm-up", task=task, prompt="", width=width, height=height, steps=1, encoding="webp"
                )
                self._try(plan(request, Inputs(), self._abilities))
        self._counters.reset()

    def _try(self, checked: Plan) -> None:
        """Draw it and find how much memory it takes, and how many of its passes are best made as one."""
        shape = (checked.width, checked.height, checked.frames)
        with self._memory.measured(shape), watched(self._batcher) as jobs:
            self.draw(checked, Participant(), lambda *_: None, lambda *_: None)
        self._step_seconds.setdefault(shape, sum(map(self._batcher.measure, jobs)))


class watched:  # noqa: N801 - reads as a function
    """The denoiser's jobs of this thread, as they pass by."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher, self._jobs = batcher, dict[object, Job]()

    def __enter__(self) -> list[Job]:
        self._jobs_seen: list[Job] = []
        call, thread = self._batcher.call, threading.get_ident()

        def watched(job: Job) -> object:
            if job.counted and threading.get_ident() == thread and job.key not in self._jobs:
                self._jobs[job.key] = job
                self._jobs_seen.append(job)
            return call(job)

        self._batcher.call = watched  # type: ignore[method-assign]  # taken back below
        return self._jobs_seen

    def __exit__(self, *_: object) -> None:
        del self._batcher.call


def _abilities(spec: ModelDeploymentSpec, model: LoadedModel) -> Abilities:
    vae = model.parts["vae"]
    return Abilities(
        tasks=model.info.tasks,
        limits=model.limits,
        adapters={adapter.name: adapter.kind for adapter in spec.adapters},
        quality=spec.engine.quality,
        arguments={
            task: frozenset(inspect.signature(getattr(diffusers, name).__call__).parameters) - model.family.unheeded
            for task, name in model.family.tasks.items()
        },
        previews=type(vae) is diffusers.AutoencoderKL and "img_ids" not in model.family.shared,
    )
