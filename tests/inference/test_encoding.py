"""Frames to files and back."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from easel_api.errors import Unsupported
from easel_inference.artifacts.encoding import Frames, encode, thumbnail
from easel_inference.generation import Encoding


def clip(frames: int) -> Frames:
    """A square that moves to the right over a plain ground."""
    result = np.full((frames, 96, 128, 3), (40, 90, 160), np.uint8)
    for index in range(frames):
        result[index, 30:60, 10 + 8 * index : 40 + 8 * index] = (230, 60, 40)
    return result


@pytest.mark.parametrize(("encoding", "tolerance"), [("png", 0), ("jpeg", 12), ("webp", 24)])
def test_a_picture_comes_back(encoding: Encoding, tolerance: int) -> None:
    picture = clip(1)
    decoded = np.asarray(Image.open(io.BytesIO(encode(picture, encoding))).convert("RGB"))
    # Chroma is halved at the square's edges, so away from them is where colours must hold.
    assert np.abs(decoded[35:55, 15:35].astype(int) - picture[0, 35:55, 15:35]).max() <= tolerance


def test_an_mp4_has_every_frame_at_its_rate() -> None:
    with av.open(io.BytesIO(encode(clip(8), "mp4", 12))) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert (len(frames), stream.average_rate, frames[0].shape) == (8, 12, (96, 128, 3))
    assert np.abs(frames[7][40:50, 75:90].astype(int) - (230, 60, 40)).max() < 24


@pytest.mark.parametrize("encoding", ["gif", "webp"])
def test_an_animation_has_every_frame(encoding: Encoding) -> None:
    animation = Image.open(io.BytesIO(encode(clip(6), encoding, 10)))
    assert animation.n_frames == 6
    animation.seek(1)
    animation.load()
    assert animation.info["duration"] == 100


@pytest.mark.parametrize("encoding", ["mp4", "gif", "webp", "png", "jpeg"])
def test_equal_frames_give_equal_bytes(encoding: Encoding) -> None:
    frames = clip(8 if encoding in ("mp4", "gif", "webp") else 1)
    assert encode(frames, encoding, 8) == encode(frames.copy(), encoding, 8)


def test_a_clip_is_no_png() -> None:
    with pytest.raises(Unsupported, match="one picture") as caught:
        encode(clip(2), "png")
    assert "mp4" in caught.value.fix


def test_a_thumbnail_fits() -> None:
    assert Image.open(io.BytesIO(thumbnail(clip(1)[0], 64))).size == (64, 48)
