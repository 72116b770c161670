"""Time from the start of `easel run` to its first stored picture, against a plain diffusers script doing the same.

Both sides start from nothing (a new process, weights on disk, files in the page cache), use the built-in model, the same prompt, seed,
20 steps and guidance 4 on the CPU. `easel run` has a Triton server to start as well; the ratio says what that costs. Rounds alternate, so
that a machine whose speed drifts treats both sides alike.

    python benchmarks/run_first_picture/bench.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "benchmarks"
PROMPT = "a red mug on a beach, front view"
DEADLINE_SECONDS = 300

JOB = f"""
apiVersion: easel.dev/v1alpha1
kind: ModelDeployment
metadata: {{name: mini}}
spec: {{model: {{source: "builtin://miniature"}}}}
---
apiVersion: easel.dev/v1alpha1
kind: GenerationJob
metadata: {{name: first}}
spec:
  task: text-to-image
  backends: [{{modelDeployment: mini}}]
  prompts: [{{text: "{PROMPT}"}}]
  parameters: {{steps: 20, guidanceScale: 4, seeds: [1]}}
"""

SCRIPT = f"""
import sys, torch
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1], safety_checker=None)
pipeline("{PROMPT}", num_inference_steps=20, guidance_scale=4.0,
         generator=torch.Generator().manual_seed(1)).images[0].save(sys.argv[2])
"""


def first_file(folder: Path, command: list[str]) -> float:
    """Seconds from the start of `command` until a whole PNG lies below `folder`; the command is awaited afterwards."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder) as process:
        while not any(folder.rglob("*.png")):
            if process.poll() not in (None, 0) or time.perf_counter() - started > DEADLINE_SECONDS:
                process.kill()
                error = process.stderr.read().decode() if process.stderr else ""
                sys.exit(f"no picture from {command[0]}: {error[-500:]}")
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        process.communicate()
    return seconds


def easel_run() -> float:
    """One cold `easel run`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.yaml").write_text(JOB)
        return first_file(folder, [str(Path(sys.executable).parent / "easel"), "run", "job.yaml", "--out", "out"])


def plain_script() -> float:
    """One cold run of a plain diffusers script."""
    weights = ROOT / "inference/easel_inference/miniature/weights/base"
    with tempfile.TemporaryDirectory() as name:
        return first_file(Path(name), [sys.executable, "-c", SCRIPT, str(weights), "picture.png"])


def main() -> None:
    """Run both sides in turn, print the ratio, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    plain_script(), easel_run()  # bring files into the page cache
    pairs = []
    for number in range(rounds):
        pairs.append((easel_run(), plain_script()))
        print(
            f"round {number + 1}/{rounds}: easel run {pairs[-1][0]:.2f} s, plain script {pairs[-1][1]:.2f} s",
            flush=True,
        )
    ratios = [ours / plain for ours, plain in pairs]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "run_first_picture.json").write_text(
        json.dumps(
            {
                "easel_run_seconds": [round(ours, 3) for ours, _ in pairs],
                "plain_script_seconds": [round(plain, 3) for _, plain in pairs],
                "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
                "machine": platform.processor() or platform.machine(),
                "versions": {name: version(name) for name in ("torch", "diffusers", "tritonclient", "nvidia-pytriton")},
            },
            indent=2,
        )
    )
    print(
        f"easel run to first picture / plain diffusers script to first picture: {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
