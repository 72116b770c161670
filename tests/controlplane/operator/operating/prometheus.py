"""The real Prometheus as a process, and one that answers as it is told where the real one never would."""

from __future__ import annotations

import json
import socketserver
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from operating.process import until


@dataclass
class PrometheusProcess:
    """Scrapes some ports of this machine every second."""

    program: Path
    folder: Path
    port: int
    targets: Iterable[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> PrometheusProcess:
        self.folder.mkdir(parents=True, exist_ok=True)
        config, log = self.folder / "prometheus.yaml", self.folder / "prometheus.log"
        targets = [f"127.0.0.1:{port}" for port in self.targets]
        job = {"job_name": "easel", "honor_labels": True, "static_configs": [{"targets": targets}]}
        config.write_text(
            yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]})
        )
        with log.open("ab") as written:
            self.process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=written,
                stderr=written,
            )
        until(self.answers, f"Prometheus answers; see {log}")
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
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class Liar:
    """Answers every connection with the same bytes; `seconds` late, if at all."""

    def __init__(self, answer: bytes, seconds: float = 0.0) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(65536)
                time.sleep(seconds)
                self.request.sendall(answer)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def http(status: str, body: Any) -> bytes:
    """An answer; `body` is text or JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
