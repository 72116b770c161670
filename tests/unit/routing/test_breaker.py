"""When a backend is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_inference.routing.breaker import AT_ONCE, LONGEST_REST_SECONDS, THRESHOLD, Breaker

COUNTLESS = ["ContentBlocked", "InvalidInput", "Unsupported", "BadOutput", "BilledBadOutput", "Cancelled"]


def broken(times: int = THRESHOLD, now: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed("Transient", now)
    return breaker


def test_faults_in_a_row_open_it_and_a_success_between_does_not() -> None:
    assert broken(THRESHOLD - 1).obstacle(100.0) == ""
    assert (broken().obstacle(100.0), broken().open_until) == ("rests after Transient", 130.0)
    assert broken(THRESHOLD - 1).succeeded(100.0).failed("Transient", 100.0).obstacle(100.0) == ""


def test_old_faults_do_not_count() -> None:
    assert broken(THRESHOLD - 1).failed("Transient", 161.0).obstacle(161.0) == ""


@pytest.mark.parametrize("reason", COUNTLESS)
def test_what_says_nothing_of_the_backend_does_not_count(reason: str) -> None:
    breaker = Breaker()
    for _ in range(3 * THRESHOLD):
        breaker = breaker.failed(reason, 100.0)
    assert breaker == Breaker()


@pytest.mark.parametrize("reason", sorted(AT_ONCE))
def test_what_a_person_must_mend_opens_it_at_once_and_for_long(reason: str) -> None:
    breaker = Breaker().failed(reason, 100.0)
    assert breaker.obstacle(100.0 + LONGEST_REST_SECONDS - 1)
    assert not breaker.obstacle(100.0 + LONGEST_REST_SECONDS)


def test_a_backend_that_asks_to_wait_is_waited_for_and_is_well() -> None:
    breaker = Breaker().failed("Throttled", 100.0, retry_after=17)
    assert (breaker.obstacle(100.0), breaker.paused_until) == ("asked to wait", 117.0)
    assert breaker.obstacle(117.0) == ""
    assert (breaker.faults, breaker.rests) == ((), 0)
    assert breaker.failed("Throttled", 101.0, retry_after=1).obstacle(110.0), "the longer wait stays"
    assert breaker.succeeded(110.0).obstacle(110.0), "what was sent before ends well, and the wait stays"


def test_behind_a_rest_one_request_tries_and_the_next_rest_is_longer() -> None:
    breaker = broken()
    assert breaker.obstacle(130.0) == ""
    trying = breaker.tried(130.0)
    assert trying.obstacle(131.0) == "one request tries whether it works again after Transient"
    assert trying.obstacle(191.0) == "", "the one that tried was lost"
    again = trying.failed("Transient", 135.0)
    assert (again.obstacle(135.0), again.open_until) == ("rests after Transient", 195.0)
    assert trying.succeeded(135.0) == Breaker()
    assert trying.failed("Cancelled", 135.0).obstacle(135.0) == "", "it says nothing, and another one tries"
    assert trying.failed("AmbiguousSubmit", 135.0).obstacle(135.0), "nobody answered"
    assert trying.failed("ContentBlocked", 135.0) == Breaker(), "it answers, so it works"


def test_what_was_sent_before_a_rest_says_nothing_of_it() -> None:
    breaker = broken()
    for _ in range(12):
        breaker = breaker.failed("Transient", 101.0)
    assert (breaker.obstacle(101.0), breaker.open_until) == ("rests after Transient", 130.0)
    assert breaker.succeeded(101.0).obstacle(101.0), "a late success ends no rest"
    assert breaker.failed("AuthConfig", 101.0).obstacle(600.0), "what a person must mend lengthens it"


@pytest.mark.parametrize("reason", ["Throttled", "Transient"])
def test_nobody_can_be_made_to_wait_for_ever(reason: str) -> None:
    breaker = broken(THRESHOLD - 1).failed(reason, 100.0, retry_after=1e9)
    assert breaker.obstacle(100.0 + LONGEST_REST_SECONDS) == ""


@given(st.lists(st.sampled_from(["Transient", "Throttled", "ContentBlocked", "AuthConfig", "ok"]), max_size=40))
def test_it_never_rests_for_ever(events: list[str]) -> None:
    breaker, now = Breaker(), 0.0
    for event in events:
        now += 1.0
        if not breaker.obstacle(now):
            breaker = breaker.tried(now)
            breaker = breaker.succeeded(now) if event == "ok" else breaker.failed(event, now)
        assert not breaker.obstacle(now + LONGEST_REST_SECONDS + 60)
