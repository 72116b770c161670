"""The engine against the stock pipeline, a tuned script and static batching, all in one run on one machine.

    python benchmarks/engine/bench.py [--quick] [--dtype bfloat16] [--threads 2] [--device cuda --model FOLDER --size 1024]

All sides draw the same pictures in the same number format with the same number of torch threads. Systems take turns within
each round. The last line is the ratio at 16 clients: pictures per second of the engine to those of the stock pipeline,
one at a time. Raw figures and the plot go to build/benchmarks/engine.json and engine.png.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "benchmarks"
MINIATURE = ROOT / "inference/easel_inference/miniature/weights/base"
CLIENTS = (1, 2, 4, 8, 16)
SHARES = (0.5, 0.8, 1.1)
COLD = """
import sys, time
started = time.perf_counter()
from pathlib import Path
from easel_api.modeldeployment import ModelDeploymentSpec
sys.path.insert(0, sys.argv[1])
from systems import Easel
from workloads import Work
spec = ModelDeploymentSpec.model_validate_json(sys.argv[2])
easel = Easel(spec, int(sys.argv[3]))
ready = time.perf_counter() - started
easel.make(Work("a red mug on a beach", 1, int(sys.argv[4]), int(sys.argv[4])))
print(ready, time.perf_counter() - started)
easel.close()
"""
PEAK = """
import re, sys
from pathlib import Path
import torch
from easel_api.modeldeployment import ModelDeploymentSpec
sys.path.insert(0, sys.argv[1])
from systems import Easel, Stock, pipeline
from workloads import closed_loop, works
name, folder, dtype, device, spec, threads, size, clients = sys.argv[2:]
torch.set_num_threads(int(threads))
peak = lambda: re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
if name == "stock":
    system = Stock(pipeline(Path(folder), getattr(torch, dtype), device))
else:
    system = Easel(ModelDeploymentSpec.model_validate_json(spec), int(threads))
print(peak())
closed_loop(system, int(clients), works(int(clients), [(int(size), int(size))]))
print(peak())
system.close()
"""


def main() -> None:
    """Measure everything; the ratio at 16 clients is the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few requests of everything: does it work?")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32", "float16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", type=Path, default=MINIATURE, help="a stock diffusers folder")
    parser.add_argument("--family", default="StableDiffusion")
    parser.add_argument("--size", type=int, default=128, help="pixels on a side of the larger shape")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="of the closed loop; 1 is always there")
    parser.add_argument("--only", nargs="*", help="sections to run")
    args = parser.parse_args()
    args.clients = sorted({1, *args.clients})
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch starts its pools
    sys.path.insert(0, str(ROOT / "tests" / "inference"))
    import torch

    torch.set_num_threads(args.threads)
    from report import Report, machine

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: the figures of this table are owed")
    bench = Bench(args, Report(machine(args.threads, args.device, args.dtype)))
    sections = {
        "closed": bench.closed, "alone": bench.alone, "poisson": bench.arrivals, "mixed": bench.mixed, "clip": bench.behind_a_clip,
        "moments": bench.moments, "overhead": bench.overhead, "flops": bench.flops, "quality": bench.quality,
        "cold": bench.cold, "memory": bench.memory,
    }  # fmt: skip
    for name, section in sections.items():
        if not args.only or name in args.only or name in ("closed", "alone"):
            section()
    bench.report.save(RESULTS)
    bench.close()
    print(f"\nratio at {args.clients[-1]} concurrent: {bench.ratio:.2f}")


class Bench:
    """The systems, and one method for each section."""

    def __init__(self, args: argparse.Namespace, report: Any) -> None:
        import torch
        from systems import Easel, Static, Stock, Tuned, pipeline, twin
        from workloads import System

        self.args, self.report = args, report
        self.size = args.size
        self.pipeline = pipeline(args.model, getattr(torch, args.dtype), args.device)
        self.easel = Easel(self.spec(), args.threads)
        # The first two never draw at one moment, so they share a pipeline.
        systems: list[System] = [Stock(self.pipeline), Static(self.pipeline), self.easel]
        self.systems = {each.name: each for each in systems}
        if not args.quick:
            self.systems["tuned"] = Tuned(twin(self.pipeline))
        self.lone = self.lone_stock = self.capacity = self.ratio = 0.0
        self.asked = 0
        for system in self.systems.values():
            self.closed_loop(system, 1, self.works(1))

    def spec(self, **engine: Any) -> Any:
        """The deployment that the engine serves; the miniature comes with its motion adapter."""
        from easel_api.modeldeployment import ModelDeploymentSpec

        args = self.args
        built_in = args.model == MINIATURE
        source = "builtin://miniature" if built_in else f"file://{args.model.resolve()}"
        motion = [{"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}] if built_in else []
        return ModelDeploymentSpec.model_validate(
            {
                "model": {"source": source} | ({} if built_in else {"family": args.family}),
                "adapters": motion,
                "engine": {"dtype": args.dtype, "shapes": [{"width": args.size, "height": args.size}]} | engine,
                "resources": {"gpus": int(args.device == "cuda")},
            }
        )

    def close(self) -> None:
        """End all threads."""
        for system in self.systems.values():
            system.close()

    def works(self, count: int, *sizes: tuple[int, int]) -> Any:
        """Pictures that this run has not asked for yet, of the usual size or of these in turn."""
        from workloads import works

        self.asked += count
        return works(count, sizes or [(self.size, self.size)], self.asked - count)

    def closed_loop(self, system: Any, clients: int, works: Any) -> Any:
        """So many clients until these pictures are made."""
        from workloads import closed_loop

        return closed_loop(system, clients, works)

    def closed(self) -> None:
        """Throughput and latency at each number of clients, in rounds of all systems."""
        self.report.section("Closed loop: clients that each wait for their picture")
        rounds, found = (1 if self.args.quick else 2), dict[tuple[str, int], list[Any]]()
        for _ in range(rounds):
            for clients in self.args.clients:
                works = self.works(max(4, 2 * clients))
                for name, system in self.systems.items():
                    # One at a time is as fast whoever waits, so the slow sides need no more for a steady figure.
                    count = max(4, clients) if name in ("stock", "tuned") else len(works)
                    found.setdefault((name, clients), []).append(self.closed_loop(system, clients, works[:count]))
        rates = {}
        for (name, clients), outcomes in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
            rate = rates[name, clients] = statistics.median(outcome.throughput for outcome in outcomes)
            # Where each client asks but once, the first finds nobody before it: that is no latency at so many clients.
            steady = len(outcomes[0].latencies) >= 2 * clients
            latencies = {
                f"p{percent}": statistics.median(outcome.percentile(percent / 100) for outcome in outcomes)
                for percent in ((50, 95) if steady else ())
            }
            self.report.row("closed loop", f"{name} {clients}", per_second=rate, **latencies)
        for clients in self.args.clients:
            ratios = {
                f"to_{name}": rates["easel", clients] / rates[name, clients] for name in self.systems if name != "easel"
            }
            self.report.row("ratios", f"easel {clients}", **ratios)
        self.ratio = rates["easel", self.args.clients[-1]] / rates["stock", self.args.clients[-1]]
        # The stock side has one thread, so its rate cannot depend on the clients: what it does is the machine's unrest.
        by_clients = [rates["stock", clients] for clients in self.args.clients]
        self.report.row(
            "ratios", "stock's own spread", slowest=min(by_clients), fastest=max(by_clients),
            ratio_to_fastest=rates["easel", self.args.clients[-1]] / max(by_clients),
        )  # fmt: skip
        self.capacity = rates.get(("tuned", 1), rates["stock", 1])
        if self.args.clients[-1] == CLIENTS[-1]:
            self.report.target("at 16 clients to stock", self.ratio, 2.0)

    def alone(self) -> None:
        """Lone requests in pairs: the same picture by both, one right after the other, each first in turn."""
        self.report.section("A lone request, in pairs")
        works, sides = self.works(2 if self.args.quick else 16), ("stock", "easel")
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for number, work in enumerate(works):
            for side in sides if number % 2 else reversed(sides):
                seconds[side].extend(self.closed_loop(self.systems[side], 1, [work]).latencies)
        self.lone, self.lone_stock = (statistics.median(seconds[side]) for side in ("easel", "stock"))
        ratios = [easel / stock for easel, stock in zip(seconds["easel"], seconds["stock"], strict=True)]
        quarters = statistics.quantiles(ratios)
        self.report.row(
            "ratios", "a lone request", stock=self.lone_stock, easel=self.lone, quarter=quarters[0], three_quarters=quarters[2]
        )  # fmt: skip
        self.report.target("lone request to stock", statistics.median(ratios), 1.05, at_most=True)

    def arrivals(self) -> None:
        """Poisson arrivals at shares of the tuned script's capacity."""
        from workloads import poisson

        self.report.section("Poisson arrivals, as a share of the tuned script's capacity")
        count = 4 if self.args.quick else 12
        for share in SHARES:
            works = self.works(count)
            for name, system in self.systems.items():
                if name == "stock" and "tuned" in self.systems:
                    continue
                outcome = poisson(system, share * self.capacity, works, seed=int(share * 10))
                # Of so few arrivals a 95th or 99th percentile is but the worst one, so that is what it is called.
                self.report.row(
                    "poisson", f"{name} {share}", p50=outcome.percentile(0.5), worst=max(outcome.latencies),
                    within_3x_lone=outcome.within(3 * self.lone),
                )  # fmt: skip

    def mixed(self) -> None:
        """Two shapes, four to one, from eight clients."""
        from workloads import closed_loop

        self.report.section("Mixed: four of five of one shape, eight clients")
        other = (self.size * 3 // 2, self.size)
        shapes = [(self.size, self.size)] * 4 + [other]
        rates, works = {}, self.works(5 if self.args.quick else 20, *shapes)
        for name in ("stock", "static", "easel"):
            outcome = closed_loop(self.systems[name], 8, works)
            rates[name] = outcome.throughput
            self.report.row(
                "mixed", name, per_second=outcome.throughput, p50=outcome.percentile(0.5), p95=outcome.percentile(0.95)
            )
        self.report.row(
            "mixed", "ratio", to_stock=rates["easel"] / rates["stock"], to_static=rates["easel"] / rates["static"]
        )

    def behind_a_clip(self) -> None:
        """Ten short requests, one after another, while a long clip is made; and ten at once."""
        import torch
        from diffusers import AnimateDiffPipeline, MotionAdapter
        from systems import Stock, asked
        from workloads import Work, closed_loop

        from easel_api.tasks import Task
        from easel_inference.generation import Finished, Inputs

        if self.args.model != MINIATURE:
            return
        self.report.section("Short requests behind a long clip")
        steps = 30 if self.args.quick else 160
        clip = Work("a red ball in a studio, sliding left", 1, self.size, self.size, steps=steps)
        for name, clients in (("one after another", 1), ("ten at once", 10)):
            stepped, ended, last = threading.Event(), threading.Event(), list[Any]()

            def emit(
                message: Any,
                stepped: threading.Event = stepped,
                ended: threading.Event = ended,
                last: list[Any] = last,
            ) -> None:
                if message.is_last:
                    last.append(message.event)
                    ended.set()
                if message.event.kind == "step" or message.is_last:
                    stepped.set()

            self.easel.engine.submit(asked(clip, Task.TEXT_TO_VIDEO, frames=8), Inputs(), emit)
            stepped.wait()  # the clip is being denoised, so the shorts are truly behind it
            outcome = closed_loop(self.easel, clients, self.works(10))
            behind = not ended.is_set()
            ended.wait()
            assert isinstance(last[0], Finished), last[0]
            worst = max(outcome.latencies) / self.lone
            mean = statistics.mean(outcome.latencies) / self.lone
            self.report.row("clip", name, worst=worst, mean=mean, clip_outlasted_them=str(behind))
            if clients == 1:
                self.report.target("short behind a clip, worst to lone", worst, 3.0, at_most=True)
        dtype = getattr(torch, self.args.dtype)
        motion = MotionAdapter.from_pretrained(MINIATURE.parent / "motion", torch_dtype=dtype)
        video = AnimateDiffPipeline.from_pretrained(MINIATURE, motion_adapter=motion, torch_dtype=dtype)
        video.set_progress_bar_config(disable=True)
        stock = self.systems["stock"]
        assert isinstance(stock, Stock)
        held = stock.occupy(lambda: video(clip.prompt, num_frames=8, **clip.arguments()))
        outcome = closed_loop(stock, 1, self.works(10))
        held.result()
        # Behind a lock the first one waits for the whole clip, so none of the others is behind it.
        self.report.row("clip", "stock, one after another", worst=max(outcome.latencies) / self.lone_stock, mean=statistics.mean(outcome.latencies) / self.lone_stock)  # fmt: skip

    def moments(self) -> None:
        """First step, first preview, cancellation, memory."""
        from systems import asked

        from easel_inference.generation import Failed, Inputs, PreviewOptions

        self.report.section("Moments of a lone request")
        work = self.works(1)[0]
        heard = self.easel.make(work, previews=PreviewOptions(every_steps=5, size=64))
        first = {
            kind: next(at for at, message in heard if message.event.kind == kind)
            for kind in ("step", "preview", "result")
        }
        self.report.row("moments", "seconds until", **{f"first_{kind}": at for kind, at in first.items()})
        ended, stepped, messages = threading.Event(), threading.Event(), list[Any]()

        def emit(message: Any) -> None:
            messages.append(message)
            if message.event.kind == "step" and message.event.step == 5:
                stepped.set()
            if message.is_last:
                ended.set()

        handle = self.easel.engine.submit(asked(work, previews=None), Inputs(), emit)
        stepped.wait()
        time.sleep(self.lone / work.steps / 2)  # amid the next pass: between two, it would end at once
        started = time.perf_counter()
        handle.cancel()
        ended.wait()
        answered = time.perf_counter() - started
        assert isinstance(messages[-1].event, Failed)
        while self.easel.engine.counts.running:
            time.sleep(0.0005)
        self.report.row("moments", "cancelled", answered=answered, denoiser_free=time.perf_counter() - started)
        memory = self.easel.engine.info
        self.report.row("moments", "memory in MiB", held=memory.weights_memory / 2**20, **{f"peak_{shape}": peak / 2**20 for shape, peak in memory.peak_memory.items()})  # fmt: skip

    def overhead(self) -> None:
        """What Triton, gRPC and threads add to the engine: lone requests in turn, and at 16 clients."""
        from systems import Triton
        from workloads import closed_loop

        from easel_inference.serving.local import start_local

        clients = self.args.clients[-1]
        self.report.section("Triton, gRPC and threads")
        environment = {"EASEL_THREADS": str(self.args.threads), "OMP_NUM_THREADS": str(self.args.threads)}
        with (
            tempfile.TemporaryDirectory() as folder,
            start_local(self.spec(), Path(folder), environment=environment) as server,
        ):
            served = Triton(server.endpoint)
            closed_loop(served, 1, self.works(1))
            lone: dict[str, list[float]] = {"engine": [], "triton": []}
            for _ in range(2 if self.args.quick else 8):
                works = self.works(1)
                for name, system in (("engine", self.easel), ("triton", served)):
                    lone[name] += closed_loop(system, 1, works).latencies
            direct, through = (statistics.median(lone[name]) for name in ("engine", "triton"))
            self.report.row("overhead", "lone", engine=direct, triton=through, percent=100 * (through / direct - 1))
            rates: dict[str, list[float]] = {"engine": [], "triton": []}
            for _ in range(1 if self.args.quick else 2):
                works = self.works(2 * clients)
                for name, system in (("engine", self.easel), ("triton", served)):
                    rates[name].append(closed_loop(system, clients, works).throughput)
            engine, triton = (statistics.median(rates[name]) for name in ("engine", "triton"))
            percent = 100 * (engine / triton - 1)
            self.report.row("overhead", f"{clients} clients", engine=engine, triton=triton, percent=percent)

    def flops(self) -> None:
        """Share of this machine's own peak, measured by a product of large matrices in the same format."""
        import torch
        from systems import asked, denoiser_of
        from torch.utils.flop_counter import FlopCounterMode

        from easel_inference.engine.diffusion import watched
        from easel_inference.engine.participant import Participant
        from easel_inference.engine.rows import joined
        from easel_inference.generation import Inputs

        self.report.section("Share of peak FLOP/s of the engine's own passes")
        dtype, device = getattr(torch, self.args.dtype), self.args.device
        size = 2048 if device == "cpu" else 8192
        one, other = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
        peak = 2 * size**3 / _seconds(lambda: one @ other, device)
        work = dataclasses.replace(self.works(1)[0], steps=1)
        # Counted on the stock pipeline: a captured graph tells nobody what it computes.
        with FlopCounterMode(display=False) as counter:
            self.pipeline(work.prompt, **work.arguments())
        flop = sum(counter.get_flop_counts()[type(denoiser_of(self.pipeline)).__name__].values())
        model: Any = self.easel.engine._model
        with watched(model._batcher) as jobs:
            model.draw(model.plan(asked(work), Inputs()), Participant(), lambda *_: None, lambda *_: None)
        for requests in (1, self.args.clients[-1]):
            with torch.inference_mode():
                parts = joined([jobs[0].parts] * requests)
                seconds = _seconds(lambda parts=parts: jobs[0].run(*parts), device)
            share = requests * flop / seconds / peak
            self.report.row("flops", f"{requests} joined", gflop=requests * flop / 1e9, share_of_peak=share)

    def quality(self) -> None:
        """What the step plans save and lose, against Exact."""
        import io

        import numpy as np
        from PIL import Image

        from easel_api.tasks import Quality
        from easel_inference.miniature.judge import Agreement, asked, load_judge, pictures_of

        if self.args.model != MINIATURE:
            return
        self.report.section("Step plans, against Exact")
        plans = [Quality.EXACT, Quality.STANDARD, Quality.DRAFT]
        judge, works = load_judge(), self.works(4 if self.args.quick else 16)
        drawn: dict[Quality, list[Any]] = {quality: [] for quality in plans}
        seconds = dict.fromkeys(plans, 0.0)
        for turn, work in enumerate(works):
            # In turn, and each first as often as the others: the first of a work encodes its prompt for all.
            for quality in plans[turn % 3 :] + plans[: turn % 3]:
                started = time.perf_counter()
                payload = self.easel.make(work, quality=quality)[-1][1].payload
                seconds[quality] += time.perf_counter() - started
                drawn[quality].append(Image.open(io.BytesIO(payload)).convert("RGB"))
        for quality, pictures in drawn.items():
            agreement = Agreement(tuple(asked(work.prompt) for work in works), tuple(judge.read(pictures_of(pictures))))
            errors = [
                np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2)
                for one, other in zip(pictures, drawn[Quality.EXACT], strict=True)
            ]
            # Exact against itself has no error, and JSON has no infinity.
            decibels: float | str = "same" if quality is Quality.EXACT else float(np.mean([10 * np.log10(255**2 / error) for error in errors]))  # fmt: skip
            self.report.row(
                "quality", str(quality), speed=seconds[Quality.EXACT] / seconds[quality], psnr=decibels,
                product=agreement.share("product"), colour=agreement.share("colour"),
                environment=agreement.share("environment"), view=agreement.share("view"),
            )  # fmt: skip

    def cold(self) -> None:
        """A new process until it is ready and until its first picture; the first time without the files in memory."""
        self.report.section("Cold start of a new process")
        for name in ("files on disk", "files in memory"):
            if name == "files on disk":
                _forget_files(self.args.model)
            command = [
                sys.executable,
                "-c",
                COLD,
                str(Path(__file__).parent),
                self.spec().model_dump_json(by_alias=True),
            ]
            done = subprocess.run(
                [*command, str(self.args.threads), str(self.size)], check=True, capture_output=True, text=True
            )
            ready, first = map(float, done.stdout.split()[-2:])
            self.report.row("cold start", name, ready=ready, first_picture=first)

    def memory(self) -> None:
        """Most resident memory of a new process, loaded and after 16 clients.

        Linux's VmHWM, in KiB: `ru_maxrss` would begin with the most that this process, its parent, has held.
        """
        self.report.section("Peak resident memory of a new process, in MiB")
        for name in ("stock", "easel"):
            spec = self.spec().model_dump_json(by_alias=True)
            arguments = [name, self.args.model, self.args.dtype, self.args.device, spec, self.args.threads, self.size, self.args.clients[-1]]  # fmt: skip
            command = [sys.executable, "-c", PEAK, str(Path(__file__).parent), *map(str, arguments)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            loaded, busy = (int(line) / 1024 for line in done.stdout.split()[-2:])
            self.report.row("memory", name, loaded=loaded, **{f"clients_{self.args.clients[-1]}": busy})


def _seconds(action: Any, device: str) -> float:
    """The best of seven."""
    import torch

    times = []
    for _ in range(7):
        started = time.perf_counter()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def _forget_files(folder: Path) -> None:
    """Drop the model's files from the page cache."""
    for file in _files(folder):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
