"""A Provider's ledger: a job reserves before a call and settles behind it. Every change is made on top of the one before.

The windows hold what was paid; what jobs have reserved counts as spent until it is settled, so that workers together never pay more
than the limits, whatever moment one of them dies at. Each namespace has windows of its own beside those of all, and a limit of its
own. The sums are exact.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

from .provider import MAX_ACCOUNTS, MAX_NAMESPACES, Account, NamespaceWindows, Spend, SpendLimits, Window

NOTHING = Decimal(0)


def room(spend: Spend, limits: SpendLimits, today: date, namespace: str = "") -> Decimal | None:
    """What a namespace's jobs may still reserve, below zero when more is than may be; None: there is no limit."""
    of_all, of_them = spent(spend, today), spent_by(spend, namespace, today)
    each, theirs = limits.per_namespace, reserved(spend, namespace)
    left = [
        limit - amount - held
        for limit, amount, held in (
            (limits.per_day, of_all[0], reserved(spend)),
            (limits.per_month, of_all[1], reserved(spend)),
            (each.per_day, of_them[0], theirs),
            (each.per_month, of_them[1], theirs),
        )
        if limit is not None
    ]
    return min(left, default=None)


def spent(spend: Spend, today: date) -> tuple[Decimal, Decimal]:
    """What was paid today, and this month; of a window that is over nothing was."""
    moment = _moment(spend, today)
    return _current(spend.day, moment.day).amount, _current(spend.month, moment.month).amount


def spent_by(spend: Spend, namespace: str, today: date) -> tuple[Decimal, Decimal]:
    """The same by a namespace's jobs."""
    moment, windows = _moment(spend, today), windows_of(spend, namespace)
    if windows is None:
        return NOTHING, NOTHING
    return _current(windows.day, moment.day).amount, _current(windows.month, moment.month).amount


def reserved(spend: Spend, namespace: str | None = None) -> Decimal:
    """What jobs, of a namespace alone if one is named, may be about to pay for calls that are under way."""
    of_them = (each for each in spend.accounts if namespace is None or namespace_of(each) == namespace)
    return sum((account.reserved for account in of_them), NOTHING)


def booked(spend: Spend, limits: SpendLimits, job: Account, today: date) -> Spend | None:
    """With a job's account as its worker says that it is; None when there is no room for what it reserves more.

    Both sums are whole, not differences, so that a change whose answer was lost can be made again.
    """
    known, namespace = _known(spend, job), namespace_of(job)
    after = recorded(spend, job, today)
    if job.reserved + job.paid <= known.reserved + known.paid:
        return after  # nothing is asked for that there was no room for before
    left = room(after, limits, today, namespace)
    if (left is not None and left < NOTHING) or len(after.accounts) > MAX_ACCOUNTS:
        return None
    return None if limits.per_namespace.limited and windows_of(after, namespace) is None else after


def recorded(spend: Spend, job: Account, today: date) -> Spend:
    """The same where nothing is asked for, whatever the limits say: a bill may be above what was reserved, and is paid all the same."""
    paid = max(job.paid - _known(spend, job).paid, NOTHING)
    return _paid(_with(spend, job), namespace_of(job), paid, today)


def close(spend: Spend, holder: str, today: date) -> Spend:
    """Without a job that is over. What it had reserved and never settled may have been paid: it counts as paid."""
    found = account_of(spend, holder)
    if found is None:
        return spend
    left = [account for account in spend.accounts if account.holder != holder]
    return _paid(spend.model_copy(update={"accounts": left}), namespace_of(found), found.reserved, today)


def account_of(spend: Spend, holder: str) -> Account | None:
    """A job's account."""
    return next((account for account in spend.accounts if account.holder == holder), None)


def namespace_of(account: Account) -> str:
    """The namespace of an account's job; empty when it does not say."""
    return account.job.rpartition("/")[0]


def windows_of(spend: Spend, namespace: str) -> NamespaceWindows | None:
    """What the jobs of a namespace have paid."""
    return next((each for each in spend.namespaces if each.name == namespace), None)


class _Moment(NamedTuple):
    """Names of the windows that a payment falls into."""

    day: str
    month: str


def _moment(spend: Spend, today: date) -> _Moment:
    """The ledger's own, where they are later: clocks differ by seconds, and an earlier day never comes again."""
    return _Moment(
        max(today.isoformat(), spend.day.name if spend.day else ""),
        max(f"{today:%Y-%m}", spend.month.name if spend.month else ""),
    )


def _known(spend: Spend, job: Account) -> Account:
    return account_of(spend, job.holder) or job.model_copy(update={"reserved": NOTHING, "paid": NOTHING})


def _with(spend: Spend, account: Account) -> Spend:
    others = [each for each in spend.accounts if each.holder != account.holder]
    return spend.model_copy(update={"accounts": [*others, account]})


def _paid(spend: Spend, namespace: str, amount: Decimal, today: date) -> Spend:
    moment = _moment(spend, today)
    kept = _kept(spend, namespace, moment)
    rows = [_row(each, amount, moment) if each.name == namespace and amount else each for each in kept]
    if namespace and windows_of(spend, namespace) is None and len(rows) < MAX_NAMESPACES:
        rows.append(_row(NamespaceWindows(name=namespace, month=_current(None, moment.month)), amount, moment))
    changes: dict[str, object] = {} if rows == spend.namespaces else {"namespaces": rows}
    if amount or len(kept) < len(spend.namespaces):  # a month whose rows are gone must not come again
        changes |= {"day": _more(spend.day, moment.day, amount), "month": _more(spend.month, moment.month, amount)}
    return spend.model_copy(update=changes)


def _kept(spend: Spend, namespace: str, moment: _Moment) -> list[NamespaceWindows]:
    """Rows of this month, and of namespaces with jobs underway."""
    underway = {namespace, *map(namespace_of, spend.accounts)}
    return [each for each in spend.namespaces if each.month.name >= moment.month or each.name in underway]


def _row(before: NamespaceWindows, amount: Decimal, moment: _Moment) -> NamespaceWindows:
    day, month = _more(before.day, moment.day, amount), _more(before.month, moment.month, amount)
    return before.model_copy(update={"day": day, "month": month})


def _more(window: Window | None, name: str, amount: Decimal) -> Window:
    current = _current(window, name)
    return current.model_copy(update={"amount": current.amount + amount})


def _current(window: Window | None, name: str) -> Window:
    """The window of a day or month. One that is later stays."""
    return window if window is not None and window.name >= name else Window(name=name, amount=NOTHING)
