"""What becomes of Prometheus' answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.decision import Scaled
from easel_operator.core.resources import Key
from easel_operator.core.scaling.policy import LONGEST_GAP, Blind
from easel_operator.shell import measuring
from easel_operator.shell.demands import Demands

STUDIO = Key("ModelDeployment", "art", "studio")
SILENT = Blind("NoData", "the query gives nothing")


class Answers:
    """A Prometheus that says one thing after another, each at a moment of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *given: tuple[float, float | Blind]) -> None:
        self.given, self.now = list(given), 0.0
        monkeypatch.setattr(measuring, "POLL_SECONDS", 0.0)

    async def demand(self, query: str) -> float | Blind:
        self.now, answer = self.given.pop(0)
        return answer


async def judged(answers: Answers) -> list[Any]:
    """What is remembered behind each answer."""
    demands, found = Demands(PrometheusMetrics()), []
    demands.scaled(STUDIO, Scaled(1, 1, active=True, query="q"))
    done = asyncio.Event()

    def look(model: Key) -> None:
        found.append(demands.demand(model))
        if not answers.given:
            done.set()

    task = asyncio.create_task(measuring.Measuring(answers, demands, look, lambda: answers.now).run())
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


async def test_one_answer_that_is_missing_is_none_yet_and_several_are_blindness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gap = LONGEST_GAP.total_seconds()
    answers = Answers(monkeypatch, (1, 60.0), (16, SILENT), (31, 45.0), (31 + gap - 1, SILENT), (31 + gap, SILENT))
    assert await judged(answers) == [60.0, None, 45.0, None, SILENT]


async def test_before_the_first_scrape_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = LONGEST_GAP.total_seconds()
    assert await judged(Answers(monkeypatch, (5, SILENT), (4 + gap, SILENT), (6 + gap, SILENT))) == [None, None, SILENT]
