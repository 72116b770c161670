"""What metrics tell of a Provider's ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from operator_views import environment

from easel_api.offers import Offer
from easel_api.provider import Account, ProviderSpec, ProviderStatus, Spend, SpendLimits
from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.observed import Identity, Problem, ProviderView
from easel_operator.core.provider.decide import decide
from easel_operator.core.provider.spending import Spending, Window, spending
from easel_operator.core.resources import PROVIDERS, Key

TODAY = date(2026, 11, 28)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
WEST, EAST = Key(PROVIDERS.kind, "art", "west"), Key(PROVIDERS.kind, "art", "east")
LIMITS = SpendLimits(per_day=Decimal(20), per_month=Decimal(200))
LEDGER = Spend.model_validate(
    {
        "day": {"name": "2026-11-28", "amount": "4.2"},
        "month": {"name": "2026-11", "amount": "37.5"},
        "accounts": [{"holder": "a", "reserved": "0.16"}, {"holder": "b", "reserved": "0.04", "paid": "1"}],
    }
)
GAUGES = ("spend_dollars", "spend_limit_dollars", "reserved_dollars", "least_price_dollars", "jobs")


def offer(*prices: dict[str, Any], **changes: Any) -> Offer:
    body = {"model": "m", "tasks": ["text-to-image"], "source": "s", "checkedAt": "2025-11-23", "prices": list(prices)}
    return Offer.model_validate(body | changes)


def price(amount: str, per: str = "Image", **conditions: Any) -> dict[str, Any]:
    return {"amount": amount, "per": per} | conditions


def told(metrics: PrometheusMetrics) -> dict[tuple[str, ...], float]:
    """Every series about Providers, by the metric and its labels' values."""
    return {
        (sample.name.removeprefix("easel_provider_"), *sample.labels.values()): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name.startswith("easel_provider_")
    }


def test_the_ledger_and_the_limits_are_told_as_they_are() -> None:
    found = spending(LEDGER, LIMITS, [], TODAY)
    assert found == Spending(
        day=Window(Decimal("4.2"), Decimal(20)),
        month=Window(Decimal("37.5"), Decimal(200)),
        reserved=Decimal("0.20"),
        jobs=2,
    )


@pytest.mark.parametrize(
    ("today", "day", "month"),
    [(date(2026, 11, 29), "0", "37.5"), (date(2026, 12, 1), "0", "0"), (date(2026, 11, 27), "4.2", "37.5")],
    ids=["the next day", "the next month", "a clock that is behind"],
)
def test_a_window_that_is_over_holds_nothing(today: date, day: str, month: str) -> None:
    found = spending(LEDGER, LIMITS, [], today)
    assert (found.day.spent, found.month.spent) == (Decimal(day), Decimal(month))
    assert found.reserved == Decimal("0.20"), "what is under way is so whatever the day"


@pytest.mark.parametrize(
    ("offers", "least"),
    [
        ([], None),
        ([offer()], None),
        ([offer(price("0.08"), price("0.04", size="1K")), offer(price("0.05"))], "0.04"),
        ([offer(price("0.3", "Second"), seconds=[8, 4], tasks=["text-to-video"])], "1.2"),
        ([offer(price("30", "MillionTokens", tokens=1000)), offer(price("0.01", "MillionTokens"))], "0.03"),
        ([offer(price("0.01", "ComputeSecond"))], None),
        ([offer(price("0.01", currency="EUR")), offer(price("0.09"))], "0.09"),
    ],
)
def test_the_least_price_is_that_of_any_result_whose_price_is_known(offers: list[Offer], least: str | None) -> None:
    found = spending(Spend(), LIMITS, offers, TODAY).least_price
    assert found == (None if least is None else Decimal(least))


def test_a_model_that_is_gone_costs_nothing_any_more() -> None:
    gone = {"event": "Retired", "day": "2026-01-01", "source": "a page", "checkedAt": "2025-11-23"}
    offers = [offer(price("0.01"), lifecycle=[gone]), offer(price("0.04"))]
    assert spending(Spend(), LIMITS, offers, TODAY).least_price == Decimal("0.04")


def view(**changes: Any) -> ProviderView:
    body = {
        "family": "BedrockInvoke",
        "region": "us-west-2",
        "credentials": {"workloadIdentity": {}},
        "offers": [{"model": "m"}],
        "spend": {"perDay": "20", "perMonth": "200"},
    }
    status = ProviderStatus(spend=LEDGER)
    spec = ProviderSpec.model_validate(body)
    return replace(ProviderView(Identity(WEST, "uid", 1, "100"), spec, status, {"m": offer(price("0.04"))}), **changes)


def test_a_decision_tells_of_the_ledger_and_of_a_provider_that_goes_nothing() -> None:
    found = decide(view(), environment(NOON)).spending
    assert found == spending(LEDGER, LIMITS, [offer(price("0.04"))], TODAY)
    broken = decide(view(spec=Problem("InvalidInput", "spec.family: ...")), environment(NOON)).spending
    assert broken is not None
    assert (broken.day, broken.jobs) == (Window(Decimal("4.2")), 2), "money was paid, whatever the spec says now"
    leaving = view(identity=Identity(WEST, "uid", 1, "100", deleting=True))
    assert decide(leaving, environment(NOON)).spending is None


def test_every_number_is_exported_in_dollars() -> None:
    metrics = PrometheusMetrics()
    metrics.spending(WEST, spending(LEDGER, LIMITS, [offer(price("0.04"))], TODAY))
    assert told(metrics) == {
        ("spend_dollars", "art", "west", "day"): 4.2,
        ("spend_dollars", "art", "west", "month"): 37.5,
        ("spend_limit_dollars", "art", "west", "day"): 20.0,
        ("spend_limit_dollars", "art", "west", "month"): 200.0,
        ("reserved_dollars", "art", "west"): 0.2,
        ("least_price_dollars", "art", "west"): 0.04,
        ("jobs", "art", "west"): 2.0,
    }


def test_a_limit_that_is_lifted_and_a_provider_that_is_gone_leave_no_series() -> None:
    metrics = PrometheusMetrics()
    metrics.spending(WEST, spending(LEDGER, LIMITS, [offer(price("0.04"))], TODAY))
    metrics.spending(WEST, spending(LEDGER, SpendLimits(per_month=Decimal(200)), [], TODAY))
    assert ("spend_limit_dollars", "art", "west", "day") not in told(metrics)
    assert ("spend_limit_dollars", "art", "west", "month") in told(metrics)
    assert ("least_price_dollars", "art", "west") not in told(metrics)
    metrics.spending(EAST, spending(Spend(), LIMITS, [offer(price("0.04"))], TODAY))
    metrics.closed(WEST)
    metrics.closed(WEST)
    assert {(name[0], name[2]) for name in told(metrics)} == {(gauge, "east") for gauge in GAUGES}


def test_what_each_namespace_has_paid_is_told_while_the_ledger_has_a_row_of_it() -> None:
    metrics = PrometheusMetrics()
    month = {"name": "2026-11", "amount": "30"}
    rows = [
        {"name": "art", "day": {"name": "2026-11-27", "amount": "2"}, "month": month},
        {"name": "lab", "month": month},
    ]
    both = Spend.model_validate({"namespaces": rows})
    metrics.spending(WEST, spending(both, LIMITS, [], TODAY))
    metrics.spending(EAST, spending(both, LIMITS, [], TODAY))
    row = {("namespace_spend_dollars", "art", "west", each, "month"): 30.0 for each in ("art", "lab")}
    of_west = {
        name: value for name, value in told(metrics).items() if name[0].startswith("namespace") and name[2] == "west"
    }
    assert of_west == row | {("namespace_spend_dollars", "art", "west", each, "day"): 0.0 for each in ("art", "lab")}
    metrics.spending(WEST, spending(Spend.model_validate({"namespaces": rows[:1]}), LIMITS, [], TODAY))
    assert ("namespace_spend_dollars", "art", "west", "lab", "month") not in told(metrics)
    assert ("namespace_spend_dollars", "art", "east", "lab", "month") in told(metrics)
    metrics.closed(EAST)
    assert not [name for name in told(metrics) if name[2] == "east"]


def test_ten_cents_and_twenty_are_thirty() -> None:
    """Sums are exact, and floats behind them alone."""
    accounts = [Account(holder=each, reserved=Decimal(each)) for each in ("0.1", "0.2")]
    metrics = PrometheusMetrics()
    metrics.spending(WEST, spending(Spend(accounts=accounts), LIMITS, [], TODAY))
    assert told(metrics)["reserved_dollars", "art", "west"] == 0.3
