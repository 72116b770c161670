"""Format, size and number of frames of a picture or clip, from its header alone.

A decompression bomb is a small file that says it is huge, so what a file says of itself is read before anything is
decoded. Pictures are read by Pillow; an MP4's boxes (ISO/IEC 14496-12) are walked here, because the worker carries no
video library.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError

from easel_api.errors import BadOutput

PICTURES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_MP4_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: its size upright, in pixels."""

    media_type: str
    width: int
    height: int
    frames: int = 1
    seconds: float = 0.0
    """Of an MP4."""


def read_header(data: bytes) -> Header:
    """The header; `BadOutput` when the bytes are neither a picture nor a clip that Easel knows."""
    if data[4:8] == b"ftyp":
        return _mp4(data)
    try:
        with _opened(data) as picture:
            width, height = picture.size[::-1] if _lies_on_its_side(picture) else picture.size
            return Header(PICTURES[picture.format or ""], width, height, int(getattr(picture, "n_frames", 1)))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, KeyError, EOFError, struct.error) as error:
        raise BadOutput("not a PNG, JPEG, WebP, GIF or MP4 file", found=describe(data)) from error


def _opened(data: bytes) -> Image.Image:
    # Pillow warns of bombs when opening and refuses when decoding; here nothing is decoded, and callers judge the size.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(data), formats=tuple(PICTURES))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _lies_on_its_side(picture: Image.Image) -> bool:
    """Whether a camera stored the picture turned by a quarter and says so; everything that shows pictures turns it back."""
    # Pillow would decode a whole PNG to look for what stands behind its pixels.
    says = picture.format != "PNG" or "exif" in picture.info
    return says and picture.getexif().get(ExifTags.Base.Orientation) in {5, 6, 7, 8}


def describe(data: bytes) -> str:
    """What a file seems to be, for a person, without showing what is in it."""
    if not data:
        return "an empty file"
    known = (
        (b"\x89PNG", "a damaged PNG"),
        (b"\xff\xd8", "a damaged JPEG"),
        (b"%PDF", "a PDF"),
        (b"PK\x03\x04", "a ZIP file"),
    )
    for start, name in known:
        if data.startswith(start):
            return f"{name} of {len(data)} bytes"
    try:
        data[:512].decode()
    except UnicodeDecodeError as error:
        if error.start < min(len(data), 512) - 4:
            return f"{len(data)} bytes of unknown binary data"
    return f"a text file of {len(data)} bytes"


def _mp4(data: bytes) -> Header:
    width = height = 0
    seconds = 0.0
    try:
        for kind, body in _boxes(data):
            if kind == b"tkhd":
                width, height = (value >> 16 for value in struct.unpack(">II", body[-8:]))
            elif kind == b"mdhd":
                scale, length = struct.unpack(*((">IQ", body[20:32]) if body[0] else (">II", body[12:20])))
                seconds = length / scale if scale else 0.0
            elif kind == b"stsz" and width and height:  # of a track of sound both are 0
                frames = struct.unpack(">I", body[8:12])[0]
                if frames:
                    return Header("video/mp4", width, height, frames, seconds)
    except struct.error as error:
        raise BadOutput("a damaged MP4", found=f"{len(data)} bytes") from error
    raise BadOutput("an MP4 without a video track", found=f"{len(data)} bytes")


def is_whole(data: bytes) -> bool:
    """Whether an MP4 has all the bytes that it says it has: a file whose index comes first can lack its end."""
    try:
        return {b"moov", b"mdat"} <= {kind for kind, _ in _boxes(data, into=frozenset())}
    except (BadOutput, struct.error):
        return False


def _boxes(data: bytes, into: frozenset[bytes] = _MP4_CONTAINERS) -> Iterator[tuple[bytes, bytes]]:
    """Boxes with their bodies, in order; goes into the containers that lead to a track."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        start = at + 8
        if size == 1:
            size, start = struct.unpack(">Q", data[at + 8 : at + 16])[0], at + 16
        end = len(data) if size == 0 else at + size
        if end > len(data) or end <= at:
            raise BadOutput("a damaged MP4", found=f"box {kind!r} reaches beyond the end")
        if kind in into:
            yield from _boxes(data[start:end], into)
        else:
            yield kind, data[start:end]
        at = end
