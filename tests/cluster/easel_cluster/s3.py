"""A real S3 server that nobody here wrote: versitygw over a folder."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from easel_cluster.controlplane import answers
from easel_cluster.layout import State, write_changed
from easel_cluster.processes import Program

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """Where the server is and who may write to it."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION


def credentials(state: State, address: str, port: int) -> S3Server:
    """The server's address with keys of its own, made once for a state folder."""
    file = state.config / "s3.json"
    if not file.exists():
        made = S3Server(f"http://{address}:{port}", f"easel{secrets.token_hex(6)}", secrets.token_hex(20))
        write_changed(file, json.dumps(asdict(made)))
    return S3Server(**json.loads(file.read_text()))


def program(state: State, versitygw: Path, address: str, port: int, *, tied: bool = False) -> Program:
    """The server as a program; each folder below `data/s3` is a bucket."""
    server, folder, metadata = credentials(state, address, port), state.data / "s3", state.data / "metadata-of-s3"
    folder.mkdir(exist_ok=True)
    metadata.mkdir(exist_ok=True)
    # Keys go by the environment: a command line is readable by every user.
    environment = {"ROOT_ACCESS_KEY_ID": server.access_key, "ROOT_SECRET_ACCESS_KEY": server.secret_key}
    return Program(
        "versitygw",
        (
            str(versitygw), "--port", f"{address}:{port}", "--region", server.region, "--quiet",
            # Not every file system that a checkout may lie on has extended attributes (tmpfs once had not).
            "posix", "--sidecar", str(metadata), str(folder),
        ),
        # An anonymous listing is refused: that it answers at all is what counts.
        lambda: answers(server.endpoint, good=lambda code: code < 500),
        environment=environment,
        ports=((address, port),),
        tied=tied,
    )  # fmt: skip
