"""What the operator costs, by the number of objects, beside a naive kopf operator in the same run.

The API server, etcd, the controllers and the scheduler are real, nodes and pods are KWOK's, and all of them share the machine
with what is measured.

Writes build/benchmarks/control_plane.json, and fails when a figure leaves the range that `contract.yaml` keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/cluster"))

from easel_cluster import processes  # noqa: E402 - found through the path set above
from load import Api, Name, apply_all, connected, until  # noqa: E402 - found through the path set above
from rich.console import Console  # noqa: E402 - found through the path set above
from rich.progress import Progress  # noqa: E402 - found through the path set above
from rich.table import Table  # noqa: E402 - found through the path set above
from world import Measured, World, world  # noqa: E402 - found through the path set above

OUT = ROOT / "build/benchmarks"
NAMESPACES = 10
MODELS_PER_SECOND = 10.0
PATIENCE = 900.0


@dataclass
class Figures:
    """Of one operator."""

    p50_ms: dict[str, float] = field(default_factory=dict)
    """From a job's apply to its batch Job, by the number of jobs that were there in the end."""
    p99_ms: dict[str, float] = field(default_factory=dict)
    cpu_ms_per_job: dict[str, float] = field(default_factory=dict)
    cpu_ms_per_model: float = 0.0
    writes_per_job: float = 0.0
    writes_per_model: float = 0.0
    memory_mb: float = 0.0
    restart_writes: int = 0
    restart_cpu_s: float = 0.0
    restart_memory_mb: float = 0.0
    writes: dict[str, int] = field(default_factory=dict)


def model(namespace: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": f"model-{number}", "namespace": namespace},
        "spec": {"model": {"source": "builtin://miniature"}},
    }


def job(namespace: str, number: int, models: int) -> dict[str, Any]:
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": f"job-{number}", "namespace": namespace},
        "spec": {
            "task": "text-to-image",
            "backends": [{"modelDeployment": f"model-{number % models}"}],
            "prompts": [{"text": "a red mug"}],
            "parameters": {"seeds": [1, 2]},
            "output": {"store": {"s3": {"bucket": "art", "endpoint": "http://s3.invalid"}}},
        },
    }


def spread(namespaces: list[str], first: int, last: int) -> Iterable[tuple[str, int]]:
    """Numbers from first to last, one namespace after the other."""
    return ((namespaces[number % len(namespaces)], number // len(namespaces)) for number in range(first, last))


@dataclass
class Run:
    """One operator through all its phases."""

    place: World
    api: Api
    program: Measured
    user: str
    namespaces: list[str]
    progress: Progress
    figures: Figures = field(default_factory=Figures)

    async def models(self, count: int) -> None:
        """As many models, until each serves."""
        cpu, before = self.program.cpu(), self.place.writes(self.user)
        each = count // len(self.namespaces)
        bodies = [model(namespace, number) for namespace in self.namespaces for number in range(each)]
        task = self.progress.add_task(f"{self.user}: models", total=count)
        await apply_all(self.api, "modeldeployments", bodies, MODELS_PER_SECOND, lambda: self.progress.advance(task))
        await until(lambda: self._count(self.api.running) >= count, PATIENCE, "every model has its pod")
        await self._quiet()
        self.figures.cpu_ms_per_model = 1000 * (self.program.cpu() - cpu) / count
        self.figures.writes_per_model = (self.place.writes(self.user) - before).total() / count

    async def jobs(self, first: int, last: int, models: int, per_second: float) -> None:
        """More jobs, until each is complete."""
        cpu, before = self.program.cpu(), self.place.writes(self.user)
        bodies = [
            job(namespace, number, models // len(self.namespaces))
            for namespace, number in spread(self.namespaces, first, last)
        ]
        task = self.progress.add_task(f"{self.user}: jobs to {last}", total=last - first)
        applied = await apply_all(self.api, "generationjobs", bodies, per_second, lambda: self.progress.advance(task))
        await until(lambda: self._count(self.api.complete) >= last, PATIENCE, f"{last} jobs are complete")
        await self._quiet()
        waits = sorted(max(0.0, self.api.made[key] - when) for key, when in applied.items())
        name, count = str(last), last - first
        self.figures.p50_ms[name] = 1000 * waits[len(waits) // 2]
        self.figures.p99_ms[name] = 1000 * waits[int(len(waits) * 0.99)]
        self.figures.cpu_ms_per_job[name] = 1000 * (self.program.cpu() - cpu) / count
        self.figures.writes_per_job = (self.place.writes(self.user) - before).total() / count

    async def restart(self) -> None:
        """The process anew, with everything there."""
        self.figures.memory_mb = self.program.memory()
        self.figures.writes = dict(self.place.writes(self.user).most_common())
        self.program.stop()
        before = self.place.writes(self.user)
        self.program.start()
        await asyncio.sleep(5)
        await self._quiet(10)
        self.figures.restart_writes = (self.place.writes(self.user) - before).total()
        self.figures.restart_cpu_s = self.program.cpu()
        self.figures.restart_memory_mb = self.program.memory()

    def _count(self, names: set[Name]) -> int:
        return sum(namespace in self.namespaces for namespace, _ in names)

    async def _quiet(self, seconds: float = 5.0) -> None:
        """Until it uses less than a tenth of a core for a while."""
        while True:
            cpu = self.program.cpu()
            await asyncio.sleep(seconds)
            if self.program.cpu() - cpu < 0.1 * seconds:
                return


def easel(place: World, namespaces: list[str], folder: Path) -> Measured:
    metrics, health = processes.free_ports(2)
    settings = {
        "namespaces": namespaces,
        "leaseNamespace": namespaces[0],
        "workerImage": "docker.io/easel/operator:dev",
        "runtimeProfiles": {"default": {"image": "docker.io/easel/runtime:dev"}},
        "runtimeHttpPort": place.runtime_port,
        "metricsPort": metrics,
        "healthPort": health,
    }
    path = folder / "easel.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Measured(("-m", "easel_operator", "--config", str(path)), place.user("easel"), folder / "easel.log")


def naive(place: World, namespaces: list[str], folder: Path) -> Measured:
    watched = [part for namespace in namespaces for part in ("--namespace", namespace)]
    return Measured(
        ("-m", "kopf", "run", "--standalone", *watched, str(HERE / "naive.py")),
        place.user("naive"),
        folder / "naive.log",
    )


async def measure(
    place: World, sizes: list[int], naive_sizes: list[int], per_second: float, progress: Progress
) -> dict[str, Figures]:
    """Both operators, one after the other, each in namespaces of its own."""
    found: dict[str, Figures] = {}
    async with connected(place.plane) as api:
        for user, make, steps in (("naive", naive, naive_sizes), ("easel", easel, sizes)):
            namespaces = [f"{user}-{number}" for number in range(NAMESPACES)]
            for namespace in namespaces:
                place.kubectl("create", "namespace", namespace)
                for account in ("easel-worker", "easel-runtime"):
                    place.kubectl("--namespace", namespace, "create", "serviceaccount", account)
            program = make(place, namespaces, place.plane.state.root).start()
            run = Run(place, api, program, user, namespaces, progress)
            try:
                models, *counts = steps
                await run.models(models)
                for first, last in zip([0, *counts], counts, strict=False):
                    await run.jobs(first, last, models, per_second)
                await run.restart()
            finally:
                program.stop()
            found[user] = run.figures
    return found


@dataclass(frozen=True)
class Verdict:
    """A figure beside what the contract says of it."""

    name: str
    value: float
    average: float
    spread: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        usual = abs(self.value - self.average) <= self.spread
        word = "holds" if self.holds and usual else "holds, unlike before" if self.holds else "[red]broken[/red]"
        was = f"before {self.average:g} ± {self.spread:g}"
        return f"{word}  {self.name} = {self.value:.1f}; {was}, limit {self.limit:g}"


def verdicts(found: dict[str, Figures], contract: dict[str, Any], sizes: list[int]) -> list[Verdict]:
    """Each figure of the contract."""
    ours, first, last = found["easel"], str(sizes[1]), str(sizes[-1])
    figures = {
        "apply_to_job_p50_ms": ours.p50_ms[last],
        "apply_to_job_p99_ms": ours.p99_ms[last],
        "cpu_ms_per_job": ours.cpu_ms_per_job[last],
        "cpu_ratio_last_to_first": ours.cpu_ms_per_job[last] / ours.cpu_ms_per_job[first],
        "writes_per_job": ours.writes_per_job,
        "writes_per_model": ours.writes_per_model,
        "memory_mb": ours.memory_mb,
        "restart_writes": float(ours.restart_writes),
        "restart_cpu_s": ours.restart_cpu_s,
        "restart_memory_mb": ours.restart_memory_mb,
    }
    return [Verdict(name, value, **contract[name]) for name, value in figures.items()]


def table(found: dict[str, Figures]) -> Table:
    shown = Table(title="control plane", header_style="bold")
    shown.add_column("figure")
    for user in found:
        shown.add_column(user, justify="right")
    rows = Counter[str]()
    flat: dict[str, dict[str, float]] = {}
    for user, figures in found.items():
        for name, value in asdict(figures).items():
            if name == "writes":
                continue
            for key, each in value.items() if isinstance(value, dict) else (("", value),):
                label = f"{name} ({key} jobs)" if key else name
                rows[label] += 1
                flat.setdefault(label, {})[user] = each
    for label in rows:
        shown.add_row(label, *(f"{flat[label][user]:.1f}" if user in flat[label] else "-" for user in found))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--naive-models", type=int, default=1000)
    parser.add_argument("--naive-jobs", type=int, nargs="+", default=[1000])
    parser.add_argument("--per-second", type=float, default=10.0, help="jobs applied per second")
    arguments = parser.parse_args()
    console, sizes = Console(width=120), [arguments.models, *arguments.jobs]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=console) as progress,
        world(Path(folder) / "state", console.log) as place,
    ):
        naive_sizes = [arguments.naive_models, *arguments.naive_jobs]
        found = asyncio.run(measure(place, sizes, naive_sizes, arguments.per_second, progress))
        OUT.mkdir(parents=True, exist_ok=True)
        for name in ("easel.log", "naive.log"):
            (OUT / f"control_plane_{name}").write_bytes((place.plane.state.root / name).read_bytes())
    (OUT / "control_plane.json").write_text(json.dumps({name: asdict(each) for name, each in found.items()}, indent=1))
    console.print(table(found))
    held = verdicts(found, yaml.safe_load((HERE / "contract.yaml").read_text()), sizes)
    for verdict in held:
        console.print(str(verdict))
    console.print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(verdict.holds for verdict in held) else 1


if __name__ == "__main__":
    sys.exit(main())
