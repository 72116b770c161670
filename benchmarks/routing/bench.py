"""Decisions in a second with 200 offers, on one core: one is made for each item, so that it must cost next to nothing.

    .venv/bin/python benchmarks/routing/bench.py

Prints a table and writes build/benchmarks/routing.json; fails below 5,000 decisions in a second.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from easel_api.offers import Offer
from easel_api.tasks import Task
from easel_inference.routing.breaker import Breaker
from easel_inference.routing.decision import Fallback, Now, decide
from easel_inference.routing.plan import Allowed, Backend, Policy, plan
from easel_inference.routing.request import Request

OUT = Path("build/benchmarks/routing.json")
OFFERS, AIM, SECONDS = 200, 5000, 2.0
TODAY = date(2026, 11, 28)


def backends() -> list[Backend]:
    """One in four rests, one in eight cannot do the task."""
    found = [Backend(name="studio", own=True)]
    for number in range(OFFERS):
        body = {
            "model": f"model-{number}",
            "tasks": ["upscale" if number % 8 == 7 else "text-to-image"],
            "prices": [{"amount": f"0.{number + 1:04}", "per": "Image"}],
            "source": "bench",
            "checkedAt": "2026-11-28",
        }
        found.append(Backend(name=f"provider-{number}", offer=Offer.model_validate(body)))
    return found


def per_second(policy: Policy, *, worst: bool) -> float:
    """How many decisions; `worst`: all but the last candidate rest, so that each is looked at and has its reason written."""
    made = plan(Request(Task.TEXT_TO_IMAGE), backends(), policy, TODAY, Allowed())
    rest = Breaker(open_until=1e9, rests=1, reason="Transient")
    last = made.candidates[-1].name
    known = {
        candidate.name: Now(
            run_seconds=1.0 + number % 7,
            wait_seconds=99.0,
            breaker=rest if (worst and candidate.name != last) or number % 4 == 3 else Breaker(),
        )
        for number, candidate in enumerate(made.candidates)
    }
    fallback, left = Fallback(queue_wait_seconds=30), Decimal(5)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        now = time.perf_counter() - began
        for _ in range(100):
            decide(made, known, fallback, now=now, budget_left=left)
        count += 100
    return count / (time.perf_counter() - began)


def main() -> int:
    found = {
        f"{policy.value}, {'all but one rest' if worst else 'one in four rests'}": per_second(policy, worst=worst)
        for policy in Policy
        for worst in (False, True)
    }
    began = time.perf_counter()
    plan(Request(Task.TEXT_TO_IMAGE), backends(), Policy.CHEAPEST, TODAY, Allowed())
    planned = time.perf_counter() - began
    table = Table(title=f"routing, {OFFERS} offers, one core", header_style="bold")
    table.add_column("policy")
    table.add_column("decisions in a second", justify="right")
    for name, value in found.items():
        table.add_row(name, f"{value:,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"a plan, made once for a job's equal items: {planned * 1000:.1f} ms with reading the offers; aim {AIM:,} decisions"
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"decisions_per_second": found, "plan_seconds": planned}, indent=1))
    return 0 if min(found.values()) >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
