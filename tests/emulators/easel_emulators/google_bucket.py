"""A bucket of the account that Vertex AI leaves clips in: at fake-gcs-server, which speaks Cloud Storage's own JSON API."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from easel_cluster import apionly, processes, tools
from easel_cluster.controlplane import answers
from easel_cluster.layout import State

from easel_emulators.behind import Behind

NAME = "easel-clips"
PREFIX = "made/"
API = "/storage/v1/"


class GoogleBucket(Behind):
    """A fresh bucket."""

    def put(self, key: str, data: bytes, media_type: str) -> None:
        path = f"/upload/storage/v1/b/{NAME}/o?uploadType=media&name={quote(key, safe='')}"
        status, _, told = self.asked("POST", path, data, {"Content-Type": media_type})
        assert status == 200, told

    def delete(self, key: str) -> None:
        status, _, told = self.asked("DELETE", f"{API}b/{NAME}/o/{quote(key, safe='')}")
        assert status in (200, 204), told

    def listed(self) -> list[str]:
        told: dict[str, Any] = json.loads(self.asked("GET", f"{API}b/{NAME}/o")[2])
        return [each["name"] for each in told.get("items", [])]


@contextmanager
def google_bucket() -> Iterator[GoogleBucket]:
    """The server on this machine, with one bucket, until the block ends."""
    program = tools.ensure(["fake-gcs-server"])["fake-gcs-server"]
    # A folder of its own: a state folder's path must be short.
    with tempfile.TemporaryDirectory(prefix="easel-gcs-") as folder:
        state, port = State(Path(folder) / "state").make(), processes.free_ports(1)[0]
        bucket = GoogleBucket(f"http://127.0.0.1:{port}")
        try:
            processes.start(_server(program, bucket.endpoint, port), state)
            status, _, told = bucket.asked(
                "POST",
                f"{API}b?project=easel",
                json.dumps({"name": NAME}).encode(),
                {"Content-Type": "application/json"},
            )
            assert status == 200, told
            yield bucket
        finally:
            apionly.stop_all(state)


def _server(program: Path, endpoint: str, port: int) -> processes.Program:
    return processes.Program(
        "fake-gcs-server",
        (str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"),
        lambda: answers(f"{endpoint}{API}b?project=easel"),
        ports=(("127.0.0.1", port),),
        tied=True,
    )
