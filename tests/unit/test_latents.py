"""Paths through latents: their ends, their length, their speed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from easel_inference.engine.latents import class_of, latent_of, path, slerp, truncate

LATENT_OF_0 = [0.1257302210933933, -0.1321048632913019, 0.6404226504432821, 0.10490011715303971]
CLASSES_OF_0_AND_7 = [2, 7]

seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([2, 3, 32, 512])


def angle(one: NDArray[Any], other: NDArray[Any]) -> float:
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return float(np.arccos(np.clip(cosine, -1, 1)))


@given(seeds, seeds, sizes, st.integers(2, 20))
def test_a_path_begins_and_ends_where_it_should_and_keeps_its_length(
    first: int, last: int, size: int, frames: int
) -> None:
    one, other = latent_of(first, size), latent_of(last, size)
    way = path(one, other, frames)
    assert way.shape == (frames, size)
    assert np.allclose(way[0], one)
    assert np.allclose(way[-1], other)
    # A straight line would pass near the middle, where no latent of a Gaussian is.
    lengths = np.linalg.norm(way, axis=1)
    assert lengths.min() >= 0.999 * min(lengths[0], lengths[-1])
    assert lengths.max() <= 1.001 * max(lengths[0], lengths[-1])


@given(seeds, seeds, sizes)
def test_a_path_turns_at_one_speed(first: int, last: int, size: int) -> None:
    one, other = latent_of(first, size), latent_of(last, size)
    assume(1e-3 < angle(one, other) < np.pi - 1e-3)
    turns = [angle(a, b) for a, b in zip(path(one, other, 9), path(one, other, 9)[1:], strict=False)]
    assert max(turns) - min(turns) < 1e-6


@given(seeds, sizes, st.floats(0, 1))
def test_opposite_and_equal_ends_have_a_path_too(seed: int, size: int, share: float) -> None:
    one = latent_of(seed, size)
    for other in (one, -one, 3 * one):
        middle = slerp(one, other, share)
        assert np.isfinite(middle).all()
        assert np.linalg.norm(middle) >= 0.999 * np.linalg.norm(one)


@given(seeds, sizes, st.floats(0, 1))
def test_truncation_draws_towards_the_middle(seed: int, size: int, share: float) -> None:
    z = latent_of(seed, size)
    assert np.allclose(np.linalg.norm(truncate(z, share)), share * np.linalg.norm(z))


def test_a_seed_is_one_latent_on_every_machine_and_release() -> None:
    assert np.allclose(latent_of(0, 4), LATENT_OF_0, rtol=0, atol=1e-15)
    assert [class_of(seed, 8) for seed in (0, 7)] == CLASSES_OF_0_AND_7
