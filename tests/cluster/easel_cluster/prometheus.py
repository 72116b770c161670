"""Prometheus from Debian as a process on this machine."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from easel_api.errors import Stalled
from easel_cluster import processes
from easel_cluster.controlplane import LOOPBACK


@dataclass
class PrometheusProcess:
    """Scrapes some targets every second."""

    program: Path
    folder: Path
    port: int
    targets: Iterable[str] = ()
    """`HOST:PORT` each."""
    address: str = LOOPBACK
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def start(self) -> PrometheusProcess:
        self.folder.mkdir(parents=True, exist_ok=True)
        config, log = self.folder / "prometheus.yaml", self.folder / "prometheus.log"
        # As the chart's ServiceMonitor has it: the operator's series name the namespaces of models.
        job = {"job_name": "easel", "honor_labels": True, "static_configs": [{"targets": list(self.targets)}]}
        config.write_text(
            yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]})
        )
        with log.open("ab") as written:
            self.process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address={self.address}:{self.port}",
                ],
                stdout=written,
                stderr=written,
            )
        if not processes.wait_for(self.answers, 40):
            raise Stalled("Prometheus does not answer", where=str(log))
        return self

    def answers(self) -> bool:
        try:
            return self.query("vector(1)") == [1.0]
        except OSError:
            return False

    def query(self, text: str) -> list[float]:
        data = urllib.parse.urlencode({"query": text}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", data, timeout=5) as answer:  # noqa: S310 - loopback
            return [float(item["value"][1]) for item in json.load(answer)["data"]["result"]]

    def stop(self) -> None:
        if self.process is not None:
            processes.end(self.process)
