"""What a provider delivered: whole, measured from its bytes, and a picture encoded as the job asked.

It is paid for, so that what is wrong with it is never a reason to ask again by ourselves.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from easel_api.errors import BadOutput, BilledBadOutput, Unsupported
from easel_api.tasks import TAKES
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.headers import Header, is_whole, read_header
from easel_inference.generation import MEDIA_TYPES, Encoding, Finished, GenerationRequest, Timings

from .base import Result

LARGEST_SIDE = 8192
"""Pixels. No provider makes more; a file that says so is no picture that anybody asked for."""
LARGEST_BYTES = 100 * 2**20


def check_format(request: GenerationRequest) -> None:
    """`Unsupported` for a file that no result can be made into, before anything is paid: clips are kept as they come, which is as MP4."""
    takes = TAKES[request.task]
    kept = {True: ("mp4",), False: ("png",) if takes.transparent else ("png", "jpeg", "webp")}[takes.video]
    if request.encoding not in kept:
        raise Unsupported(
            f"providers' results of {request.task} are kept as {', '.join(kept)} alone",
            where="spec.output.format",
            found=request.encoding,
        )


def delivered(
    name: str,
    request: GenerationRequest,
    data: bytes,
    *,
    model: str,
    provider: str,
    seconds: float,
    seed: int | None = None,
) -> Result:
    """The result of one item: a picture in the encoding that was asked for, a clip as it came.

    `model` and `provider` are those of the manifest (`bedrock/…`, `Amazon Bedrock, us-west-2`), `seconds` how long the call took, `seed` the one
    that the provider says it used. `BilledBadOutput` when it is neither picture nor clip, or not whole.
    """
    header = _header(data)
    if header.media_type == "video/mp4":
        kept = _clip(data, request.encoding)
    else:
        kept, header = _picture(data, header, request)
    finished = Finished(
        media_type=header.media_type,
        sha256=hashlib.sha256(kept).hexdigest(),
        width=header.width,
        height=header.height,
        frames=header.frames,
        fps=max(1, round(header.frames / header.seconds)) if header.seconds else None,
        seed=request.seed if seed is None else seed,
        model_digest=model,
        dtype="",
        device=provider,
        steps=0,
        timings=Timings(total=seconds),
    )
    return Result(finished, kept, name)


def _header(data: bytes) -> Header:
    if len(data) > LARGEST_BYTES:
        raise BilledBadOutput("the provider's file is too large", found=f"{len(data)} bytes")
    try:
        header = read_header(data)
    except BadOutput as error:
        raise BilledBadOutput("the provider delivered neither a picture nor a clip", found=error.found) from error
    if max(header.width, header.height) > LARGEST_SIDE:
        raise BilledBadOutput("the provider's picture is too large", found=f"{header.width}x{header.height}")
    return header


def _clip(data: bytes, encoding: Encoding) -> bytes:
    """Kept as it is: the worker carries no video library."""
    if not is_whole(data):
        raise BilledBadOutput("the provider's clip is damaged", found=f"{len(data)} bytes, with parts missing")
    if encoding != "mp4":
        raise BilledBadOutput("the provider delivered a clip", found=f"video/mp4, not {MEDIA_TYPES[encoding]}")
    return data


def _picture(data: bytes, header: Header, request: GenerationRequest) -> tuple[bytes, Header]:
    """Decoded once, so that it is whole; its own bytes where it has the encoding already."""
    encoding, transparent = request.encoding, TAKES[request.task].transparent
    if encoding in ("mp4", "gif"):
        raise BilledBadOutput("the provider delivered no clip", found=header.media_type)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            opaque = not opened.has_transparency_data
            frame = np.asarray(opened.convert("RGBA" if transparent else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BilledBadOutput(
            "the provider's picture is damaged", found=f"{header.media_type} of {len(data)} bytes"
        ) from error
    if transparent and opaque:
        raise BilledBadOutput("the provider's picture has no transparent background", found=header.media_type)
    kept = data if header.media_type == MEDIA_TYPES[encoding] else encode(frame[None], encoding)
    height, width = frame.shape[:2]
    return kept, Header(MEDIA_TYPES[encoding], width, height)
