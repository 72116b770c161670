"""A Provider's ledger: whatever workers do, and whenever one of them dies, no more than the limit is ever committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from easel_api.provider import MAX_ACCOUNTS, Account, Spend, SpendLimits, Window
from easel_api.spend import NOTHING, account_of, booked, close, room

TODAY = date(2026, 11, 28)
CENT = Decimal("0.01")
LIMITS = SpendLimits(per_day=Decimal("1.00"))


def account(holder: str = "a", reserved: str = "0", paid: str = "0") -> Account:
    return Account(holder=holder, reserved=Decimal(reserved), paid=Decimal(paid))


def day(spend: Spend) -> Decimal:
    return spend.day.amount if spend.day else NOTHING


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


@dataclass
class World:
    """Workers that reserve, pay and die, and what was really paid."""

    spend: Spend = field(default_factory=Spend)
    reserved: dict[str, Decimal] = field(default_factory=dict)
    paid: dict[str, Decimal] = field(default_factory=dict)
    billed: Decimal = NOTHING

    def book(self, holder: str, reserved: Decimal) -> bool:
        said = Account(holder=holder, reserved=reserved, paid=self.paid.get(holder, NOTHING))
        after = booked(self.spend, LIMITS, said, TODAY)
        if after is None:
            return False
        self.spend, self.reserved[holder] = after, reserved
        return True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "call", "reserve", "call", "settle", "die"]),
        st.sampled_from("ab"),
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
                world.billed += price
                world.paid[who] = world.paid.get(who, NOTHING) + price
                world.reserved[who] = held - price
            case "settle":
                world.book(who, held)
            case "die" if cents < 10:  # seldom, or nothing would ever come of it
                world.spend = close(world.spend, who, TODAY)
                world.reserved.pop(who, None)
                world.paid.pop(who, None)
        assert world.billed <= LIMITS.per_day  # type: ignore[operator]  # it has one
    for who in list(world.reserved):
        assert world.book(who, NOTHING), "to let go needs no room"
    assert day(world.spend) >= world.billed, "what was paid is never less than what was billed"
    assert all(account_of(world.spend, who).reserved == NOTHING for who in world.reserved)  # type: ignore[union-attr]  # booked above
