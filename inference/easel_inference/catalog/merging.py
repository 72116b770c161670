"""What a Provider offers: the catalogue's row of each model, with what the platform says in its place."""

from __future__ import annotations

import math
from datetime import date
from typing import TypeVar

from easel_api.offers import CODED, FreeSize, Keeps, Offer, Sizes, WireFamily
from easel_api.provider import ProviderOffer, ProviderSpec

from .loading import Row, surfaces

N = TypeVar("N", int, float)


def offer_of(spec: ProviderSpec, model: str) -> Offer | None:
    """The offer of that model; None when the Provider has none, or neither it nor the catalogue says what the model does."""
    said = next((each for each in spec.offers if each.model == model), None)
    if said is None:
        return None
    row = row_of(spec.family, model)
    if row is None and (not said.tasks or spec.family in CODED):
        return None
    base = Offer(model=model, tasks=said.tasks, source="the Provider", checked_at=date.min) if row is None else row
    return base.model_copy(update=_overrides(said, row))


def row_of(family: WireFamily, model: str) -> Row | None:
    """The catalogue's row."""
    spoken = (surface for surface in surfaces().values() if any(row.family is family for row in surface.offers))
    # A model that was gone before anybody spoke to it may have been on more than one surface, and have gone on different days.
    rows = (row for surface in spoken for row in surface.offers)
    return next((row for row in rows if row.model == model and row.family in (family, None)), None)


def keeps_of(spec: ProviderSpec, model: str) -> Keeps:
    """What the account lets the provider keep of a model's prompts and results: the contract's word, the model's own row, its surface."""
    if spec.keeps is not None:
        return spec.keeps
    row = row_of(spec.family, model)
    if row is not None and row.keeps is not None:
        return row.keeps
    said = (
        surface.keeps
        for surface in surfaces().values()
        if spec.family in surface.own_models or any(row.family is spec.family for row in surface.offers)
    )
    return next(said, Keeps.UNKNOWN)


def _overrides(said: ProviderOffer, row: Row | None) -> dict[str, object]:
    """What the Provider says; what it leaves out is the catalogue's.

    Of a model of the catalogue it may say less, and not more, than the row: its client sends what the row says.
    """
    told: dict[str, object] = {
        "tasks": [task for task in said.tasks if row is None or task in row.tasks],
        "honours": [each for each in said.honours if row is None or each in row.honours],
        "seconds": [each for each in said.seconds if row is None or each in row.seconds],
        "prices": said.prices,
        "sizes": said.sizes if row is None or said.sizes is None else _narrowed(said.sizes, row.sizes),
        "max_prompt_characters": _least(said.max_prompt_characters, row.max_prompt_characters if row else None),
    }
    return {name: value for name, value in told.items() if name in said.model_fields_set and value is not None}


def _narrowed(said: Sizes, there: Sizes) -> Sizes:
    return Sizes(
        aspect_ratios=[each for each in said.aspect_ratios if each in there.aspect_ratios],
        tiers=[each for each in said.tiers if each in there.tiers],
        free=_within(said.free, there.free) if said.free and there.free else None,
        # None means any: a model that makes one scale makes it whatever is said.
        scales=[each for each in said.scales if each in there.scales] or there.scales or said.scales,
    )


def _within(said: FreeSize, there: FreeSize) -> FreeSize:
    """Bounds that both allow."""
    return FreeSize(
        multiple_of=math.lcm(said.multiple_of, there.multiple_of),
        min_pixels=max(said.min_pixels, there.min_pixels),
        max_pixels=min(said.max_pixels, there.max_pixels),
        max_side=_least(said.max_side, there.max_side),
        max_ratio=_least(said.max_ratio, there.max_ratio),
    )


def _least(one: N | None, other: N | None) -> N | None:
    return min((each for each in (one, other) if each is not None), default=None)
