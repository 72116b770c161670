"""What is made, by its size: width and height in pixels, and frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

Shape = tuple[int, int, int]
"""Width and height in pixels, and frames: 1 for a picture."""


def name_of(shape: Shape) -> str:
    """`512x512`, or `512x512x16` for a clip of 16 frames."""
    width, height, frames = shape
    return f"{width}x{height}" + (f"x{frames}" if frames > 1 else "")


def parse(name: str) -> Shape:
    """The shape of that name."""
    width, height, *frames = map(int, name.split("x"))
    return width, height, frames[0] if frames else 1


def nearest(known: Iterable[Shape], shape: Shape) -> Shape:
    """Of the known shapes the one whose pixels are the fewest times more or less; there must be one."""
    return min(known, key=lambda one: abs(math.log(math.prod(one) / math.prod(shape))))


def peak_of(peaks: Mapping[Shape, int], shape: Shape) -> int:
    """Bytes that a shape needs, by the measured one that is nearest in pixels; 0 where nothing was measured.

    Activations grow with the pixels of all frames: fused attention never holds the matrix of all pairs.
    """
    if not peaks:
        return 0
    known = nearest(peaks, shape)
    return int(peaks[known] * math.prod(shape) / math.prod(known))
