"""What a result costs before it is made. An unknown price is None and never zero."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal
from itertools import product

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

    What nobody asked for the provider decides: of all that it may decide, the dearest counts.
    """
    if any(row.currency != CURRENCY for row in offer.prices):
        return None  # rows in two currencies cannot be compared, and no rate is known here
    asked = _asked(request, resolved)
    may_be = [
        {value} if value is not None else {None, *(_conditions(row).get(name) for row in offer.prices)}
        for name, value in asked.items()
    ]
    found = (_holding(offer, dict(zip(asked, case, strict=True))) for case in product(*may_be))
    return max(filter(None, found), key=_cost, default=None)


def _asked(request: Request, resolved: Resolved) -> dict[str, str | bool | None]:
    """What conditions are about; None: nobody can tell before the call. Pixels are compared with pixels, tiers with tiers."""
    return {
        "pixels": "{}x{}".format(*resolved.size) if resolved.size else None,
        "tier": resolved.tier,
        "quality": request.quality,
        "resolution": resolved.tier,
        "audio": request.audio,
    }


def _conditions(row: PriceRow) -> dict[str, str | bool]:
    """As in `_asked`."""
    size = "pixels" if row.size is not None and "x" in row.size else "tier"
    return {size if name == "size" else name: value for name, value in row.conditions.items()}


def _holding(offer: Offer, case: dict[str, str | bool | None]) -> PriceRow | None:
    held = (row for row in offer.prices if all(case[name] == value for name, value in _conditions(row).items()))
    return max(held, key=lambda row: (len(row.conditions), _cost(row)), default=None)


def _cost(row: PriceRow) -> Decimal:
    """By which rows of one offer are compared; that of a million tokens where nobody knows how many there will be."""
    return row.amount if row.tokens is None else row.amount * row.tokens / MILLION
