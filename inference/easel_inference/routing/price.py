"""What a result costs before it is made. An unknown price is None and never zero."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

from easel_api.offers import Offer, Price, Unit

from .request import Request, Resolved

MILLION = Decimal(1_000_000)
CENT_OF_A_CENT = Decimal("0.0001")
"""Estimates are rounded up to it: what is reserved must never be less than what is asked."""


def estimate(offer: Offer, request: Request, resolved: Resolved) -> Decimal | None:
    """What one result costs; None when no row says so, or only the provider knows it afterwards."""
    row = price_row(offer, request, resolved)
    if row is None:
        return None
    match row.per:
        case Unit.IMAGE:
            amount = row.amount
        case Unit.SECOND if resolved.seconds is not None:
            amount = row.amount * resolved.seconds
        case Unit.MILLION_TOKENS if row.tokens is not None:
            amount = row.amount * row.tokens / MILLION
        case _:
            return None
    return amount.quantize(CENT_OF_A_CENT, rounding=ROUND_UP)


def price_row(offer: Offer, request: Request, resolved: Resolved) -> Price | None:
    """The row of the catalogue that holds: all of its conditions are so, and no other has more of them; the dearer of two alike.

    Where a condition is about something that nobody asked for, the provider decides, and a dearer row may hold: it counts.
    """
    known: dict[str, str | bool | None] = {
        "size": "{}x{}".format(*resolved.size) if resolved.size else resolved.tier,
        "quality": request.quality,
        "resolution": resolved.tier,
        "audio": request.audio,
    }
    possible = [
        row for row in offer.prices if all(known[name] in (None, value) for name, value in row.conditions.items())
    ]
    certain = [row for row in possible if all(known[name] is not None for name in row.conditions)]
    best = max(certain, key=lambda row: (len(row.conditions), row.amount), default=None)
    open_ = [row for row in possible if row not in certain]
    return max(filter(None, (best, *open_)), key=lambda row: row.amount, default=None)
