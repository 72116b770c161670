"""`python -m easel_operator` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEADLINE = 120.0


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first true value, or a failure that says what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@dataclass
class OperatorProcess:
    """A running operator."""

    configuration: dict[str, Any]
    kubeconfig: Path
    folder: Path
    name: str = "operator"
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> OperatorProcess:
        config = self.folder / f"{self.name}.yaml"
        config.write_text(yaml.safe_dump(self.configuration))
        command = [sys.executable, "-m", "easel_operator", "--config", str(config)]
        own = {"KUBECONFIG": str(self.kubeconfig), "POD_NAME": self.name, "PYTHONFAULTHANDLER": "1"}
        environment = os.environ | own | self.environment
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self

    def ready(self) -> OperatorProcess:
        self._until(lambda: self.health("readyz")[0] == 200, "ready")
        return self

    def leads(self) -> OperatorProcess:
        self._until(lambda: self.metric("easel_operator_leader") == 1.0, "leads")
        return self

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Fails with what the operator said, and with where each of its threads is when it does not."""
        process = self.process
        assert process is not None
        try:
            until(lambda: condition() or process.poll() is not None, what)
            assert process.poll() is None, what
        except AssertionError as failure:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)
            said = f"{failure}; it ended with {process.wait(10)}; {self.log}:\n{self.log.read_text()}"
            raise AssertionError(said) from None

    def health(self, path: str) -> tuple[int, str]:
        return fetch(f"http://127.0.0.1:{self.configuration['healthPort']}/{path}")

    def metrics(self) -> str:
        return fetch(f"http://127.0.0.1:{self.configuration['metricsPort']}/metrics")[1]

    def metric(self, line: str) -> float | None:
        found = [text.split()[-1] for text in self.metrics().splitlines() if text.startswith(line)]
        return float(found[0]) if found else None

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-20:]) if self.log.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def gone(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def fetch(url: str) -> tuple[int, str]:
    """Status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""
