"""Whether an offer can make what a request asks for, and what it makes of it.

A request that does not adapt is made exactly or not at all: an offer that knows only ratios is out for one that names pixels, since
nobody can tell which it will deliver.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from easel_api.offers import FreeSize, Honours, Offer
from easel_api.tasks import TAKES

from .request import Loss, Request, Resolved

CLIPS = "mp4"
"""The encoding of every provider's clips."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why an offer cannot: the field, what was asked, what there is."""

    field: str
    message: str


def fit(offer: Offer, request: Request) -> Resolved | Unfit:
    """What the offer would be asked for, or the first thing that it cannot do."""
    if request.task not in offer.tasks:
        return Unfit("task", f"does {', '.join(offer.tasks) or 'nothing'}")
    if offer.max_prompt_characters and request.prompt_characters > offer.max_prompt_characters:
        return Unfit(
            "prompts", f"takes {offer.max_prompt_characters} characters, and it has {request.prompt_characters}"
        )
    if offer.needs_prompt and not request.prompt_characters:
        return Unfit("prompts", "needs one, and the job has none")
    if TAKES[request.task].video and request.encoding not in ("", CLIPS):
        # No provider gives another, and a worker carries no video library that could make one of it.
        return Unfit("output.format", f"makes {CLIPS}, and {request.encoding} was asked for")
    unknown = sorted(request.set_parameters - set(offer.honours))
    losses = [Loss(parameter.value, "as the job says", "") for parameter in unknown]
    losses += _unread(offer, request)
    scale, lost = _scale(offer, request)
    losses += lost
    sized = _sized(offer, request)
    if isinstance(sized, Unfit):
        return sized
    losses += sized.losses
    seconds, lost = _length(offer, request)
    losses += lost
    if losses and not request.adapts:
        return Unfit(losses[0].field, _words(losses[0], offer))
    return Resolved(sized.size, sized.aspect_ratio, sized.tier, seconds, scale, tuple(losses))


def _unread(offer: Offer, request: Request) -> list[Loss]:
    unread = offer.max_prompt_characters == 0 and request.prompt_characters
    return [Loss("prompts", "as the job says", "")] if unread else []


def _scale(offer: Offer, request: Request) -> tuple[int | None, list[Loss]]:
    wanted, scales = request.scale, offer.sizes.scales
    if wanted is None or Honours.SCALE not in offer.honours or not scales:
        return None, []
    nearest = min(scales, key=lambda each: abs(each - wanted))
    return nearest, [] if nearest == wanted else [Loss("scale", f"{wanted} times the sides", f"{nearest} times")]


def _words(loss: Loss, offer: Offer) -> str:
    if loss.field == "prompts":
        return "reads none"
    if not loss.resolved:
        return "knows no such parameter"
    if loss.field == "seconds":
        return f"makes clips of {', '.join(map(str, sorted(offer.seconds)))} s, and {loss.asked} was asked for"
    return f"makes {loss.resolved} where {loss.asked} was asked for"


def _sized(offer: Offer, request: Request) -> Resolved | Unfit:
    if request.width is None and request.height is None:
        # The first tier is asked for by name, so that its price is known.
        return Resolved(tier=next(iter(offer.sizes.tiers), None))
    if request.width is None or request.height is None:
        name, side = ("width", request.width) if request.width else ("height", request.height)
        return Resolved(losses=(Loss(name, f"{side} pixels", "a size of its own"),))
    width, height = request.width, request.height
    if offer.sizes.free is not None:
        nearest = _nearest_size(offer.sizes.free, width, height)
        if nearest is None:
            return Unfit("width", f"makes no picture of the shape {width}x{height}")
        lost = [] if nearest == (width, height) else [Loss("width", f"{width}x{height}", "{}x{}".format(*nearest))]
        return Resolved(size=nearest, losses=tuple(lost))
    tier = _nearest_tier(offer.sizes.tiers, width, height)
    if not offer.sizes.aspect_ratios:
        loss = Loss("width", f"{width}x{height}", tier or "a size of its own")
        return Resolved(tier=tier, losses=(loss,))
    ratio = min(offer.sizes.aspect_ratios, key=lambda each: abs(math.log(_value(each) * height / width)))
    loss = Loss("width", f"{width}x{height}", f"a picture of {ratio}" + (f" at {tier}" if tier else ""))
    return Resolved(aspect_ratio=ratio, tier=tier, losses=(loss,))


def _nearest_tier(tiers: Sequence[str], width: int, height: int) -> str | None:
    """By the lines of a clip (`720p`, and 4k, which has 2160), or by the longer side of a picture (`2K`)."""

    def far(tier: str) -> float:
        if tier.endswith("K"):
            return abs(math.log(float(tier[:-1]) * 1024 / max(width, height)))
        lines = 2160 if tier == "4k" else int(tier.removesuffix("p"))
        return abs(math.log(lines / min(width, height)))

    return min(tiers, key=far, default=None)


def _value(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _nearest_size(free: FreeSize, width: int, height: int) -> tuple[int, int] | None:
    """The size within the bounds that is nearest in shape and pixels; the very one when it is within them."""
    ratio = width / height
    if free.max_ratio is not None and not 1 / free.max_ratio <= ratio <= free.max_ratio:
        return None
    pixels = min(max(width * height, free.min_pixels), free.max_pixels)
    scale = math.sqrt(pixels / (width * height))
    if free.max_side is not None:
        scale = min(scale, free.max_side / max(width, height))
    found = [
        (wide, high)
        for wide in _steps(width * scale, free.multiple_of)
        for high in _steps(height * scale, free.multiple_of)
        if _within(free, wide, high)
    ]
    return min(found, key=lambda size: abs(math.log(size[0] / width)) + abs(math.log(size[1] / height)), default=None)


def _steps(length: float, step: int) -> Iterator[int]:
    down = int(length // step) * step
    yield from (each for each in (down, down + step) if each > 0)


def _within(free: FreeSize, width: int, height: int) -> bool:
    return (
        free.min_pixels <= width * height <= free.max_pixels
        and (free.max_side is None or max(width, height) <= free.max_side)
        and (free.max_ratio is None or 1 / free.max_ratio <= width / height <= free.max_ratio)
    )


def _length(offer: Offer, request: Request) -> tuple[int | None, list[Loss]]:
    if request.seconds is None or not offer.makes_clips:
        return None, []
    asked = f"{request.seconds:g} s"
    if not offer.seconds:
        return None, [Loss("seconds", asked, "a length of its own")]
    wanted = request.seconds
    nearest = min(offer.seconds, key=lambda each: (abs(each - wanted), -each))
    return nearest, [] if nearest == wanted else [Loss("seconds", asked, f"{nearest} s")]
