"""Nothing is stored on a backend's word alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from easel_api.errors import BadOutput
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.stores import sha256_of
from easel_inference.backends.base import Result
from easel_inference.generation import Finished, GenerationRequest
from easel_inference.jobs.verification import verify

DATA = encode(np.zeros((1, 64, 72, 3), np.uint8), "png")
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
    verify(request(), result())
    verify(request(width=72, height=64), result())
    clip = {"media_type": "video/mp4", "frames": 4}
    verify(request(task="text-to-video", encoding="mp4", frames=4), result(CLIP, **clip))


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
        verify(request(**asked), came)
