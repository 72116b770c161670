"""A generator that is not diffusion, served by the same engine: one pass a picture, no steps to join."""

from __future__ import annotations

import time
from pathlib import Path

import onnxruntime

from easel_api.errors import InvalidInput, Unsupported
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs, ModelInfo

from .counters import Counters
from .generators import Generator, Wish, check_generator
from .participant import Participant
from .plans import Abilities, Plan, plan
from .sizes import Limits
from .sources import model_folder
from .tasks import Drawn, OnPreview, OnStep

TASKS = (Task.LATENT_TO_IMAGE, Task.LATENT_TO_VIDEO)
MOST_FRAMES = 256
_LEAVE_OUT = "Leave it out"


class LatentModel:
    """A GAN or a VAE's decoder in ONNX; raises what `generators.check_generator` raises."""

    def __init__(self, spec: ModelDeploymentSpec, claims: Path, counters: Counters, threads: int) -> None:
        started = time.monotonic()
        checked = check_generator(model_folder(spec, claims), digest=spec.model.digest)
        self._generator = Generator(checked, threads=threads, gpu=spec.resources.gpus > 0)
        self._classes = checked.document.classes or ()
        size = checked.document.width, checked.document.height
        self._abilities = Abilities(TASKS, Limits(*size, factor=1, multiple=1, frames=MOST_FRAMES), previews=False)
        seconds = self._pass_seconds()
        self.info = ModelInfo(
            name=spec.model.source,
            digest=checked.digest,
            family="Onnx",
            tasks=TASKS,
            parameters=checked.parameters,
            dtype="float32",
            device="cuda" if spec.resources.gpus else "cpu",
            width=size[0],
            height=size[1],
            loaded_seconds=round(time.monotonic() - started, 3),
            step_seconds={f"{size[0]}x{size[1]}": seconds},
            versions={"onnxruntime": onnxruntime.__version__},
        )

    def _pass_seconds(self) -> float:
        """Seconds of one picture; the first one pays for what happens once."""
        self._generator.generate(Wish(seed=0), check=lambda: None, progress=lambda *_: None)
        started = time.monotonic()
        self._generator.generate(Wish(seed=0), check=lambda: None, progress=lambda *_: None)
        return time.monotonic() - started

    @property
    def heartbeat(self) -> float:
        """There is no loop that could stand still."""
        return time.monotonic()

    def plan(self, request: GenerationRequest, inputs: Inputs) -> Plan:
        """Check a request; a generator draws one size, and a prompt names its class."""
        checked = plan(request, inputs, self._abilities)
        width, height = self._abilities.limits.native
        if (checked.width, checked.height) != (width, height):
            found = f"{checked.width}x{checked.height} pixels"
            raise Unsupported(
                f"this generator draws {width}x{height} pixels", where="width", found=found, fix=_LEAVE_OUT
            )
        if request.negative_prompt:
            raise Unsupported("a generator takes no negative prompt", where="negative_prompt", fix=_LEAVE_OUT)
        for text, where in ((request.prompt, "prompt"), (request.end_prompt, "end_prompt")):
            self._class(text, where)
        return checked

    def participant(self, checked: Plan, deadline: float) -> Participant:
        """The request, for its cancellation alone."""
        return Participant(priority=checked.request.priority, deadline=deadline)

    def draw(self, checked: Plan, participant: Participant, on_step: OnStep, on_preview: OnPreview) -> Drawn:
        """Make it; each pass counts as a step."""
        request, started = checked.request, time.monotonic()
        end_seed = request.end_seed
        if checked.frames > 1 and end_seed is None and request.end_prompt is None:
            end_seed = (request.seed + 1) % 2**32  # a path needs an end, and any other seed is one
        wish = Wish(
            seed=request.seed,
            frames=checked.frames,
            end_seed=end_seed,
            truncation=request.truncation or 1.0,
            class_index=self._class(request.prompt, "prompt"),
            end_class=self._class(request.end_prompt, "end_prompt"),
        )
        frames = self._generator.generate(wish, check=participant.check, progress=on_step)
        return Drawn(frames, len(frames), len(frames), time.monotonic() - started, 0.0)

    def wake(self) -> None:
        """Nobody waits here."""

    def close(self) -> None:
        """Nothing to end."""

    def _class(self, text: str | None, where: str) -> int | None:
        if not text:
            return None
        if not self._classes:
            raise Unsupported("this generator has no classes", where=where, fix=_LEAVE_OUT)
        if text not in self._classes:
            names = ", ".join(self._classes[:20])
            raise InvalidInput("the generator has no such class", where=where, fix=f"It has {names}")
        return self._classes.index(text)
