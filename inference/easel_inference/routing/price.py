"""What a result costs before it is made. An unknown price is None and never zero."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

from easel_api.offers import Offer, PriceRow, Unit
from easel_api.tasks import TAKES

from .request import Request, Resolved

MILLION = Decimal(1_000_000)
CURRENCY = "USD"
"""In which estimates and budgets are; a price in another one is not known here."""
CENT_OF_A_CENT = Decimal("0.0001")
"""Estimates are rounded up to it: what is reserved must never be less than what is asked."""


def estimate(offer: Offer, request: Request, resolved: Resolved) -> Decimal | None:
    """What one result costs in US dollars; None when no row says so, or only the provider knows it afterwards."""
    row = price_row(offer, request, resolved)
    if row is None:
        return None
    match row.per:
        case Unit.IMAGE:
            amount = row.amount
        case Unit.SECOND if resolved.seconds is not None:
            amount = row.amount * resolved.seconds
        # What an input picture takes is counted too, and nobody knows how much before the call.
        case Unit.MILLION_TOKENS if row.tokens is not None and not TAKES[request.task].has_input:
            amount = row.amount * row.tokens / MILLION
        case _:
            return None
    return amount.quantize(CENT_OF_A_CENT, rounding=ROUND_UP)


def price_row(offer: Offer, request: Request, resolved: Resolved) -> PriceRow | None:
    """The row of the catalogue that holds: all of its conditions are so, and no other has more of them; the dearer of two alike.

    Where a condition is about something that nobody asked for, the provider decides, and a dearer row may hold: it counts.
    """
    judged = [(row, _holds(row, request, resolved)) for row in offer.prices]
    if any(row.currency != CURRENCY for row in offer.prices):
        return None  # rows in two currencies cannot be compared, and no rate is known here
    best = max((row for row, holds in judged if holds), key=lambda row: (len(row.conditions), row.amount), default=None)
    possible = [row for row, holds in judged if holds is None]
    return max(filter(None, (best, *possible)), key=lambda row: row.amount, default=None)


def _holds(row: PriceRow, request: Request, resolved: Resolved) -> bool | None:
    """Whether all conditions of a row are so; None: nobody can tell before the call."""
    known: dict[str, str | bool | None] = {
        "size": _size(row, resolved),
        "quality": request.quality,
        "resolution": resolved.tier,
        "audio": request.audio,
    }
    if any(known[name] not in (None, value) for name, value in row.conditions.items()):
        return False
    return None if any(known[name] is None for name in row.conditions) else True


def _size(row: PriceRow, resolved: Resolved) -> str | None:
    """What a row's size is compared with: pixels with pixels, tiers with tiers, and nothing with the other."""
    if row.size is not None and "x" in row.size:
        return "{}x{}".format(*resolved.size) if resolved.size else None
    return resolved.tier
