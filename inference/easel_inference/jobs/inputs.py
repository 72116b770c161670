"""The pictures and clips a job starts from, checked before anything is made.

What a file says of its size is read before a pixel is decoded, so that a bomb stays small; then a picture is decoded once, so
that a truncated file is found here and not by the engine, item after item. A clip is not decoded: the worker has no video
library, and many frames of a GIF cost more than a picture does.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from easel_api.errors import BadOutput, EaselError, InvalidInput, NotFound
from easel_api.generationjob import CLIP_FORMATS, PICTURE_FORMATS, GenerationJobSpec, InputFile
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.headers import Header, describe, read_header
from easel_inference.generation import MEDIA_TYPES, Inputs

MAX_BYTES = 64 * 2**20
MAX_SIDE = 4096
_SMALLER = f"Name a file of at most {MAX_BYTES // 2**20} MiB"
PICTURES = {MEDIA_TYPES[name] for name in PICTURE_FORMATS}
CLIPS = {MEDIA_TYPES[name] for name in CLIP_FORMATS}

ReadS3 = Callable[[str, str], bytes | None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where inputs may be read from."""

    claims: Path
    """Folder that holds each mounted PersistentVolumeClaim by its name."""
    files: Path
    """Folder that a relative `file://` path starts from."""
    read_s3: ReadS3
    """Reads (bucket, key) with the job's S3 credentials."""


def load(spec: GenerationJobSpec, sources: Sources) -> Inputs:
    """All of them as encoded bytes; `InvalidInput` or `NotFound` names the field, what was found and what to do."""
    named = [(part.name, getattr(spec.inputs, part.name, None)) for part in dataclasses.fields(Inputs)]
    loaded = {name: _loaded(name, file, sources) for name, file in named if file is not None}
    if "image" in loaded and "mask" in loaded:
        _check_mask(loaded["mask"].header, loaded["image"].header)
    return Inputs(**{name: part.data for name, part in loaded.items()})


@dataclass(frozen=True, slots=True)
class _Loaded:
    data: bytes
    header: Header


def _loaded(name: str, file: InputFile, sources: Sources) -> _Loaded:
    field = f"spec.inputs.{name}"
    data = _bytes(file.uri, field, sources)
    header = _clip(data, field) if name == "clip" else _picture(data, field)
    return _Loaded(data, header)


def _check_mask(mask: Header, image: Header) -> None:
    if (mask.width, mask.height) != (image.width, image.height):
        raise InvalidInput(
            "the mask has another size than the image",
            where="spec.inputs.mask",
            found=f"mask {mask.width}×{mask.height}, image {image.width}×{image.height}",
            fix="Give both the same width and height",
        )


def _bytes(uri: str, field: str, sources: Sources) -> bytes:
    try:
        data = _read(uri, sources)
    except EaselError as error:
        raise type(error)(
            error.what, where=f"{field}.uri", found=error.found or error.where, fix=error.fix or _SMALLER
        ) from error
    if data is None:
        raise NotFound(
            "there is no such file", where=f"{field}.uri", found=uri, fix="Upload it, or correct the address"
        )
    return data


def _read(uri: str, sources: Sources) -> bytes | None:
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        path = (sources.files / rest).resolve()
        return _from_folder(path.parent, path.name)
    container, _, name = rest.partition("/")
    if scheme == "pvc":
        return _from_folder(sources.claims / container, name)
    return sources.read_s3(container, name)


def _from_folder(folder: Path, name: str) -> bytes | None:
    return DirectoryStore(folder).get(name, limit=MAX_BYTES)


def _picture(data: bytes, field: str) -> Header:
    try:
        header = read_header(data)
    except BadOutput:
        raise _not_a_picture(field, describe(data)) from None
    if header.media_type not in PICTURES:
        raise _not_a_picture(field, header.media_type)
    _check_size(header, field)
    _decode(data, field)
    return header


def _clip(data: bytes, field: str) -> Header:
    try:
        header = read_header(data)
    except BadOutput as error:
        is_mp4 = data[4:8] == b"ftyp"
        raise _not_a_clip(field, f"{error.what}, {error.found}" if is_mp4 else describe(data)) from None
    if header.media_type not in CLIPS:
        raise _not_a_clip(field, header.media_type)
    if header.frames < 2:
        raise _not_a_clip(field, f"one frame of {header.media_type}")
    _check_size(header, field)
    return header


def _check_size(header: Header, field: str) -> None:
    if max(header.width, header.height) > MAX_SIDE:
        raise InvalidInput(
            f"an input may have {MAX_SIDE} pixels a side at most",
            where=field,
            found=f"{header.width}×{header.height} pixels",
            fix="Scale it down",
        )


def _decode(data: bytes, field: str) -> None:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InvalidInput(
            "the picture is damaged or cut off",
            where=field,
            found=f"{describe(data)}; decoding failed",
            fix="Export or upload it again",
        ) from error


def _not_a_picture(field: str, found: str) -> InvalidInput:
    return InvalidInput("not a picture", where=field, found=found, fix="Name a PNG, JPEG or WebP file")


def _not_a_clip(field: str, found: str) -> InvalidInput:
    fix = "Name an MP4 that is not fragmented, a GIF or an animated WebP, of two frames or more"
    return InvalidInput("not a clip", where=field, found=found, fix=fix)
