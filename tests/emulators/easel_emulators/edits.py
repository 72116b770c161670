"""What Stability AI's services make of a body of `bedrock_bodies`: drawn by its prompt, or of its picture where they read none."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from easel_emulators.base import Draw

TIMES = 4
"""How many times as wide and high an upscaled picture is: of the fast service as its page says, of the others by choice."""
FAR = 48
"""Of 255: how much a colour differs from a corner's when it is no background."""


def made(model: str, body: Mapping[str, Any], draw: Draw) -> bytes:
    """The encoded picture; `model` is Bedrock's name of the service."""
    edit = next((edit for part, edit in EDITS.items() if part in model), None)
    if edit is not None:
        return edit(body)
    asked = dict(body) | {"prompt": body.get("prompt") or body.get("background_prompt") or ""}
    if "upscale" in model:
        width, height = _opened(body, "image").size
        asked |= {"width": TIMES * width, "height": TIMES * height}
    return draw(asked)


def check(model: str, body: Mapping[str, Any]) -> None:
    """ValueError for a picture that is not upscaled: of fewer than 64 pixels a side, or more than a megapixel, or nine of the conservative service."""
    if "upscale" not in model:
        return
    width, height = _opened(body, "image").size
    if min(width, height) < 64 or width * height > (9 if "conservative" in model else 1) * 2**20:
        raise ValueError("image dimensions")


def _erased(body: Mapping[str, Any]) -> bytes:
    """The mask filled with what is most of the picture."""
    picture, mask = _opened(body, "image"), _opened(body, "mask").convert("L")
    mean = tuple(int(each) for each in np.asarray(picture).reshape(-1, 3).mean(axis=0))
    picture.paste(Image.new("RGB", picture.size, mean), mask=mask)
    return _encoded(picture, body)


def _cut_out(body: Mapping[str, Any]) -> bytes:
    """Transparent where it is as its upper left corner."""
    pixels = np.asarray(_opened(body, "image")).astype(int)
    far = np.abs(pixels - pixels[0, 0]).max(axis=2) > FAR
    shown = np.dstack([pixels, far * 255]).astype(np.uint8)
    return _encoded(Image.fromarray(shown, "RGBA"), body)


def _enlarged(body: Mapping[str, Any]) -> bytes:
    picture = _opened(body, "image")
    return _encoded(picture.resize((TIMES * picture.width, TIMES * picture.height), Image.Resampling.LANCZOS), body)


EDITS: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    "erase-object": _erased,
    "remove-background": _cut_out,
    "fast-upscale": _enlarged,
}


def _opened(body: Mapping[str, Any], name: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(body[name]))).convert("RGB")


def _encoded(picture: Image.Image, body: Mapping[str, Any]) -> bytes:
    target = io.BytesIO()
    picture.save(target, "JPEG" if body.get("output_format") == "jpeg" else "PNG")
    return target.getvalue()
