"""A proxy that loses what goes through it, or refuses connections, when a test says so: Shopify's toxiproxy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from easel_cluster import processes
from easel_cluster.controlplane import LOOPBACK, answers


@dataclass(frozen=True)
class Toxiproxy:
    """A running proxy in front of one address."""

    control: str
    port: int

    def refuse(self) -> None:
        """Nobody listens any more, and open connections end."""
        self._ask("POST", "/proxies/way", {"enabled": False})

    def serve(self) -> None:
        """Listen again, and lose nothing any more."""
        self._ask("POST", "/proxies/way", {"enabled": True})
        for toxic in self._ask("GET", "/proxies/way/toxics"):
            self._ask("DELETE", f"/proxies/way/toxics/{toxic['name']}")

    def lose(self) -> None:
        """Connections stay open, new ones too, and nothing comes through in either direction."""
        for stream in ("upstream", "downstream"):
            # Of no seconds: it never closes the connection.
            self._ask(
                "POST", "/proxies/way/toxics", {"type": "timeout", "stream": stream, "attributes": {"timeout": 0}}
            )

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = urllib3.request(method, self.control + path, json=body, timeout=10)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data.decode()}"
        return answer.json() if answer.data else None


@contextmanager
def toxiproxy(program: Path, upstream: str, folder: Path) -> Iterator[Toxiproxy]:
    """A proxy in front of HOST:PORT, gone afterwards."""
    control, port = processes.free_ports(2)
    with (folder / "toxiproxy.log").open("ab") as log:
        process = subprocess.Popen(
            [str(program), "-host", LOOPBACK, "-port", str(control)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        made = Toxiproxy(f"http://{LOOPBACK}:{control}", port)
        assert processes.wait_for(lambda: answers(f"{made.control}/version"), 20), "toxiproxy does not answer"
        made._ask("POST", "/proxies", {"name": "way", "listen": f"{LOOPBACK}:{port}", "upstream": upstream})
        yield made
    finally:
        processes.end(process)
