"""What a provider delivered: decoded once, so that it is whole, measured from its bytes, and encoded as the job asked.

It is paid for, so that what is wrong with it is never a reason to ask again by ourselves.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from easel_api.errors import BadOutput, BilledBadOutput
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import MEDIA_TYPES, Encoding

LARGEST_SIDE = 8192
"""Pixels. No provider makes more; a file that says so is no picture that anybody asked for."""
LARGEST_BYTES = 100 * 2**20


@dataclass(frozen=True, slots=True)
class Delivered:
    """A picture as it is stored."""

    data: bytes
    media_type: str
    width: int
    height: int
    sha256: str


def picture(data: bytes, encoding: Encoding) -> Delivered:
    """The picture in the encoding that was asked for, its own bytes where it has it; `BilledBadOutput` when it is none, or not whole."""
    if len(data) > LARGEST_BYTES:
        raise BilledBadOutput("the provider's picture is too large", found=f"{len(data)} bytes")
    try:
        header = read_header(data)
    except BadOutput as error:
        raise BilledBadOutput("the provider delivered no picture", found=error.found) from error
    if max(header.width, header.height) > LARGEST_SIDE:
        raise BilledBadOutput("the provider's picture is too large", found=f"{header.width}x{header.height}")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            frame = np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BilledBadOutput(
            "the provider's picture is damaged", found=f"{header.media_type} of {len(data)} bytes"
        ) from error
    kept = data if header.media_type == MEDIA_TYPES[encoding] else encode(frame[None], encoding)
    height, width = frame.shape[:2]
    return Delivered(kept, MEDIA_TYPES[encoding], width, height, hashlib.sha256(kept).hexdigest())
