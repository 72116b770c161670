"""Input pictures: what people send by mistake, and what attackers send on purpose."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pytest
from asking import png, request
from PIL import Image

from easel_api.errors import InvalidInput, Unsupported
from easel_api.tasks import Task
from easel_inference.engine.pictures import decode
from easel_inference.generation import Inputs

IMAGE = request(task=Task.IMAGE_TO_IMAGE)
INPAINT = request(task=Task.INPAINT)
PICTURE = png(Image.effect_noise((128, 128), 80))


def bomb(side: int) -> bytes:
    """A PNG of `side` squared white pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\xff" * (side // 8)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_good_picture_comes_in_colour() -> None:
    pictures = decode(IMAGE, Inputs(PICTURE))
    assert pictures.image is not None
    assert (pictures.image.mode, pictures.image.size) == ("RGB", (128, 128))


def test_text_is_not_a_picture() -> None:
    with pytest.raises(InvalidInput, match="not a picture") as caught:
        decode(IMAGE, Inputs(b"a red mug on a beach"))
    assert caught.value.where == "image"


def test_a_truncated_picture_is_named() -> None:
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        decode(IMAGE, Inputs(PICTURE[: len(PICTURE) // 2]))


@pytest.mark.parametrize("side", [8_008, 12_000, 30_000])
def test_a_bomb_is_refused_before_it_unfolds(side: int) -> None:
    data = bomb(side)
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="more than 64 megapixels"):
        decode(IMAGE, Inputs(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    mask = png(Image.new("L", (64, 128)))
    with pytest.raises(InvalidInput) as caught:
        decode(INPAINT, Inputs(PICTURE, mask))
    assert caught.value.where == "mask"
    assert caught.value.found == "64 x 128, the image has 128 x 128"


@pytest.mark.parametrize(("inputs", "where"), [(Inputs(), "image"), (Inputs(PICTURE), "mask")])
def test_a_missing_picture_is_named(inputs: Inputs, where: str) -> None:
    with pytest.raises(InvalidInput, match="inpaint needs one") as caught:
        decode(INPAINT, inputs)
    assert caught.value.where == where


def test_a_picture_that_the_task_does_not_take_is_refused() -> None:
    with pytest.raises(Unsupported):
        decode(request(), Inputs(PICTURE))


def test_what_is_transparent_becomes_white() -> None:
    hidden = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image = decode(IMAGE, Inputs(png(hidden))).image
    assert image is not None
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_lies_as_its_camera_says() -> None:
    photo, target = Image.new("RGB", (64, 128)), io.BytesIO()
    exif = photo.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo.save(target, "JPEG", exif=exif)
    image = decode(IMAGE, Inputs(target.getvalue())).image
    assert image is not None
    assert image.size == (128, 64)
