"""What a job still asks of its model.

GPU-seconds of an item = steps that are computed × seconds of one step at its shape. The seconds are the engine's own, measured
at start-up in the passes that it makes of many requests, so that a replica which is given the work in parallel needs as
many seconds as the sum says. A shape that was not measured costs what the nearest one does, in proportion to its pixels.
Reading prompts and decoding are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from easel_api.generationjob import GenerationJobSpec, ItemCounts
from easel_api.shapes import Shape, nearest, parse
from easel_api.tasks import TAKES, Quality

COMPUTED = {Quality.EXACT: 1.0, Quality.STANDARD: 0.75, Quality.DRAFT: 0.5}
"""Share of the steps that are computed, as the API describes the qualities."""

DEFAULT_FRAMES = 8
"""Of a clip that names no number, where no clip was measured; as the API says."""


@dataclass(frozen=True, slots=True)
class JobWork:
    """Work of one job that is not done yet."""

    model: str
    """Name of the ModelDeployment that shall do it."""
    items: int
    gpu_seconds: float | None
    """None while nobody has measured the model."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The size of what a job makes; what is None is the model's own."""

    width: int | None
    height: int | None
    frames: int | None
    clip: bool

    def shape(self, own: Shape) -> Shape:
        """The shape, of a model whose own is this one."""
        length = self.frames or (own[2] if own[2] > 1 else DEFAULT_FRAMES)
        return self.width or own[0], self.height or own[1], length if self.clip else 1


def wanted_by(spec: GenerationJobSpec) -> Wanted:
    """What a job says of its size."""
    parameters = spec.parameters
    return Wanted(parameters.width, parameters.height, parameters.frames, TAKES[spec.task].video)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a model's steps cost: seconds by shape (`WIDTHxHEIGHT`, `xFRAMES` added for clips), and its default quality."""

    step_seconds: Mapping[str, float]
    quality: Quality = Quality.EXACT

    def of_step(self, wanted: Wanted) -> float | None:
        """Seconds of one step; None: nothing was measured."""
        measured = {parse(name): seconds for name, seconds in self.step_seconds.items()}
        # Clips by clips and pictures by pictures, where both were measured.
        known = {shape: seconds for shape, seconds in measured.items() if (shape[2] > 1) == wanted.clip} or measured
        if not known:
            return None
        asked = wanted.shape(next(iter(known)))
        near = nearest(known, asked)
        return known[near] * math.prod(asked) / math.prod(near)


UNMEASURED = Costs({})


def items_left(spec: GenerationJobSpec, counts: ItemCounts | None) -> int:
    """Items that are neither stored nor given up."""
    if counts is None or not counts.total:
        return spec.item_count()
    return max(0, counts.total - counts.succeeded - counts.failed)


def gpu_seconds(spec: GenerationJobSpec, items: int, costs: Costs) -> float | None:
    """GPU-seconds of so many items of a job."""
    parameters = spec.parameters
    seconds = costs.of_step(wanted_by(spec))
    if seconds is None:
        return None
    computed = parameters.steps * COMPUTED[spec.quality or costs.quality] * (parameters.strength or 1.0)
    # A GAN or a VAE makes a picture in one pass.
    return items * (1 if TAKES[spec.task].truncation else computed) * seconds
