"""What OpenAI's models of pictures are asked, and what an answer costs: the same fields at OpenAI and on Azure.

By the types of the official client (openai 3.57.0, `types/image_generate_params.py` and `image_edit_params.py`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps

from easel_api.errors import InvalidInput, Unsupported
from easel_api.offers import MILLIONTH, Honours, Offer, PriceRow, Unit
from easel_api.tasks import Quality, Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.price import CURRENCY, MILLION
from easel_inference.routing.request import Resolved

TASKS = frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT})
HEEDED = frozenset({Honours.QUALITY, Honours.MASK_COLOURS})
QUALITIES = {Quality.DRAFT: "low", Quality.STANDARD: "medium", Quality.EXACT: "high"}
"""OpenAI's words for ours; without one the model chooses."""
SHAPES = {"1:1": "1024x1024", "3:2": "1536x1024", "2:3": "1024x1536"}
"""Of the models that have three sizes."""
TIERS = {"1K": "1024x1024"}
FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
"""Pillow's names, and those of media types and of `output_format`."""
LARGEST_PICTURE, LARGEST_MASK = 50 * 2**20, 4 * 2**20
"""Bytes; a file has fewer."""
LIGHT = 128
MOST_TOKENS = 10**9
"""In one answer; one that says more is not believed."""

INPUT = {
    "gpt-image-2": ("5", "8"),
    "gpt-image-2.5": ("5", "8"),
    "gpt-image-2.5-sunburst": ("5", "8"),
    "gpt-image-2.5-flare": ("5", "8"),
    "gpt-image-2.6-sunburst": ("5", "8"),
    "gpt-image-2.6-flare": ("5", "8"),
    "gpt-image-1.5": ("5", "8"),
    "gpt-image-1-mini": ("2", "2.50"),
    "chatgpt-image-latest": ("5", "8"),
}
"""What a million tokens of text and of pictures cost that go in, in US dollars; of what comes out the catalogue says it.

From developers.openai.com: models/gpt-image-2.6-sunburst and models/gpt-image-1-mini, and for the others api/docs/pricing as public code quotes
it; for 2.5 docs.apiyi.com, gpt-image-2-5-launch. All read on 2026-11-29.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a million tokens cost, in US dollars."""

    text: Decimal
    """That go in, as the two others do not."""
    picture: Decimal
    """Of pictures that go in."""
    made: Decimal
    """Of what comes out; 1.5 writes words too, which are cheaper, and are counted as if they were not."""


def check(offer: Offer | None) -> None:
    """Refuses an offer of the account's own that promises what no field is there for."""
    promised = sorted(set(offer.honours) - HEEDED) if offer else []
    if promised:
        raise Unsupported(
            "OpenAI's models have no such parameter", where="spec.offers[].honours", found=", ".join(promised)
        )


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """Fields and files of one call."""
    if request.task not in TASKS:
        raise Unsupported("OpenAI's models do no such task", where="spec.task", found=request.task)
    fields: dict[str, Any] = {"prompt": request.prompt}
    size = _size(request, resolved)
    if size is not None:
        fields["size"] = size
    if request.quality is not None:
        fields["quality"] = QUALITIES[request.quality]
    if request.encoding in FORMATS.values():
        fields["output_format"] = request.encoding
    return fields | _files(request, inputs)


def _size(request: GenerationRequest, resolved: Resolved) -> str | None:
    """Edits without a size keep the shape of their picture, so that the model chooses."""
    if resolved.size is not None:
        return "{}x{}".format(*resolved.size)
    for name, there in ((resolved.aspect_ratio, SHAPES), (resolved.tier, TIERS)):
        if name is not None and name not in there:
            raise Unsupported("OpenAI's models have no such size", where="spec.offers[].sizes", found=name)
    if resolved.aspect_ratio is not None:
        return SHAPES[resolved.aspect_ratio]
    return TIERS[resolved.tier] if resolved.tier is not None and request.task is Task.TEXT_TO_IMAGE else None


def _files(request: GenerationRequest, inputs: Inputs) -> dict[str, Any]:
    if request.task is Task.TEXT_TO_IMAGE:
        return {}
    picture = _opened(inputs.image, "image")
    if request.task is Task.IMAGE_TO_IMAGE:
        assert inputs.image is not None  # noqa: S101 - opened above
        return {"image": _file("image", inputs.image, FORMATS[picture.format or ""], LARGEST_PICTURE)}
    upright, mask = ImageOps.exif_transpose(picture), ImageOps.exif_transpose(_opened(inputs.mask, "mask"))
    if mask.size != upright.size:
        raise InvalidInput(
            "the mask has another size than the image",
            where="spec.inputs.mask",
            found="{}×{}, not {}×{}".format(*mask.size, *upright.size),
        )
    return {
        "image": _file("image", _png(upright), "png", LARGEST_PICTURE),
        "mask": _file("mask", _png(_transparent(mask, request.mask_colours)), "png", LARGEST_MASK),
    }


def _opened(data: bytes | None, name: str) -> Image.Image:
    if data is None:
        raise InvalidInput(f"the task needs a file {name}", where=f"spec.inputs.{name}")
    try:
        picture = Image.open(io.BytesIO(data), formats=list(FORMATS))
        picture.load()
    except (OSError, SyntaxError, ValueError):
        raise InvalidInput(
            "it is no whole picture in PNG, JPEG or WebP", where=f"spec.inputs.{name}", found=f"{len(data)} bytes"
        ) from None
    return picture


def _transparent(mask: Image.Image, colours: Iterable[str]) -> Image.Image:
    """A mask as OpenAI wants it: transparent where ours is light, or has one of the colours, and something is drawn anew."""
    if named := [ImageColor.getrgb(colour) for colour in colours]:
        pixels = np.asarray(mask.convert("RGB"))
        drawn = np.any([(pixels == np.array(colour, np.uint8)).all(-1) for colour in named], axis=0)
    else:
        drawn = np.asarray(mask.convert("L")) >= LIGHT
    if not drawn.any():
        raise InvalidInput("the mask leaves nothing to draw", where="spec.inputs.mask", fix="Paint white what changes")
    alpha = np.zeros((*drawn.shape, 4), np.uint8)
    alpha[..., 3] = np.where(drawn, 0, 255)
    return Image.fromarray(alpha)


def _png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def _file(name: str, data: bytes, kind: str, limit: int) -> tuple[str, bytes, str]:
    if len(data) >= limit:
        raise Unsupported(
            f"OpenAI takes files of less than {limit // 2**20} MiB there",
            where=f"spec.inputs.{name}",
            found=f"{len(data)} bytes as {kind.upper()}",
        )
    return f"{name}.{kind}", data, f"image/{kind}"


def rates(model: str, prices: Iterable[PriceRow]) -> Rates | None:
    """What the tokens of a model cost; None when that is not known of all of them."""
    rows = list(prices)
    made = {row.amount for row in rows if row.per is Unit.MILLION_TOKENS and row.currency == CURRENCY}
    if model not in INPUT or len(made) != 1 or any(row.per is not Unit.MILLION_TOKENS for row in rows):
        return None
    text, picture = INPUT[model]
    return Rates(Decimal(text), Decimal(picture), made.pop())


def billed(usage: object, rates: Rates | None) -> Decimal | None:
    """What an answer's tokens cost, in US dollars; None when it does not say how many there were, or no rate is known."""
    if rates is None or not isinstance(usage, Mapping):
        return None
    told = usage.get("input_tokens_details")
    details = told if isinstance(told, Mapping) else {}
    counts = [details.get("text_tokens"), details.get("image_tokens"), usage.get("output_tokens")]
    found = [each for each in counts if isinstance(each, int) and 0 <= each <= MOST_TOKENS]
    if len(found) < len(counts):
        return None
    text, picture, made = found
    amount = (text * rates.text + picture * rates.picture + made * rates.made) / MILLION
    return amount.quantize(MILLIONTH, rounding=ROUND_UP)
