"""The pictures a job starts from, checked before anything is made.

What a file says of its size is read before a pixel is decoded, so that a bomb stays small; then it is decoded once, so that
a truncated file is found here and not by the engine, item after item.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from easel_api.errors import BadOutput, EaselError, InvalidInput, NotFound
from easel_api.generationjob import GenerationJobSpec, InputFile
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.headers import Header, describe, read_header
from easel_inference.generation import Inputs

MAX_BYTES = 64 * 2**20
MAX_SIDE = 4096
_SMALLER = f"Name a picture file of at most {MAX_BYTES // 2**20} MiB"
FORMATS = {"image/png", "image/jpeg", "image/webp"}

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
    """Both pictures as encoded bytes; `InvalidInput` or `NotFound` names the field, what was found and what to do."""
    if spec.inputs is None:
        return Inputs()
    image, size = _picture(spec.inputs.image, "spec.inputs.image", sources)
    mask, mask_size = _picture(spec.inputs.mask, "spec.inputs.mask", sources)
    if size and mask_size and size != mask_size:
        raise InvalidInput(
            "the mask has another size than the image",
            where="spec.inputs.mask",
            found=f"mask {mask_size[0]}×{mask_size[1]}, image {size[0]}×{size[1]}",
            fix="Give both the same width and height",
        )
    return Inputs(image, mask)


def _picture(source: InputFile | None, field: str, sources: Sources) -> tuple[bytes | None, tuple[int, int] | None]:
    if source is None:
        return None, None
    data = _bytes(source.uri, field, sources)
    header = _header(data, field)
    _decode(data, field)
    return data, (header.width, header.height)


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


def _header(data: bytes, field: str) -> Header:
    try:
        header = read_header(data)
    except BadOutput:
        raise _not_a_picture(field, describe(data)) from None
    if header.media_type not in FORMATS:
        raise _not_a_picture(field, header.media_type)
    if max(header.width, header.height) > MAX_SIDE:
        raise InvalidInput(
            f"an input picture may have {MAX_SIDE} pixels a side at most",
            where=field,
            found=f"{header.width}×{header.height} pixels",
            fix="Scale it down",
        )
    return header


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
