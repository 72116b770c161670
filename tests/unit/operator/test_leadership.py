"""The rules of the Lease."""

from __future__ import annotations

from typing import Any

import pytest
from operator_views import NOW

from easel_operator.core.leadership import held, holder_of, judge, released


def lease(holder: str, seconds: int = 15) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3, "acquireTime": "then"}
    return {"metadata": {"resourceVersion": "7"}, "spec": spec}


@pytest.mark.parametrize(
    ("found", "unchanged", "verdict"),
    [
        (None, 0.0, "acquire"),
        (lease(""), 0.0, "acquire"),
        (lease("me"), 99.0, "renew"),
        (lease("other"), 14.9, "wait"),
        (lease("other"), 15.0, "acquire"),
        (lease("other", seconds=60), 15.0, "wait"),
    ],
)
def test_who_may_take_it(found: dict[str, Any] | None, unchanged: float, verdict: str) -> None:
    assert judge(found, "me", unchanged, 15) == verdict


def test_taking_it_counts_a_transition_and_renewing_does_not() -> None:
    taken = held(lease("other"), "me", 15, NOW)
    assert taken["metadata"]["resourceVersion"] == "7"
    assert taken["spec"]["leaseTransitions"] == 4
    assert taken["spec"]["acquireTime"] == "2026-01-02T03:04:05.000000Z"
    renewed = held(taken, "me", 15, NOW)
    assert renewed["spec"]["leaseTransitions"] == 4


def test_a_first_lease_has_no_version_and_no_transition() -> None:
    first = held(None, "me", 15, NOW)
    assert first["metadata"] == {}
    assert first["spec"]["leaseTransitions"] == 0


def test_a_released_lease_is_free_at_once() -> None:
    free = released(held(None, "me", 15, NOW), NOW)
    assert holder_of(free) == ""
    assert judge(free, "other", 0, 15) == "acquire"
