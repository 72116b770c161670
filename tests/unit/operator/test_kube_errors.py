"""The API server's answers as errors of the tree, and the client-side rate limit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from easel_operator.adapters.kube.errors import error_of
from easel_operator.adapters.kube.throttle import TokenBucket

CONFLICT = {"message": "conflict with x", "details": {"causes": [{"reason": "FieldManagerConflict"}]}}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {}, "AuthConfig"),
        (403, {"message": 'jobs.batch is forbidden: User "x" cannot patch'}, "AuthConfig"),
        (403, {"message": "exceeded quota: none, requested: count/jobs.batch=1"}, "QuotaExhausted"),
        (404, {}, "NotFound"),
        (409, CONFLICT, "NameTaken"),
        (409, {"message": "the object has been modified"}, "Changed"),
        (422, {"message": "spec.x: Invalid value"}, "InvalidInput"),
        (429, {}, "Throttled"),
        (500, {}, "Transient"),
        (504, {}, "Transient"),
    ],
)
def test_answers_are_typed(status: int, body: dict[str, Any], reason: str) -> None:
    error = error_of(status, json.dumps(body).encode(), "/apis/x")
    assert error.reason == reason
    assert error.retryable == (reason in {"Changed", "Throttled", "Transient"})


def test_an_answer_that_is_no_json_is_an_error_too() -> None:
    assert error_of(502, b"<html>", "/apis/x").reason == "Transient"


async def test_the_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    bucket, loop = TokenBucket(100), asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(bucket.take() for _ in range(200)))
    assert loop.time() - started < 0.9, "the rate alone would take a second for the second hundred"
    await asyncio.gather(*(bucket.take() for _ in range(20)))
    assert loop.time() - started >= 0.1
