"""What an account's ledger says of this moment: what metrics tell of it, and alerts judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from easel_api.offers import Offer, PriceRow, State, Unit
from easel_api.provider import Spend, SpendLimits
from easel_api.spend import reserved, spent, spent_by

CURRENCY = "USD"
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Window:
    """A day or a month."""

    spent: Decimal
    limit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """In US dollars."""

    day: Window
    month: Window
    reserved: Decimal
    jobs: int
    """With an account that is open."""
    least_price: Decimal | None = None
    """What a result costs at least, of those whose price is known before the call; None: of none. With less than this left of a limit none is made."""
    namespaces: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """What the jobs of each namespace have paid of that, in this day and this month."""


def spending(spend: Spend, limits: SpendLimits, offers: Iterable[Offer], today: date) -> Spending:
    """What the ledger and the limits come to today."""
    day, month = spent(spend, today)
    return Spending(
        day=Window(day, limits.per_day),
        month=Window(month, limits.per_month),
        reserved=reserved(spend),
        jobs=len(spend.accounts),
        least_price=_least_price(offer for offer in offers if offer.state(today) is not State.RETIRED),
        namespaces={each.name: spent_by(spend, each.name, today) for each in spend.namespaces},
    )


def _least_price(offers: Iterable[Offer]) -> Decimal | None:
    """Of all rows of all offers the least, whatever its conditions."""
    prices = (_price(offer, row) for offer in offers if offer.tasks for row in offer.prices)
    return min((price for price in prices if price is not None), default=None)


def _price(offer: Offer, row: PriceRow) -> Decimal | None:
    """What one result costs at least by this row; None: only the provider knows it, behind the call."""
    if row.currency != CURRENCY:
        return None
    match row.per:
        case Unit.IMAGE:
            return row.amount
        case Unit.SECOND:
            return row.amount * min(offer.seconds, default=1)
        case Unit.MILLION_TOKENS if row.tokens is not None:
            return row.amount * row.tokens / MILLION
        case _:
            return None
