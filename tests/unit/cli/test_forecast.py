"""Who makes how many items, by the plan alone: the numbers are those of the decision for each item."""

from __future__ import annotations

import itertools
from collections import Counter
from decimal import Decimal

import pytest

from easel_api.generationclass import ClassBackend, Fallback, GenerationClassSpec, ModelBackend, OnBlocked, Policy, When
from easel_inference.cli.forecast import forecast, shares
from easel_inference.routing.decision import Fallback as Rule
from easel_inference.routing.decision import decide
from easel_inference.routing.plan import Candidate, Plan
from easel_inference.routing.request import Resolved

ITEMS = 4


def own(name: str = "studio", weight: float = 0) -> Candidate:
    return Candidate(name, own=True, resolved=Resolved(), price=Decimal(0), weight=weight)


def cloud(name: str, price: str | None, weight: float = 0) -> Candidate:
    return Candidate(f"west/{name}", own=False, resolved=Resolved(), price=price and Decimal(price), weight=weight)


def said(
    *candidates: Candidate,
    budget: str | None = None,
    fallback: Fallback | None = None,
    policy: Policy = Policy.ORDERED,
    items: int = ITEMS,
    named: tuple[str, ...] = (),
) -> str:
    names = named or tuple(each.name for each in candidates if each.own) or ("studio",)
    spec = GenerationClassSpec(
        backends=[ClassBackend(model_deployment=ModelBackend(name=name)) for name in names],
        fallback=fallback or Fallback(),
        policy=policy,
    )
    return "\n".join(forecast(Plan(policy, candidates, {}), items, Decimal(budget) if budget else None, spec))


CANDIDATES = (own(), cloud("ultra", "0.14"), cloud("core", "0.04"), cloud("free", "0"))


@pytest.mark.parametrize("budget", [None, "0.01", "0.10", "0.20", "0.46", "1"])
def test_the_shares_are_what_the_decisions_for_each_item_come_to(budget: str | None) -> None:
    for count in range(1, len(CANDIDATES) + 1):
        for candidates in itertools.permutations(CANDIDATES, count):
            made: Counter[str] = Counter()
            left = None if budget is None else Decimal(budget)
            for _ in range(ITEMS):
                chosen = decide(Plan(Policy.ORDERED, candidates, {}), {}, Rule(), now=0.0, budget_left=left).chosen
                if chosen is None:
                    continue
                made[chosen.name] += 1
                if left is not None and chosen.price:
                    left -= chosen.price
            found = shares(candidates, ITEMS, None if budget is None else Decimal(budget))
            assert +Counter(found.counts) == made
            assert found.missing == ITEMS - made.total()


def test_a_candidate_that_a_class_names_twice_keeps_its_share() -> None:
    core = cloud("core", "0.04")
    assert shares([core, core], ITEMS, Decimal("0.1")).counts == {core.name: 2}


def test_one_item_is_no_number() -> None:
    assert said(own(), items=1) == "studio makes it."


def test_several_makers_before_the_budget_ends() -> None:
    told = said(cloud("ultra", "0.14"), cloud("core", "0.04"), own(), budget="0.20")
    assert "west/ultra makes 1 of 4, west/core 1, studio the other 2." in told
    assert "The budget of $0.2 pays for no more than that." in told


def test_an_own_model_that_comes_first_is_waited_for_once_the_budget_is_spent() -> None:
    told = said(own(), cloud("core", "0.04"), budget="0.10")
    assert "they get $0.1 at most: enough for 2 of 4. studio is waited for with the others." in told


def test_of_what_is_drawn_the_budget_is_judged_by_the_cheapest_and_the_dearest() -> None:
    ultra, core = cloud("ultra", "0.14", 10), cloud("core", "0.04", 90)
    assert "Items are drawn by weight: west/ultra 10, west/core 90. All of them cost $" in said(ultra, core)
    assert "$0.56 is enough, whoever makes them" in said(ultra, core, budget="0.56")
    assert "is enough only when the cheaper ones make most of them" in said(ultra, core, budget="0.55")
    assert "is enough for 2 of 4 at most" in said(ultra, core, budget="0.10")
    told = said(ultra, own("studio", 50), cloud("core", "0.04"), budget="0.10")
    assert "The others make what none of these may." in told
    assert "what it does not pay goes to studio" in told


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        (Fallback(when=[When.GPU_UNAVAILABLE]), "passed over while no replica of it serves."),
        (
            Fallback(when=[When.GPU_UNAVAILABLE, When.WAKE_TIME_ABOVE], wake_seconds=30),
            "passed over while no replica of it serves 30 s after the job's worker began.",
        ),
        (
            Fallback(when=[When.GPU_UNAVAILABLE, When.QUEUE_WAIT_ABOVE], queue_wait_seconds=60),
            "passed over while no replica of it serves, or while its queue takes more than 60 s.",
        ),
        (Fallback(when=[When.BACKEND_FAILURE]), "never passed over. Each item waits for it"),
    ],
)
def test_an_own_model_is_passed_over_as_the_class_says(fallback: Fallback, words: str) -> None:
    assert words in said(own(), cloud("core", "0.04"), fallback=fallback)


def test_nothing_is_said_of_passing_over_one_behind_whom_nobody_is() -> None:
    rests = "A Provider is passed over at once"
    assert rests not in said(own(), cloud("core", "0.04"))
    assert rests in said(own(), cloud("core", "0.04"), cloud("ultra", "0.14"))
    told = said(cloud("core", "0.04"), own())
    assert rests in told
    assert "studio is" not in told
    assert said(cloud("core", "0.04")) == "west/core makes all 4."


def test_by_measurement_the_wait_for_an_own_model_counts_and_binds_nobody() -> None:
    told = said(own(), cloud("core", "0.04"), policy=Policy.FASTEST)
    assert "waits for it" not in told
    assert "A Provider is passed over at once" in told
    assert said(own(), policy=Policy.FASTEST) == "studio makes all 4."


@pytest.mark.parametrize(
    ("when", "blocked", "words"),
    [
        ([When.BACKEND_FAILURE], OnBlocked.NEVER, "failed in one place goes to another"),
        ([When.BACKEND_FAILURE], OnBlocked.FALL_BACK, "or that a safety policy blocked there goes to another"),
        ([], OnBlocked.FALL_BACK, "no BackendFailure. One that a safety policy blocked is."),
        ([], OnBlocked.NEVER, "given to no other for that: the class's fallback has no BackendFailure."),
    ],
)
def test_an_item_that_failed_goes_where_the_class_lets_it(when: list[When], blocked: OnBlocked, words: str) -> None:
    fallback = Fallback(when=when, on_content_blocked=blocked)
    assert words in said(cloud("core", "0.04"), own(), fallback=fallback)


def test_the_first_own_model_of_the_class_is_taken_whatever_the_order_of_the_plan() -> None:
    told = said(
        own("better"), own("first"), cloud("core", "0.04"), policy=Policy.BEST_QUALITY, named=("first", "better")
    )
    assert "the first of first, better that can serve" in told
    assert "first makes all 4." in told
    assert "better makes" not in told
