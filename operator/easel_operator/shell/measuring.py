"""Asks Prometheus for the demand of every model that depends on it, beside the reconciles, which must not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from easel_operator.core.resources import Key
from easel_operator.core.scaling.policy import LONGEST_GAP, POLL_SECONDS, Blind
from easel_operator.ports.prometheus import Prometheus

from .demands import Demands

AT_ONCE = 8
"""Queries that run together."""


class Measuring:
    """Asks, remembers the answers and has each model reconciled with its own."""

    def __init__(
        self,
        prometheus: Prometheus,
        demands: Demands,
        reconcile: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prometheus, self._demands, self._reconcile, self._clock = prometheus, demands, reconcile, clock
        self._good: dict[str, float] = {}
        self._asked = asyncio.Event()

    def ask_soon(self) -> None:
        """There is a query that was not asked yet."""
        self._asked.set()

    async def run(self) -> None:
        """Ask every `POLL_SECONDS`, and at once when there is something new."""
        while True:
            queries = self._demands.queries()
            self._good = {query: moment for query, moment in self._good.items() if query in queries.values()}
            await self._ask_all(sorted(set(queries.values())))
            for model in queries:
                self._reconcile(model)
            try:
                await asyncio.wait_for(self._asked.wait(), POLL_SECONDS)
            except TimeoutError:
                continue
            self._asked.clear()

    async def _ask_all(self, queries: list[str]) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def ask(query: str) -> None:
            async with turn:
                self._demands.answered(query, self._judged(query, await self._prometheus.demand(query)))

        async with asyncio.TaskGroup() as tasks:
            for query in queries:
                tasks.create_task(ask(query))

    def _judged(self, query: str, answer: float | Blind) -> float | Blind | None:
        """One answer that is missing is no answer yet, as before the first scrape; several are a reason to say so."""
        now = self._clock()
        if not isinstance(answer, Blind):
            self._good[query] = now
            return answer
        return None if now - self._good.setdefault(query, now) < LONGEST_GAP.total_seconds() else answer
