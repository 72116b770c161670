"""Latents of generators that draw a picture in one pass: drawn from a seed, walked along, truncated. Pure, numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Latent = NDArray[np.float64]
"""[latent], or [N, latent]."""

PARALLEL = 1e-9
"""Sine of the angle below which two directions count as one line: float64 leaves no digits of what stands across it."""


def latent_of(seed: int, size: int) -> Latent:
    """The latent [size] of a seed >= 0: standard normal numbers of numpy's `Generator(PCG64(seed))`, in float64.

    The same on every machine. numpy may change how it makes normal numbers in a later release (NEP 19); a test holds
    numbers against that.
    """
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size)


def class_of(seed: int, classes: int) -> int:
    """The class that a seed draws where none is named; its stream is not the latent's."""
    return int(np.random.Generator(np.random.PCG64([seed, classes])).integers(classes))


def slerp(start: Latent, end: Latent, share: float) -> Latent:
    """The point at `share` (0…1) of the way from `start` to `end` [latent], on the great arc between them.

    Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), for directions of any dimension: with the
    angle w between the unit vectors p and q, sin((1-t)w)/sin(w) p + sin(tw)/sin(w) q. With r, the unit vector across p
    in their plane, that is cos(tw) p + sin(tw) r, which also holds at w = 0, and at w = pi for any r across p. Lengths
    are interpolated linearly: normal latents of one size have nearly equal ones, and a straight line between two would
    lead through shorter latents than the generator was trained on. `start` and `end` are returned as they are; from
    or to zero, which has no direction, the line is straight.
    """
    if share in (0.0, 1.0):
        return end.copy() if share else start.copy()
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if not all(lengths):
        return start + share * (end - start)
    first, last = start / lengths[0], end / lengths[1]
    turned = share * _angle(first, last)
    direction = np.cos(turned) * first + np.sin(turned) * _across(first, last)
    return np.asarray(direction * (lengths[0] + share * (lengths[1] - lengths[0])))


def path(start: Latent, end: Latent, frames: int) -> Latent:
    """Latents [frames, latent] in equal steps from `start` to `end`, both among them; one frame is `start`."""
    return np.stack([slerp(start, end, frame / max(frames - 1, 1)) for frame in range(frames)])


def truncate(latents: Latent, truncation: float) -> Latent:
    """Latents drawn towards the middle: 1 leaves them, 0 is the model's mean picture.

    The truncation trick of StyleGAN (Karras et al., "A style-based generator architecture for generative adversarial
    networks", 2019, appendix B), w' = mean + psi (w - mean), in z, whose mean is 0. BigGAN draws numbers beyond a
    threshold anew instead; that would tear a path from frame to frame.
    """
    return truncation * latents


def _angle(first: Latent, last: Latent) -> float:
    """The angle between unit vectors in radians; arccos of the product would lose half the digits near 0 and pi."""
    return float(2 * np.arctan2(np.linalg.norm(first - last), np.linalg.norm(first + last)))


def _across(first: Latent, last: Latent) -> Latent:
    """The unit vector at a right angle to `first` that points to `last`'s side; on one line, any at a right angle."""
    rest = last - (last @ first) * first
    if np.linalg.norm(rest) < PARALLEL:
        axis = np.zeros_like(first)
        axis[np.abs(first).argmin()] = 1.0
        rest = axis - (axis @ first) * first
    return np.asarray(rest / np.linalg.norm(rest))
