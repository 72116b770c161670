"""Headers: format, size and frames without decoding."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from easel_api.errors import BadOutput
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.headers import Header, describe, is_whole, read_header
from easel_inference.generation import MEDIA_TYPES, Encoding


def frames(count: int, width: int = 48, height: int = 32) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def huge_png() -> bytes:
    """A few bytes that say they are 30 000 × 30 000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
def test_pictures(encoding: Encoding) -> None:
    assert read_header(encode(frames(1), encoding)) == Header(MEDIA_TYPES[encoding], 48, 32)


@pytest.mark.parametrize("encoding", ["gif", "webp", "mp4"])
def test_clips(encoding: Encoding) -> None:
    seconds = 5 / 8 if encoding == "mp4" else 0.0
    assert read_header(encode(frames(5), encoding, 8)) == Header(MEDIA_TYPES[encoding], 48, 32, 5, seconds)


def test_a_clip_that_lacks_its_end_is_not_whole() -> None:
    """The index may come first, so that it reads well."""
    whole = encode(frames(5), "mp4", 8)
    assert is_whole(whole)
    assert not is_whole(whole[: len(whole) // 2])
    assert not is_whole(whole[:-1])
    assert not is_whole(b"\0\0\0\x08ftyp")


def test_sound_beside_the_pictures_does_not_hide_them() -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, kind) + body

    def track(width: int, height: int, samples: int) -> bytes:
        sizes = box(b"stsz", struct.pack(">III", 0, 0, samples))
        inner = box(b"mdia", box(b"minf", box(b"stbl", sizes)))
        return box(b"trak", box(b"tkhd", bytes(76) + struct.pack(">II", width << 16, height << 16)) + inner)

    start = box(b"ftyp", b"isom")
    for tracks in ((track(48, 32, 5), track(0, 0, 44)), (track(0, 0, 44), track(48, 32, 5))):
        assert read_header(start + box(b"moov", b"".join(tracks))) == Header("video/mp4", 48, 32, 5)
    with pytest.raises(BadOutput, match="without a video track"):
        read_header(start + box(b"moov", track(0, 0, 44)))


@pytest.mark.parametrize(
    ("form", "orientation", "size"),
    [("JPEG", 6, (32, 48)), ("WEBP", 8, (32, 48)), ("PNG", 5, (32, 48)), ("JPEG", 3, (48, 32))],
)
def test_a_picture_that_a_camera_turned_is_measured_upright(form: str, orientation: int, size: tuple[int, int]) -> None:
    target, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (48, 32)).save(target, form, exif=exif)
    header = read_header(target.getvalue())
    assert (header.width, header.height) == size


def test_a_bomb_is_measured_and_not_decoded() -> None:
    assert read_header(huge_png()) == Header("image/png", 30_000, 30_000)
    assert Image.MAX_IMAGE_PIXELS is not None


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_our_error_or_read(data: bytes) -> None:
    for content in (data, b"\0\0\0\x18ftyp" + data, b"\x89PNG\r\n\x1a\n" + data):
        with contextlib.suppress(BadOutput):
            read_header(content)


@given(cut=st.integers(0, 2000))
def test_a_cut_clip_is_refused_or_read_whole(cut: int) -> None:
    whole = encode(frames(3), "mp4", 8)
    try:
        header = read_header(whole[: min(cut, len(whole))])
    except BadOutput:
        return
    assert (header.width, header.height, header.frames) == (48, 32, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"once upon a time\n" * 40, "a text file of 680 bytes"),
        ("größe ".encode() * 200, "a text file"),
        (b"\x89PNG\r\n\x1a\nxx", "a damaged PNG of 10 bytes"),
        (bytes(range(128, 256)) * 8, "1024 bytes of unknown binary data"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_people_are_told_what_a_file_seems_to_be(data: bytes, words: str) -> None:
    assert words in describe(data)


def test_a_bmp_is_not_among_the_formats() -> None:
    target = io.BytesIO()
    Image.new("RGB", (8, 8)).save(target, "BMP")
    with pytest.raises(BadOutput):
        read_header(target.getvalue())
