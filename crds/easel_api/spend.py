"""A Provider's ledger: a job reserves before a call and settles behind it. Every change is made on top of the one before.

The windows hold what was paid; what jobs have reserved counts as spent until it is settled, so that workers together never pay more
than the limits, whatever moment one of them dies at. The sums are exact.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from .provider import MAX_ACCOUNTS, Account, Spend, SpendLimits, Window

NOTHING = Decimal(0)


def room(spend: Spend, limits: SpendLimits, today: date) -> Decimal | None:
    """What may still be reserved, below zero when more is than may be; None: there is no limit."""
    held = reserved(spend)
    windows = zip((limits.per_day, limits.per_month), spent(spend, today), strict=True)
    return min((limit - amount - held for limit, amount in windows if limit is not None), default=None)


def spent(spend: Spend, today: date) -> tuple[Decimal, Decimal]:
    """What was paid today, and this month; of a window that is over nothing was."""
    return _current(spend.day, _day(today)).amount, _current(spend.month, _month(today)).amount


def reserved(spend: Spend) -> Decimal:
    """What jobs may be about to pay for calls that are under way."""
    return sum((account.reserved for account in spend.accounts), NOTHING)


def booked(spend: Spend, limits: SpendLimits, job: Account, today: date) -> Spend | None:
    """With a job's account as its worker says that it is; None when there is no room for what it reserves more.

    Both sums are whole, not differences, so that a change whose answer was lost can be made again.
    """
    before = account_of(spend, job.holder)
    known = before or job.model_copy(update={"reserved": NOTHING, "paid": NOTHING})
    after = _paid(_with(spend, job), max(job.paid - known.paid, NOTHING), today)
    if job.reserved + job.paid <= known.reserved + known.paid:
        return after  # nothing is asked for that there was no room for before
    left = room(after, limits, today)
    return None if (left is not None and left < NOTHING) or len(after.accounts) > MAX_ACCOUNTS else after


def close(spend: Spend, holder: str, today: date) -> Spend:
    """Without a job that is over. What it had reserved and never settled may have been paid: it counts as paid."""
    found = account_of(spend, holder)
    if found is None:
        return spend
    left = [account for account in spend.accounts if account.holder != holder]
    return _paid(spend.model_copy(update={"accounts": left}), found.reserved, today)


def account_of(spend: Spend, holder: str) -> Account | None:
    """A job's account."""
    return next((account for account in spend.accounts if account.holder == holder), None)


def _with(spend: Spend, account: Account) -> Spend:
    others = [each for each in spend.accounts if each.holder != account.holder]
    return spend.model_copy(update={"accounts": [*others, account]})


def _paid(spend: Spend, amount: Decimal, today: date) -> Spend:
    if not amount:
        return spend
    day, month = _current(spend.day, _day(today)), _current(spend.month, _month(today))
    return spend.model_copy(
        update={
            "day": day.model_copy(update={"amount": day.amount + amount}),
            "month": month.model_copy(update={"amount": month.amount + amount}),
        }
    )


def _current(window: Window | None, name: str) -> Window:
    """The window of a day or month. One that is later stays: clocks differ by seconds, and an earlier day never comes again."""
    return window if window is not None and window.name >= name else Window(name=name, amount=NOTHING)


def _day(today: date) -> str:
    return today.isoformat()


def _month(today: date) -> str:
    return f"{today:%Y-%m}"
