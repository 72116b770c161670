"""What the engines say they made, over all lives of all runtime pods.

An engine's counters die with its process. So they are read all the time, and the last reading of a life counts for it: a
life is a pod and how often its container was restarted. Pods are reached by `kubectl port-forward`, which works wherever
kubectl does.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from easel_cluster.kubectl import Kubectl
from prometheus_client.parser import text_string_to_metric_families

from easel_installed.waiting import until

METRICS_PORT = 8002
PERIOD_SECONDS = 0.1
FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Life:
    """One run of an engine."""

    pod: str
    uid: str
    restarts: int


@dataclass
class Counting:
    """Reads the engines of a namespace until closed; a context manager."""

    kubectl: Kubectl
    namespace: str
    readings: dict[Life, dict[str, float]] = field(default_factory=dict)
    _marks: dict[Life, int] = field(default_factory=dict)
    _closing: threading.Event = field(default_factory=threading.Event)
    _readers: dict[Life, threading.Thread] = field(default_factory=dict)
    _watcher: threading.Thread | None = None

    def __enter__(self) -> Counting:
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in (self._watcher, *self._readers.values()):
            if thread:
                thread.join()

    def total(self, name: str) -> float:
        """A counter summed over all lives, from when counting began to see them."""
        return sum(reading.get(name, 0.0) for reading in list(self.readings.values()))

    def by_pod(self, name: str) -> dict[str, float]:
        """The same for each pod."""
        summed: dict[str, float] = {}
        for life, reading in list(self.readings.items()):
            summed[life.pod] = summed.get(life.pod, 0.0) + reading.get(name, 0.0)
        return summed

    def wait_for_first_reading(self) -> None:
        """Until every engine that runs was read once: what it made before counts as earlier."""
        until("a reading of every engine", lambda: self.readings.keys() >= set(self._lives()) != set(), seconds=60)

    def settle(self) -> None:
        """Until every engine was read anew; one that never served and was never read has made nothing."""
        marks = dict(self._marks)
        alive = {life for life, ready in self._lives().items() if ready or life in marks}
        until(
            "a fresh reading",
            lambda: all(self._marks.get(life, 0) > marks.get(life, 0) + 1 for life in alive),
            seconds=60,
        )

    def _watch(self) -> None:
        while not self._closing.wait(PERIOD_SECONDS):
            for life in self._lives():
                if life not in self._readers:
                    self._readers[life] = threading.Thread(target=self._follow, args=(life,), daemon=True)
                    self._readers[life].start()

    def _lives(self) -> dict[Life, bool]:
        """Engines that run, and whether they are ready."""
        selector = "app.kubernetes.io/name=easel-runtime"
        listed = self.kubectl.run("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json")
        pods: list[dict[str, Any]] = json.loads(listed.stdout)["items"] if listed.returncode == 0 else []
        return {
            Life(pod["metadata"]["name"], pod["metadata"]["uid"], status["restartCount"]): bool(status.get("ready"))
            for pod in pods
            for status in pod.get("status", {}).get("containerStatuses", [])
            if status.get("state", {}).get("running")
        }

    def _follow(self, life: Life) -> None:
        """Forward a port to the pod and read until the forwarding ends, which it does with the pod."""
        while not self._closing.is_set():
            with Forwarding(self.kubectl, self.namespace, life.pod, METRICS_PORT) as address:
                while address and not self._closing.wait(PERIOD_SECONDS):
                    reading = read(address)
                    if reading is None:
                        break
                    self.readings[life] = reading
                    self._marks[life] = self._marks.get(life, 0) + 1
            if life not in self._lives():
                return


class Forwarding:
    """`kubectl port-forward` to a pod while in its context, which gives the local address, or "" when it failed."""

    def __init__(self, kubectl: Kubectl, namespace: str, pod: str, port: int) -> None:
        command = [kubectl.program, "--kubeconfig", kubectl.kubeconfig, "port-forward", "-n", namespace, f"pod/{pod}"]
        self._command = [*map(str, command), f":{port}", "--address", "127.0.0.1"]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        found = FORWARDED.search(self._process.stdout.readline())
        return f"http://127.0.0.1:{found[1]}" if found else ""

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def read(address: str) -> dict[str, float] | None:
    """Every sample of a metrics page by name, with `{label=value}` for those that have labels; None when it is gone."""
    try:
        with urllib.request.urlopen(f"{address}/metrics", timeout=2) as answer:  # noqa: S310  # a loopback address
            text = answer.read().decode()
    except OSError:
        return None
    return {
        sample.name + labelled(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("easel")
        for sample in family.samples
    }


def labelled(labels: dict[str, str]) -> str:
    """`{outcome=succeeded}`; labels that Triton adds of itself are left out."""
    own = {name: value for name, value in labels.items() if name not in ("model", "version")}
    return "{" + ",".join(f"{name}={value}" for name, value in sorted(own.items())) + "}" if own else ""
