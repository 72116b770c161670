"""What was measured, as a table for people, JSON for machines, and a plot."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine(threads: int, device: str, dtype: str) -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else model,
        "dtype": dtype,
        "threads": threads,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


class Report:
    """Figures by section; each is printed as it comes."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.figures: dict[str, Any] = {"machine": about}
        print(
            f"{about['processor']}, {about['dtype']}, {about['threads']} torch threads, {about['versions']}", flush=True
        )

    def section(self, title: str) -> None:
        """A heading."""
        print(f"\n{title}", flush=True)

    def row(self, section: str, name: str, **values: float | str) -> None:
        """One line of figures; numbers to three digits."""
        self.figures.setdefault(section, {})[name] = values
        shown = "  ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
        print(f"  {name:28} {shown}", flush=True)

    def target(self, name: str, value: float, limit: float, *, at_most: bool = False) -> None:
        """A figure that the project has set itself."""
        met = value <= limit if at_most else value >= limit
        self.row(
            "targets", name, ratio=float(value), aim=f"{'at most' if at_most else 'at least'} {limit}", met=str(met)
        )

    def save(self, folder: Path) -> None:
        """`engine.json` and `engine.png`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "engine.json").write_text(json.dumps(self.figures, indent=2, allow_nan=False) + "\n")
        _plot(self.figures, folder / "engine.png")


def _plot(figures: dict[str, Any], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for system, color in (("stock", "0.6"), ("tuned", "0.3"), ("static", "tab:orange"), ("easel", "tab:blue")):
        loop = figures.get("closed loop", {})
        points = [
            (float(name.split()[1]), row["per_second"]) for name, row in loop.items() if name.split()[0] == system
        ]
        if points:
            left.plot(*zip(*sorted(points), strict=True), marker="o", color=color, label=system)
        arrivals = figures.get("poisson", {})
        points = [(float(name.split()[1]), row["worst"]) for name, row in arrivals.items() if name.split()[0] == system]
        if points:
            right.plot(*zip(*sorted(points), strict=True), marker="o", color=color, label=system)
    left.set(
        xlabel="clients, each waiting for its picture",
        ylabel="pictures per second",
        xscale="log",
        xticks=[1, 2, 4, 8, 16],
    )
    left.set_xticklabels(["1", "2", "4", "8", "16"])
    left.set_ylim(bottom=0)
    right.set(xlabel="arrivals, as a share of the tuned script's capacity", ylabel="worst latency in s")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        if axes.lines:  # a section may have been left out
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(figures["machine"]["processor"], fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
