"""Who makes an item."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_views import TODAY, cloud, own, request

from easel_inference.routing.breaker import Breaker
from easel_inference.routing.decision import Decision, Fallback, Now, decide
from easel_inference.routing.plan import Allowed, Backend, Plan, Policy, expected, expected_in_all, plan

RETIRED = [{"event": "Retired", "day": "2026-10-23", "source": "a page", "checkedAt": "2026-11-23"}]
REST = Breaker(open_until=130.0, rests=1, reason="Transient")

GONE = Now(ready=False, wait_seconds=float("inf"))


def planned(*backends: Backend, policy: Policy = Policy.ORDERED, **allowed: Any) -> Plan:
    return plan(request(), backends, policy, TODAY, Allowed(**allowed))


def names(made: Plan) -> list[str]:
    return [candidate.name for candidate in made.candidates]


def chosen(made: Plan, known: dict[str, Now] | None = None, fallback: Fallback = Fallback(), **more: Any) -> Decision:  # noqa: B008 - frozen
    return decide(made, known or {}, fallback, now=100.0, **more)


@pytest.mark.parametrize(
    ("backend", "allowed", "reason"),
    [
        (
            cloud("a", region="us-east-1"),
            {"regions": frozenset({"eu-central-1"})},
            "the class allows no region us-east-1",
        ),
        (cloud("a"), {"regions": frozenset({"eu-central-1"})}, "the class allows no region that is not known"),
        (
            cloud("a", retention="Limited"),
            {"retention": frozenset({"Nothing"})},
            "the class allows no provider that keeps Limited",
        ),
        (cloud("a", None), {}, "its price is unknown, and the class allows none that is"),
        (cloud("a", tasks=["upscale"]), {}, "task: does upscale"),
        (cloud("a", lifecycle=RETIRED, successor="n"), {}, "m is no longer served; n follows it"),
        (Backend("a"), {}, "neither the Provider nor the catalogue has such an offer"),
        (cloud("a", regions=["us-west-2"], region="us-east-1"), {}, "m is served in us-west-2"),
        (own(unfit="it lacks the LoRA ink"), {}, "it lacks the LoRA ink"),
    ],
)
def test_a_backend_that_is_out_says_why(backend: Backend, allowed: dict[str, Any], reason: str) -> None:
    made = planned(backend, **allowed)
    assert made.candidates == ()
    assert made.refused == {backend.name: reason}


def test_an_unknown_price_is_allowed_where_the_class_says_so_and_goes_behind_all_known() -> None:
    made = planned(cloud("x", None), cloud("a", "9"), policy=Policy.CHEAPEST, unknown_price=True)
    assert names(made) == ["a", "x"]
    assert made.candidates[1].price is None


def test_policies_order_and_what_is_alike_stays_in_the_order_of_the_class() -> None:
    backends = (
        cloud("b", "0.08", quality=3),
        own(quality=1),
        cloud("c", "0.04", quality=9),
        cloud("d", "0.04", quality=3),
    )
    assert names(planned(*backends)) == ["b", "studio", "c", "d"]
    assert names(planned(*backends, policy=Policy.CHEAPEST)) == ["studio", "c", "d", "b"]
    assert names(planned(*backends, policy=Policy.BEST_QUALITY)) == ["c", "b", "d", "studio"]


def test_an_own_model_is_waited_for_unless_the_class_passes_it_over() -> None:
    made = planned(own(), cloud("a"))
    asleep, busy = Now(ready=False, wait_seconds=90), Now(wait_seconds=45)
    never = Now(ready=False, wait_seconds=float("inf"))
    for state in (asleep, busy, never):
        assert chosen(made, {"studio": state}).chosen == made.candidates[0]
    for state, fallback, reason in (
        (busy, Fallback(queue_wait_seconds=30), "its queue takes 45 s, and the class waits for 30"),
        (asleep, Fallback(wake_seconds=60), "it wakes in 90 s, and the class waits for 60"),
        (never, Fallback(unavailable=True), "it has no replica, and none is on its way"),
        (never, Fallback(wake_seconds=60), "it has no replica, and none is on its way"),
        (
            Now(failure="BackendFault"),
            Fallback(failures=frozenset({"BackendFault"})),
            "this item failed there: BackendFault",
        ),
    ):
        found = chosen(made, {"studio": state}, fallback)
        assert found == Decision(made.candidates[1], {"studio": reason}, "Fallback")
    assert chosen(made, {"studio": busy}, Fallback(queue_wait_seconds=45)).chosen == made.candidates[0]


def test_a_block_goes_nowhere_else_unless_the_class_says_so() -> None:
    made = planned(cloud("a"), cloud("b"))
    blocked = {"a": Now(failure="ContentBlocked")}
    for known in (blocked, {"a": replace(blocked["a"], breaker=REST)}, blocked | {"b": Now(run_seconds=0.1)}):
        for policy in Policy:
            found = chosen(planned(cloud("a", weight=1.0), cloud("b"), policy=policy), known, dice=0.9)
            assert found.chosen is None
            assert found.skipped == {
                "a": "this item failed there for good: ContentBlocked",
                "b": "the item has failed for good",
            }
    assert chosen(made, blocked, Fallback(failures=frozenset({"ContentBlocked"}))).chosen == made.candidates[1]


@pytest.mark.parametrize("reason", ["AmbiguousSubmit", "Cancelled"])
def test_what_nobody_knows_the_fate_of_goes_nowhere_whatever_a_class_says(reason: str) -> None:
    made = planned(cloud("a"), cloud("b"))
    assert chosen(made, {"a": Now(failure=reason)}).chosen is None
    with pytest.raises(ValueError, match=reason):
        Fallback(failures=frozenset({reason}))


def test_what_may_be_tried_again_is_tried_where_it_was_unless_the_class_says_otherwise() -> None:
    made = planned(cloud("a"), cloud("b"))
    assert chosen(made, {"a": Now(failure="Transient")}).chosen == made.candidates[0]
    elsewhere = Fallback(failures=frozenset({"Transient"}))
    assert chosen(made, {"a": Now(failure="Transient")}, elsewhere).chosen == made.candidates[1]


def test_an_own_model_that_is_busy_is_waited_for_when_nobody_else_may() -> None:
    made = planned(own(), cloud("a"))
    busy, fallback = Now(wait_seconds=45), Fallback(queue_wait_seconds=30)
    for known, left in (({"studio": busy}, Decimal(0)), ({"studio": busy, "a": Now(breaker=REST)}, None)):
        found = chosen(made, known, fallback, budget_left=left)
        assert found.chosen == made.candidates[0]
        assert list(found.skipped) == ["a"]


def test_an_unknown_price_and_a_budget_do_not_go_together() -> None:
    made = planned(cloud("a", None), unknown_price=True)
    assert chosen(made).chosen == made.candidates[0]
    assert chosen(made, budget_left=Decimal(9)).chosen is None
    within = planned(cloud("a", None), unknown_price=True, budgeted=True)
    assert within.refused == {"a": "its price is unknown, and the job has a budget"}


def test_a_spent_budget_stops_providers_and_no_own_model() -> None:
    made = planned(cloud("dear", "0.10"), cloud("cheap", "0.04"), own())
    assert chosen(made, budget_left=Decimal("0.05")).chosen == made.candidates[1]
    spent = chosen(made, budget_left=Decimal("0.03"))
    assert spent.chosen == made.candidates[2]
    assert spent.skipped["dear"] == "0.1000 is more than the 0.03 that is left of the budget"
    nobody = chosen(planned(cloud("dear", "0.10")), budget_left=Decimal(0))
    assert nobody.chosen is None
    assert len(nobody.skipped) == 1


def test_one_that_rests_is_passed_over_until_it_has_rested() -> None:
    made = planned(cloud("a"), cloud("b"))
    assert chosen(made, {"a": Now(breaker=REST)}).chosen == made.candidates[1]
    assert decide(made, {"a": Now(breaker=REST)}, Fallback(), now=130.0).chosen == made.candidates[0]


def test_the_fastest_is_the_one_that_is_done_first_own_models_among_them() -> None:
    made = planned(cloud("a"), own(), cloud("b"), policy=Policy.FASTEST)
    quick = {"a": Now(run_seconds=9), "studio": Now(wait_seconds=20, run_seconds=2), "b": Now(run_seconds=12)}
    assert chosen(made, quick).chosen == made.candidates[0]
    idle = quick | {"studio": Now(run_seconds=2)}
    assert chosen(made, idle).chosen == made.candidates[1]
    assert chosen(made, {"a": Now(run_seconds=90), "studio": Now(run_seconds=99)}).chosen == made.candidates[2], (
        "untried"
    )


def test_each_is_tried_once_before_any_is_called_the_fastest() -> None:
    made = planned(cloud("a"), cloud("b"), own(), policy=Policy.FASTEST)
    known = {"a": Now(run_seconds=9), "b": Now(tried=False), "studio": Now(tried=False, wait_seconds=5)}
    assert chosen(made, known).chosen == made.candidates[1]
    known["b"] = Now()  # it is under way
    assert chosen(made, known).chosen == made.candidates[2], "its queue is shorter than the other's work"
    known["studio"] = Now(ready=False, tried=False)  # nothing can be sent there, so that nothing is learnt by waiting
    assert chosen(made, known).chosen == made.candidates[0]
    known["studio"] = Now()
    assert chosen(made, known).chosen == made.candidates[0]


def test_weights_share_the_items_among_those_that_can() -> None:
    made = planned(cloud("a", weight=1.0), cloud("b", weight=3.0), cloud("c"))
    drawn = [chosen(made, dice=number / 100).chosen for number in range(100)]
    assert [drawn.count(candidate) for candidate in made.candidates] == [25, 75, 0]
    assert chosen(made, {"b": Now(breaker=REST)}, dice=0.99).chosen == made.candidates[0]
    rest = {name: Now(breaker=REST) for name in ("a", "b")}
    assert chosen(made, rest, dice=0.5).chosen == made.candidates[2], "one without a share stands in"


@pytest.mark.parametrize(
    ("backends", "policy", "known", "said"),
    [
        ([cloud("a"), cloud("b")], Policy.ORDERED, {}, ("a", "Ordered")),
        ([cloud("a", "9"), cloud("b")], Policy.CHEAPEST, {}, ("b", "Cheapest")),
        ([cloud("a"), cloud("b", quality=1)], Policy.BEST_QUALITY, {}, ("b", "BestQuality")),
        ([cloud("a"), cloud("b")], Policy.FASTEST, {"a": Now(breaker=REST)}, ("b", "Fastest")),
        ([cloud("a"), cloud("b")], Policy.ORDERED, {"a": Now(breaker=REST)}, ("b", "Fallback")),
        ([cloud("a"), cloud("b", weight=1.0)], Policy.ORDERED, {}, ("b", "Weight")),
        ([own(), cloud("a")], Policy.ORDERED, {"studio": GONE, "a": Now(breaker=REST)}, ("studio", "NothingElse")),
        ([cloud("a")], Policy.ORDERED, {"a": Now(breaker=REST)}, ("", "")),
    ],
)
def test_why_it_is_this_one_is_said_in_a_word(
    backends: list[Backend], policy: Policy, known: dict[str, Now], said: tuple[str, str]
) -> None:
    found = chosen(planned(*backends, policy=policy), known, Fallback(unavailable=True))
    assert (found.chosen.name if found.chosen else "", found.reason) == said


@pytest.mark.parametrize(
    ("backends", "policy", "amount"),
    [
        ([cloud("a", "0.10"), cloud("b", "0.04")], Policy.ORDERED, "1.0000"),
        ([cloud("a", "0.10"), cloud("b", "0.04")], Policy.CHEAPEST, "0.4000"),
        ([own(), cloud("a", "0.10")], Policy.ORDERED, "0"),
        ([cloud("a", "0.10", weight=3.0), cloud("b", "0.02", weight=1.0), cloud("c", "9")], Policy.ORDERED, "0.8000"),
        ([cloud("a", weight=1.0), cloud("b", weight=9.0)], Policy.ORDERED, "0.4000"),
        ([cloud("a", "0.10"), cloud("b", "0.04")], Policy.FASTEST, None),
        ([cloud("a", "0.10")], Policy.FASTEST, "1.0000"),
        ([cloud("a", None), cloud("b", "0.04")], Policy.ORDERED, None),
        ([cloud("a", "0.10", weight=1.0), cloud("b", None, weight=1.0)], Policy.ORDERED, None),
        ([], Policy.ORDERED, None),
    ],
)
def test_what_ten_items_cost_is_told_where_anybody_can_tell(
    backends: list[Backend], policy: Policy, amount: str | None
) -> None:
    made = planned(*backends, policy=policy, unknown_price=True)
    assert expected(made, 10) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("left", "paid", "amount"),
    [
        (10, ["0.04", "1"], "1.44"),
        (0, ["0.04"], "0.04"),
        (0, [], "0"),
        (10, [""], None),
        (10, ["999999"], "999999.4"),
        (10, ["999999.7"], None),
    ],
)
def test_a_job_costs_what_was_paid_and_the_rest(left: int, paid: list[str], amount: str | None) -> None:
    made = planned(cloud("a", "0.04"))
    assert expected_in_all(made, left, paid) == (None if amount is None else Decimal(amount))
    nobody = planned()
    assert expected_in_all(nobody, left, paid) == (Decimal(amount) if amount and not left else None)


BACKENDS = st.lists(
    st.one_of(
        st.builds(
            lambda n, unfit: own(f"own-{n}", unfit=unfit), st.integers(0, 99), st.sampled_from(["", "", "it cannot"])
        ),
        st.builds(
            lambda n, amount, quality, weight: cloud(f"cloud-{n}", amount, quality=quality, weight=weight),
            st.integers(0, 99),
            st.sampled_from([None, "0.01", "0.04", "0.40"]),
            st.floats(0, 9),
            st.sampled_from([0.0, 0.0, 1.0]),
        ),
    ),
    max_size=8,
    unique_by=lambda backend: backend.name,
)
STATES = st.builds(
    Now,
    ready=st.booleans(),
    wait_seconds=st.sampled_from([0.0, 10.0, 100.0, float("inf")]),
    run_seconds=st.none() | st.floats(0, 100),
    breaker=st.sampled_from([Breaker(), REST, Breaker(paused_until=101.0)]),
    failure=st.sampled_from(["", "", "Transient", "ContentBlocked"]),
)
FALLBACKS = st.builds(
    Fallback,
    queue_wait_seconds=st.none() | st.just(30.0),
    wake_seconds=st.none() | st.just(30.0),
    unavailable=st.booleans(),
    failures=st.sampled_from([frozenset(), frozenset({"Transient"}), frozenset({"Transient", "ContentBlocked"})]),
)


@given(
    backends=BACKENDS,
    states=st.lists(STATES, min_size=8, max_size=8),
    fallback=FALLBACKS,
    policy=st.sampled_from(Policy),
    left=st.none() | st.sampled_from([Decimal(0), Decimal("0.04"), Decimal(9)]),
    dice=st.floats(0, 1, exclude_max=True),
    unknown=st.booleans(),
)
def test_whatever_is_so(
    backends: list[Backend],
    states: list[Now],
    fallback: Fallback,
    policy: Policy,
    left: Decimal | None,
    dice: float,
    unknown: bool,
) -> None:
    made = plan(request(), backends, policy, TODAY, Allowed(unknown_price=unknown))
    told = [*names(made), *made.refused]
    assert sorted(told) == sorted(backend.name for backend in backends), "each is a candidate or refused, once"
    known = dict(zip((backend.name for backend in backends), states, strict=False))
    found = decide(made, known, fallback, now=100.0, budget_left=left, dice=dice)
    assert all((*found.skipped.values(), *made.refused.values()))
    if found.chosen is None:
        assert set(found.skipped) >= set(names(made)), "nobody is left out without a reason"
        return
    final = {state.failure for state in known.values()} - fallback.failures - {"", "Transient"}
    assert not final, "an item that failed for good is made nowhere"
    assert found.chosen in made.candidates
    assert found.chosen.name not in found.skipped
    state = known[found.chosen.name]
    assert not (state.failure and state.failure in fallback.failures)
    if not found.chosen.own:
        assert not state.breaker.obstacle(100.0)
        assert left is None or (found.chosen.price is not None and found.chosen.price <= left)
    # Time alone, or another item's dice, changes no verdict on the others.
    again = decide(made, known, replace(fallback), now=100.0, budget_left=left, dice=dice)
    assert again == found
