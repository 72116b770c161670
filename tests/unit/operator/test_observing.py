"""How often the API server is asked for events, which is dear: it reads all of a namespace for each answer."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from operator_views import NOW

from easel_api.errors import Transient
from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.configuration import Admission
from easel_operator.shell.cache import Cache
from easel_operator.shell.demands import Demands
from easel_operator.shell.observing import Observer

STUCK = [{"reason": "FailedMount", "message": "no such Secret"}]


class Asked:
    """A cluster that counts the questions; it fails when it has no answer."""

    def __init__(self) -> None:
        self.times = 0
        self.answers: dict[str, list[dict[str, Any]]] = {"stuck": STUCK, "slow": []}

    async def events_of(self, _: str, uid: str) -> list[dict[str, Any]]:
        self.times += 1
        if uid not in self.answers:
            raise Transient("away")
        return self.answers[uid]


def test_events_are_asked_for_now_and_then_and_the_last_word_counts_between() -> None:
    cluster = Asked()
    queue = AdmissionQueue(Admission())
    observer = Observer(Cache(), Demands(PrometheusMetrics()), queue, None, cluster, lambda _: ())  # type: ignore[arg-type]  # no more is used

    def told(uid: str, now: datetime) -> list[dict[str, Any]]:
        return asyncio.run(observer._events("art", uid, now))

    assert all(told("stuck", NOW) == STUCK for _ in range(30))
    assert cluster.times == 20
    assert told("slow", NOW + timedelta(seconds=0.2)) == []
    assert cluster.times == 20
    assert told("slow", NOW + timedelta(seconds=0.3)) == []
    assert cluster.times == 21
    assert told("stuck", NOW - timedelta(days=1)) == STUCK
    assert told("stuck", NOW - timedelta(days=1) + timedelta(seconds=1)) == STUCK, (
        "a clock that jumps back stops nothing"
    )
    assert cluster.times == 22
    del cluster.answers["stuck"]
    assert told("stuck", NOW + timedelta(seconds=9)) == STUCK, "without an answer the last one counts"
    cluster.answers["stuck"] = []
    assert told("stuck", NOW + timedelta(seconds=19)) == []
    assert told("stuck", NOW + timedelta(seconds=19)) == [], "what is over is forgotten"
