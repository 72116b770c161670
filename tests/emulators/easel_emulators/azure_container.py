"""A container of Azure Blob Storage that an endpoint leaves clips in: at Azurite, Microsoft's own server for tests.

Whoever has an address reads what lies there until the address ends: a shared access signature, made as learn.microsoft.com says
(rest/api/storageservices, create-service-sas and create-account-sas, version 2021-12-02, read on 2026-11-29) and computed anew by Azurite. Two
signatures do not want azure-storage-blob among our dependencies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from easel_cluster import apionly, processes, tools
from easel_cluster.controlplane import answers
from easel_cluster.layout import State

from easel_emulators.behind import Behind
from easel_emulators.outstanding import ELSEWHERE, Work

ACCOUNT, NAME = "studio", "clips"
VERSION = "2021-12-02"
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class AzureContainer(Behind):
    """A fresh container."""

    key: str

    def put(self, name: str, data: bytes) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "video/mp4"}
        status, _, told = self.asked("PUT", f"/{ACCOUNT}/{NAME}/{name}?{self._of_account()}", data, headers)
        assert status == 201, told

    def has(self, path: str) -> bool:
        """Whether a path is of the store, and not of who stands before it."""
        return path.startswith(f"/{ACCOUNT}/")

    def told(self, base: str, work: Work) -> str:
        """Where a call's result is said to lie, with one more address each time."""
        if work.word == "elsewhere":
            return ELSEWHERE
        ended = work.word == "expired for good" or (work.word == "expired" and work.named == 1)
        return self.address(base, work.name, -HOUR if ended else HOUR)

    def address(self, base: str, name: str, seconds: float) -> str:
        """Of a blob, good for so long."""
        until, resource = _moment(seconds), f"/blob/{ACCOUNT}/{NAME}/{name}"
        signature = self._signed("r", "", until, resource, "", "", "", VERSION, "b", "", "", "", "", "", "", "")
        asked = {"sp": "r", "se": until, "sv": VERSION, "sr": "b", "sig": signature}
        return f"{base}/{ACCOUNT}/{NAME}/{name}?{urlencode(asked)}"

    def make(self) -> None:
        """The container itself."""
        status, _, told = self.asked("PUT", f"/{ACCOUNT}/{NAME}?restype=container&{self._of_account()}", b"")
        assert status == 201, told

    def _of_account(self) -> str:
        until = _moment(HOUR)
        signature = self._signed(ACCOUNT, "cw", "b", "co", "", until, "", "", VERSION, "", "")
        asked: Mapping[str, str] = {"sp": "cw", "ss": "b", "srt": "co", "se": until, "sv": VERSION, "sig": signature}
        return urlencode(asked)

    def _signed(self, *lines: str) -> str:
        made = hmac.digest(base64.b64decode(self.key), "\n".join(lines).encode(), hashlib.sha256)
        return base64.b64encode(made).decode()


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@contextmanager
def azure_container() -> Iterator[AzureContainer]:
    """The server on this machine, with one container, until the block ends."""
    program = tools.packaged("azurite")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    # A folder of its own: a state folder's path must be short.
    with tempfile.TemporaryDirectory(prefix="easel-blob-") as folder:
        state, port = State(Path(folder) / "state").make(), processes.free_ports(1)[0]
        container = AzureContainer(f"http://127.0.0.1:{port}", key=key)
        try:
            processes.start(_server(program, container, port), state)
            container.make()
            yield container
        finally:
            apionly.stop_all(state)


def _server(program: tools.NodeProgram, container: AzureContainer, port: int) -> processes.Program:
    return processes.Program(
        "azurite",
        (
            *program.command("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent",
            # It tells its maker of each run unless it is told not to.
            "--inMemoryPersistence", "--disableTelemetry", "--disableProductStyleUrl",
        ),
        # A stranger is refused: that it answers at all is what counts.
        lambda: answers(f"{container.endpoint}/{ACCOUNT}?comp=list", good=lambda code: code < 500),
        environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{container.key}"},
        ports=(("127.0.0.1", port),),
        tied=True,
    )  # fmt: skip
