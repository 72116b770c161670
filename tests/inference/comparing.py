"""Frames of an engine and of stock pipelines, as numbers that can be compared: before any encoder loses some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from waiting import held

from easel_inference.generation import GenerationRequest, Inputs

TOLERANCE = 3
"""Grey values of 255: sums of another batch size round otherwise."""

Frames = np.ndarray[Any, Any]
Asked = tuple[GenerationRequest, dict[str, bytes]]
"""A request and its inputs."""


def drawn(engine: Any, asked: Asked) -> Frames:
    """The engine's frames, [frames, height, width, 3], 0 to 255."""
    wanted, inputs = asked
    checked = engine._model.plan(wanted, Inputs(**inputs))
    participant = engine._model.participant(checked, math.inf)
    frames: Frames = engine._model.draw(checked, participant, lambda *_: None, lambda *_: None).frames.astype(np.int16)
    return frames


def drawn_together(engine: Any, several: Sequence[Asked]) -> list[Frames]:
    """Drawn at once: the batcher is held until the first call of each has come."""
    batcher = engine._model._batcher
    # What the smallest models gain by joining drowns in noise: here joined is joined, whether it pays or not.
    batcher._budgets.clear()
    with held(batcher, len(several)), ThreadPoolExecutor(len(several)) as pool:
        return list(pool.map(lambda asked: drawn(engine, asked), several))


def joined_passes(engine: Any) -> int:
    """Passes so far that held more than one call."""
    return sum(count for size, count in engine.counts.joined.items() if size > 1)


def grey(pictures: Any) -> Frames:
    """A pipeline's pictures, tensors [frames, 3, height, width] in 0..1 or clips of one, in the engine's form."""
    flat = pictures[0] if pictures.ndim == 5 else pictures
    frames: Frames = (flat.float().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.int16)
    return frames


def difference(one: Frames, other: Frames) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())
