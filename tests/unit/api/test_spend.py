"""A Provider's ledger: whatever workers do, and whenever one of them dies, no more than the limit is ever committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from easel_api.provider import (
    MAX_ACCOUNTS,
    MAX_NAMESPACES,
    Account,
    NamespaceLimits,
    NamespaceWindows,
    Spend,
    SpendLimits,
    Window,
)
from easel_api.spend import NOTHING, account_of, booked, close, recorded, room, windows_of

TODAY = date(2026, 11, 28)
CENT = Decimal("0.01")
LIMITS = SpendLimits(per_day=Decimal("1.00"))


def account(holder: str = "a", reserved: str = "0", paid: str = "0", namespace: str = "") -> Account:
    job = f"{namespace}/{holder}" if namespace else ""
    return Account(holder=holder, reserved=Decimal(reserved), paid=Decimal(paid), job=job)


def day(spend: Spend) -> Decimal:
    return spend.day.amount if spend.day else NOTHING


def day_of(spend: Spend, namespace: str) -> Decimal:
    windows = windows_of(spend, namespace)
    return windows.day.amount if windows and windows.day else NOTHING


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    spend = booked(Spend(), LIMITS, account("a", reserved="0.60"), TODAY)
    assert spend is not None
    assert room(spend, LIMITS, TODAY) == Decimal("0.40")
    assert booked(spend, LIMITS, account("b", reserved="0.41"), TODAY) is None
    spend = booked(spend, LIMITS, account("a", reserved="0", paid="0.04"), TODAY)
    assert spend is not None
    assert (day(spend), room(spend, LIMITS, TODAY)) == (Decimal("0.04"), Decimal("0.96"))


def test_paying_what_was_reserved_makes_no_room_for_more() -> None:
    spend = booked(Spend(), LIMITS, account(reserved="0.90"), TODAY)
    assert spend is not None
    assert booked(spend, LIMITS, account(reserved="0.90", paid="0.90"), TODAY) is None


def test_a_bill_above_what_was_reserved_is_recorded_though_there_is_no_room_for_it() -> None:
    spend = booked(Spend(), LIMITS, account(reserved="0.90"), TODAY)
    assert spend is not None
    over = account(paid="1.20")
    assert booked(spend, LIMITS, over, TODAY) is None
    spend = recorded(spend, over, TODAY)
    assert (day(spend), room(spend, LIMITS, TODAY)) == (Decimal("1.20"), Decimal("-0.20"))
    assert recorded(spend, over, TODAY) == spend
    assert day(close(spend, "a", TODAY)) == Decimal("1.20")


def test_saying_it_again_changes_nothing() -> None:
    once = booked(Spend(), LIMITS, account(reserved="0.30", paid="0.10"), TODAY)
    assert once is not None
    assert booked(once, LIMITS, account(reserved="0.30", paid="0.10"), TODAY) == once


def test_a_new_day_and_a_new_month_begin_at_nothing() -> None:
    limits = SpendLimits(per_day=Decimal(1), per_month=Decimal(2))
    spend = booked(Spend(), limits, account(paid="0.90"), TODAY)
    assert spend is not None
    assert room(spend, limits, date(2026, 11, 29)) == Decimal(1)
    assert room(spend, limits, date(2026, 12, 1)) == Decimal(1)
    late = booked(spend, limits, account(paid="1.80"), date(2026, 11, 29))
    assert late is not None
    assert (day(late), room(late, limits, date(2026, 11, 30))) == (Decimal("0.90"), Decimal("0.20"))
    assert late.month == Window(name="2026-11", amount=Decimal("1.80"))


def test_a_clock_that_is_behind_opens_no_window_again() -> None:
    limits = SpendLimits(per_day=Decimal(1), per_month=Decimal(2))
    ahead = booked(Spend(), limits, account("a", paid="0.90"), date(2026, 12, 1))
    assert ahead is not None
    assert room(ahead, limits, date(2026, 11, 30)) == Decimal("0.10")
    behind = booked(ahead, limits, account("b", paid="0.04"), date(2026, 11, 30))
    assert behind is not None
    assert behind.day == Window(name="2026-12-01", amount=Decimal("0.94"))
    assert behind.month == Window(name="2026-12", amount=Decimal("0.94"))


def test_a_job_that_is_over_has_paid_all_that_it_never_settled() -> None:
    spend = booked(Spend(), LIMITS, account(reserved="0.20", paid="0.10"), TODAY)
    assert spend is not None
    closed = close(spend, "a", TODAY)
    assert (closed.accounts, day(closed)) == ([], Decimal("0.30"))
    assert close(closed, "a", TODAY) == closed


def test_without_a_limit_there_is_room_and_no_more_accounts_than_a_status_holds() -> None:
    full = Spend(accounts=[account(str(number)) for number in range(MAX_ACCOUNTS)])
    assert room(full, SpendLimits(), TODAY) is None
    assert booked(full, SpendLimits(), account("new", reserved="1"), TODAY) is None
    assert booked(full, SpendLimits(), account("7", reserved="1"), TODAY) is not None


EACH = SpendLimits(
    per_day=Decimal("1.00"), per_namespace=NamespaceLimits(per_day=Decimal("0.60"), per_month=Decimal("0.90"))
)


def test_a_namespace_has_a_limit_of_its_own_beside_that_of_all() -> None:
    spend = booked(Spend(), EACH, account("a", reserved="0.50", namespace="art"), TODAY)
    assert spend is not None
    assert (room(spend, EACH, TODAY, "art"), room(spend, EACH, TODAY, "studio")) == (Decimal("0.10"), Decimal("0.50"))
    assert booked(spend, EACH, account("b", reserved="0.11", namespace="art"), TODAY) is None
    assert booked(spend, EACH, account("c", reserved="0.51", namespace="studio"), TODAY) is None
    spend = booked(spend, EACH, account("c", reserved="0.10", paid="0.40", namespace="studio"), TODAY)
    assert spend is not None
    assert (day(spend), day_of(spend, "studio"), day_of(spend, "art")) == (Decimal("0.40"), Decimal("0.40"), NOTHING)


def test_the_windows_of_a_namespace_are_those_of_its_days_and_months() -> None:
    spend = booked(Spend(), EACH, account("a", paid="0.60", namespace="art"), TODAY)
    assert spend is not None
    tomorrow = date(2026, 11, 29)
    assert (room(spend, EACH, TODAY, "art"), room(spend, EACH, tomorrow, "art")) == (NOTHING, Decimal("0.30"))
    assert room(spend, EACH, date(2026, 12, 1), "art") == Decimal("0.60")
    assert close(spend, "a", tomorrow).namespaces == spend.namespaces


def test_what_a_job_that_is_over_never_settled_is_paid_by_its_namespace() -> None:
    spend = booked(Spend(), EACH, account("a", reserved="0.20", paid="0.10", namespace="art"), TODAY)
    assert spend is not None
    closed = close(spend, "a", TODAY)
    assert (day(closed), day_of(closed, "art")) == (Decimal("0.30"), Decimal("0.30"))


def test_a_row_goes_when_its_month_is_over_and_no_job_of_it_is_underway() -> None:
    spend = Spend()
    for holder, namespace in (("a", "art"), ("b", "studio"), ("c", "lab")):
        after = booked(spend, EACH, account(holder, paid="0.10", namespace=namespace), TODAY)
        assert after is not None
        spend = after
    spend = close(close(spend, "a", TODAY), "c", TODAY)
    assert [each.name for each in spend.namespaces] == ["art", "studio", "lab"], "its month is not over"
    later = booked(spend, EACH, account("d", reserved="0.10", namespace="lab"), date(2026, 12, 1))
    assert later is not None
    assert [each.name for each in later.namespaces] == ["studio", "lab"]
    assert later.month == Window(name="2026-12", amount=NOTHING)
    behind = booked(later, EACH, account("e", paid="0.10", namespace="art"), date(2026, 11, 30))
    assert behind is not None
    row = windows_of(behind, "art")
    assert row is not None
    assert row.month == Window(name="2026-12", amount=Decimal("0.10")), "a clock that is behind opens no month again"


def test_of_more_namespaces_than_a_ledger_holds_none_pays_by_a_limit_of_its_own() -> None:
    month = Window(name="2026-11", amount=Decimal("0.01"))
    full = Spend(namespaces=[NamespaceWindows(name=f"n{number}", month=month) for number in range(MAX_NAMESPACES)])
    new = account("a", reserved="0.10", namespace="one-more")
    assert booked(full, EACH, new, TODAY) is None
    assert booked(full, LIMITS, new, TODAY) is not None, "all together have a limit, and are counted"
    assert booked(full, EACH, new, date(2026, 12, 1)) is not None, "rows of a month that is over make room"
    assert booked(full, EACH, account("b", reserved="0.10"), TODAY) is None, "nobody knows whose it is"


OF = {"a": "art", "b": "art", "c": "studio"}
"""Whose each job is."""


@dataclass
class World:
    """Workers that reserve, pay and die, and what was really paid."""

    spend: Spend = field(default_factory=Spend)
    reserved: dict[str, Decimal] = field(default_factory=dict)
    paid: dict[str, Decimal] = field(default_factory=dict)
    billed: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(OF.values(), NOTHING))

    @property
    def all_billed(self) -> Decimal:
        return sum(self.billed.values(), NOTHING)

    def book(self, holder: str, reserved: Decimal) -> bool:
        paid = self.paid.get(holder, NOTHING)
        said = Account(holder=holder, reserved=reserved, paid=paid, job=f"{OF[holder]}/{holder}")
        after = booked(self.spend, EACH, said, TODAY)
        if after is None:
            return False
        self.spend, self.reserved[holder] = after, reserved
        return True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "call", "reserve", "call", "settle", "die"]),
        st.sampled_from("abc"),
        st.integers(5, 60),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS)
def test_workers_together_never_have_more_billed_than_the_limit(steps: list[tuple[str, str, int]]) -> None:
    world = World()
    for what, who, cents in steps:
        held = world.reserved.get(who, NOTHING)
        match what:
            case "reserve":
                world.book(who, held + cents * CENT)
            case "call" if held >= CENT:
                # Billed at once; the ledger hears of it with the next booking.
                price = min(held, cents * CENT)
                world.billed[OF[who]] += price
                world.paid[who] = world.paid.get(who, NOTHING) + price
                world.reserved[who] = held - price
            case "settle":
                world.book(who, held)
            case "die" if cents < 10:  # seldom, or nothing would ever come of it
                world.spend = close(world.spend, who, TODAY)
                world.reserved.pop(who, None)
                world.paid.pop(who, None)
        assert world.all_billed <= Decimal("1.00")
        assert max(world.billed.values()) <= Decimal("0.60")
    for who in list(world.reserved):
        assert world.book(who, NOTHING), "to let go needs no room"
    assert day(world.spend) >= world.all_billed, "what was paid is never less than what was billed"
    assert all(day_of(world.spend, whose) >= billed for whose, billed in world.billed.items())
    assert sum((day_of(world.spend, whose) for whose in world.billed), NOTHING) == day(world.spend)
    assert all(account_of(world.spend, who).reserved == NOTHING for who in world.reserved)  # type: ignore[union-attr]  # booked above
