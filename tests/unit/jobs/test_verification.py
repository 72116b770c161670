"""Nothing is stored on a backend's word alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from easel_api.errors import BadOutput
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.stores import sha256_of
from easel_inference.backends.base import Result
from easel_inference.generation import Finished, GenerationRequest, Inputs
from easel_inference.jobs.verification import verify

DATA = encode(np.zeros((1, 64, 72, 3), np.uint8), "png")
GROWING = encode(np.zeros((1, 32, 36, 3), np.uint8), "png")
"""An input picture of half the size."""
NOTHING = Inputs()
CLIP = encode(np.random.default_rng(1).integers(0, 255, (4, 64, 72, 3), dtype=np.uint8), "mp4", 8)


def request(**changes: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "a", "task": "text-to-image", "prompt": "x", "seed": 5} | changes))


def result(data: bytes = DATA, **changes: Any) -> Result:
    fields = {
        "media_type": "image/png", "sha256": sha256_of(data), "width": 72, "height": 64, "seed": 5, "steps": 20,
        "model_digest": "sha256:0", "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    return Result(Finished(**(fields | changes)), data, "b")


def test_what_was_asked_passes() -> None:
    verify(request(), NOTHING, result())
    verify(request(width=72, height=64), NOTHING, result())
    clip = {"media_type": "video/mp4", "frames": 4}
    verify(request(task="text-to-video", encoding="mp4", frames=4), NOTHING, result(CLIP, **clip))


def test_a_picture_that_grew_as_asked_passes() -> None:
    start = Inputs(image=GROWING)
    verify(request(task="upscale"), start, result())
    verify(request(task="upscale", scale=2), start, result())
    verify(request(task="upscale", width=72, height=64), start, result())
    verify(request(task="outpaint", expand={"left": 16, "right": 20, "bottom": 32}), start, result())
    verify(request(task="image-to-image"), start, result())


def test_care_is_what_was_asked_or_more() -> None:
    verify(request(quality="Draft"), NOTHING, result(quality="Standard"))
    verify(request(), NOTHING, result(quality="Draft"))
    verify(request(reproducible=True), NOTHING, result(reproducible=True))
    uses = [{"name": "a"}, {"name": "off", "weight": 0}]
    verify(request(adapters=uses), NOTHING, result(adapters={"a": "sha256:1", "motion": "sha256:2"}))


@pytest.mark.parametrize(
    ("asked", "came", "words"),
    [
        ({}, result(sha256="0" * 64), "other bytes arrived"),
        ({}, result(b"not a picture"), "not a PNG"),
        ({"encoding": "webp"}, result(), "another format"),
        ({}, result(media_type="image/webp"), "another format"),
        ({}, result(width=64), "another size"),
        ({"width": 128}, result(), "another width than asked .found: 72, not 128"),
        ({"height": 128}, result(), "another height"),
        ({"seed": 6}, result(), "another seed"),
        ({"task": "upscale", "scale": 3}, result(), "another width than asked .found: 72, not 108"),
        (
            {"task": "outpaint", "expand": {"left": 36, "top": 8}},
            result(),
            "another height than asked .found: 64, not 40",
        ),
        ({"quality": "Exact"}, result(quality="Standard"), "a lower quality than asked .found: Standard, not Exact"),
        ({"reproducible": True}, result(), "not reproducible"),
        ({"adapters": [{"name": "a"}, {"name": "b"}]}, result(adapters={"a": "d"}), "took no part .found: b"),
        (
            {"task": "text-to-video", "encoding": "mp4", "frames": 8},
            result(CLIP, media_type="video/mp4", frames=4),
            "another number of frames than asked",
        ),
        (
            {"task": "text-to-video", "encoding": "mp4"},
            result(CLIP, media_type="video/mp4", frames=5),
            "another number of frames than the backend said",
        ),
    ],
)
def test_what_was_not_is_refused(asked: dict[str, Any], came: Result, words: str) -> None:
    with pytest.raises(BadOutput, match=words):
        verify(request(**asked), Inputs(image=GROWING), came)
