"""A bursty day in fake time: GPU-seconds and waits by policy. Figures in build/benchmarks/scaling.json, a plot beside them.

Each policy is run at several settings, and each baseline at its best one too: what it costs to keep people waiting as little as
ours does, and how long they wait at what ours costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from policies import Easel, Keda, Utilisation, backlog, items, waiting
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from world import Job, Outcome, Policy, bursty_day, live, percentile, steady_day

mpl.use("Agg")
import matplotlib.pyplot as plt

OUT = Path("build/benchmarks")
DAYS = 3

FAMILIES: dict[str, dict[float, Callable[[float], Policy]]] = {
    "Easel, engine Operator": {
        target: (lambda value: Easel(target=int(value))) for target in (15, 30, 60, 120, 300, 600)
    },
    "KEDA, items that wait or run": {
        count: (lambda value: Keda(value, items)) for count in (1, 2, 4, 8, 16, 32, 64, 128)
    },
    "KEDA, items that wait": {count: (lambda value: Keda(value, waiting)) for count in (1, 2, 4, 8, 16, 32, 64, 128)},
    "KEDA, GPU-seconds of backlog": {
        target: (lambda value: Keda(value, backlog)) for target in (8, 15, 30, 60, 120, 300, 600)
    },
    "KEDA, GPU-seconds, tuned window": {
        target: (lambda value: Keda(value, backlog, window=120)) for target in (8, 15, 30, 60, 120, 300, 600)
    },
    "HPA, busy share": {share: (lambda value: Utilisation(value)) for share in (0.3, 0.5, 0.65, 0.8, 0.9)},
}
DEFAULT = 60.0
DAYS_OF: dict[str, Callable[[int], list[Job]]] = {"bursty": bursty_day, "steady": steady_day}
STEADY = {family: 8 if "items" in family else 0.65 if "HPA" in family else DEFAULT for family in FAMILIES}
"""On the steady day each policy has one setting: of those that wait about alike on the bursty one."""


@dataclass(frozen=True)
class Row:
    """A policy at one setting, over all days."""

    day: str
    family: str
    setting: float
    gpu_hours: float
    overhead: float
    """GPU-seconds used to GPU-seconds of work."""
    median: float
    p95: float
    interactive_p50: float
    interactive_p95: float
    turns: float


def run(day: str, family: str, setting: float, days: int) -> Row:
    """One setting."""
    outcomes = [live(DAYS_OF[day](seed), FAMILIES[family][setting](setting)) for seed in range(days)]

    def mean(of: Callable[[Outcome], float]) -> float:
        return statistics.mean(map(of, outcomes))

    return Row(
        day,
        family,
        setting,
        mean(lambda day: day.gpu_seconds / 3600),
        mean(lambda day: day.gpu_seconds / day.work),
        mean(lambda day: percentile(day.waits, 0.5)),
        mean(lambda day: percentile(day.waits, 0.95)),
        mean(lambda day: percentile(day.interactive, 0.5)),
        mean(lambda day: percentile(day.interactive, 0.95)),
        mean(lambda day: day.changes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, help="days, each drawn anew (default: %(default)s)")
    days = parser.parse_args().days
    settings = [("bursty", family, setting) for family, choices in FAMILIES.items() for setting in choices]
    settings += [("steady", family, setting) for family, setting in STEADY.items()]
    rows: list[Row] = []
    with Progress() as progress, ProcessPoolExecutor(2) as pool:
        task = progress.add_task("days in fake time", total=len(settings))
        for future in [pool.submit(run, *setting, days) for setting in settings]:
            rows.append(future.result())
            progress.advance(task)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "scaling.json").write_text(json.dumps([row.__dict__ for row in rows], indent=1))
    bursty = [row for row in rows if row.day == "bursty"]
    draw(bursty, OUT / "scaling.png")
    console = Console(width=150)
    console.print(table("a bursty day", bursty))
    compare(bursty, console)
    console.print(table("a steady day", [row for row in rows if row.day == "steady"]))


def ours(rows: list[Row]) -> Row:
    return next(row for row in rows if row.family.startswith("Easel") and row.setting == DEFAULT)


def table(title: str, rows: list[Row]) -> Table:
    """Every setting."""
    made = Table(
        "policy", "setting", "GPU-hours", "per work", "wait p50", "p95", "interactive p50", "p95", "turns", title=title
    )
    for row in rows:
        made.add_row(
            row.family,
            f"{row.setting:g}",
            f"{row.gpu_hours:.1f}",
            f"{row.overhead:.2f}",
            *(f"{value:.0f} s" for value in (row.median, row.p95, row.interactive_p50, row.interactive_p95)),
            f"{row.turns:.0f}",
        )
    return made


def compare(rows: list[Row], console: Console) -> None:
    """Each baseline at its best against our default."""
    base = ours(rows)
    for family in FAMILIES:
        mine = [row for row in rows if row.family == family]
        as_fast = [row.gpu_hours for row in mine if row.interactive_p95 <= base.interactive_p95 * 1.02]
        as_cheap = [row.interactive_p95 for row in mine if row.gpu_hours <= base.gpu_hours * 1.02]
        console.print(
            f"{family}: for waits like ours at least {f'{min(as_fast):.1f} GPU-hours' if as_fast else 'no setting does'};"
            f" for our GPU-hours waits of {f'{min(as_cheap):.0f} s' if as_cheap else 'no setting does'}"
        )


def draw(rows: list[Row], path: Path) -> None:
    """GPU-hours against waits: lower left is better."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for family in FAMILIES:
        mine = [row for row in rows if row.family == family]
        axes.plot(
            [row.gpu_hours for row in mine],
            [row.interactive_p95 for row in mine],
            marker="o",
            label=family,
            linewidth=2.5 if family.startswith("Easel") else 1.2,
        )
    base = ours(rows)
    axes.annotate("default", (base.gpu_hours, base.interactive_p95), xytext=(8, 8), textcoords="offset points")
    axes.set_yscale("log")
    axes.set(xlabel="GPU-hours a day", ylabel="seconds that 95 % of interactive items wait less than")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
