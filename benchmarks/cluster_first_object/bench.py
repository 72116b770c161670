"""Time from `kubectl apply` of a GenerationJob to its first object in the bucket, against a bare Job that runs `true`.

Both sides use the same image and the same node. The model is warm; the job makes one picture of 128 × 128 in 20 steps on the
CPU, with a seed of its own each time, since the engine gives known results again without making them. The bare Job's clock
stops when a watch shows its pod as Succeeded, which is earlier than the Job's own Complete. The sides are not quite alike:
kubelet takes up to a second to notice that a container ended (so the bare Job's figures fall in two groups a second apart),
while an object is there the moment it is stored. A ratio near 1 means that what Easel adds fits into that second, not that it is free. Rounds alternate, so that a
machine whose speed drifts treats both sides alike.

    PYTHONPATH=tests/cluster python benchmarks/cluster_first_object/bench.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from easel_cluster.tools import KUBERNETES_VERSION  # noqa: E402  # found by the path set above
from easel_installed import manifests  # noqa: E402 - found through the path set above
from easel_installed.places import open_site  # noqa: E402 - found through the path set above
from easel_installed.site import Site  # noqa: E402 - found through the path set above

RESULTS = ROOT / "build" / "benchmarks"
MODEL = "bench-mini"
STEPS = 20
DEADLINE_SECONDS = 120
SECURITY = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}


def easel_job(site: Site, number: int) -> float:
    """Seconds from `kubectl apply` to the first object."""
    name = f"bench-{number}"
    job = manifests.job(name, MODEL, site.store)
    one = {"prompts": [{"text": "a red mug on a beach, front view"}], "matrix": {}}
    one |= {"parameters": {"steps": STEPS, "seeds": [time.time_ns() % 2**32]}}
    started = time.perf_counter()
    site.apply(job | {"spec": job["spec"] | one})
    while not any(key.endswith(".png") for key in site.bucket.keys(site.folder(name))):
        if time.perf_counter() - started > DEADLINE_SECONDS:
            sys.exit(f"no object of {name}\n{site.diagnosis()}")
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    site.wait_for_end(name, seconds=DEADLINE_SECONDS)
    site.delete("generationjobs.easel.dev", name)
    site.bucket.empty(site.folder(name))
    return seconds


def bare_job(site: Site, number: int) -> float:
    """Seconds from `kubectl apply` until a watch shows the pod of a Job that runs `true` as Succeeded."""
    name = f"bare-{number}"
    container = {
        "name": "true",
        "image": "docker.io/easel/operator:dev",
        "command": ["true"],
        "securityContext": SECURITY,
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"labels": {"bare": name}}, "spec": pod}},
    }
    shown = "jsonpath={.status.phase}{'\\n'}"
    watch = ["get", "pods", "-n", site.namespace, "-l", f"bare={name}", "--watch", "-o", shown]
    command = [str(site.kubectl.program), "--kubeconfig", str(site.kubectl.kubeconfig), *watch]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        started = time.perf_counter()
        site.apply(job)
        succeeded = any(line.strip() == "Succeeded" for line in iter(watching.stdout.readline, ""))
        seconds = time.perf_counter() - started
        watching.kill()
    if not succeeded:
        sys.exit(f"{name} did not succeed\n{site.diagnosis()}")
    site.delete("jobs.batch", name)
    return seconds


def main() -> None:
    """Run both sides in turn, print the ratio, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    site = open_site()
    site.apply(manifests.model(MODEL))
    site.wait_for_model(MODEL)
    bare_job(site, 0), easel_job(site, 0)  # both images unpacked and in the page cache
    pairs = []
    for number in range(1, rounds + 1):
        pairs.append((easel_job(site, number), bare_job(site, number)))
        print(f"round {number}/{rounds}: first object {pairs[-1][0]:.2f} s, bare Job {pairs[-1][1]:.2f} s", flush=True)
    site.delete("modeldeployments.easel.dev", MODEL)
    ratios = [ours / bare for ours, bare in pairs]
    RESULTS.mkdir(parents=True, exist_ok=True)
    figures = {
        "first_object_seconds": [round(ours, 3) for ours, _ in pairs],
        "bare_job_seconds": [round(bare, 3) for _, bare in pairs],
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        "machine": platform.processor() or platform.machine(),
        "kubernetes": KUBERNETES_VERSION,
        "steps": STEPS,
    }
    (RESULTS / "cluster_first_object.json").write_text(json.dumps(figures, indent=2))
    print(
        f"kubectl apply to first object / bare Job in the same image: {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
