"""A bucket of the account that an emulator of AWS leaves results in: at a real S3 server, opened by the account's keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from easel_cluster import apionly, processes, s3, tools
from easel_cluster.layout import State

from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY

NAME = "easel-clips"


@dataclass(frozen=True)
class AccountBucket:
    """A fresh bucket."""

    endpoint: str
    client: Any

    def put(self, key: str, data: bytes, media_type: str) -> None:
        self.client.put_object(Bucket=NAME, Key=key, Body=data, ContentType=media_type)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=NAME, Key=key)["Body"].read()
        return data

    def listed(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=NAME).get("Contents", [])]


@contextmanager
def account_bucket(address: str = "127.0.0.1") -> Iterator[AccountBucket]:
    """The server at an address of this machine, with one bucket, until the block ends."""
    versitygw = tools.ensure(["versitygw"])["versitygw"]
    # A folder of its own: a state folder's path must be short.
    with tempfile.TemporaryDirectory(prefix="easel-s3-") as folder:
        state, port = State(Path(folder) / "state").make(), processes.free_ports(1)[0]
        server = s3.S3Server(f"http://{address}:{port}", ACCESS_KEY, SECRET_KEY, REGION)
        (state.config / "s3.json").write_text(dumps(asdict(server)))
        try:
            processes.start(s3.program(state, versitygw, address, port, tied=True), state)
            client = boto3.client(
                "s3",
                endpoint_url=server.endpoint,
                region_name=REGION,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                config=Config(s3={"addressing_style": "path"}),
            )
            client.create_bucket(Bucket=NAME)
            yield AccountBucket(server.endpoint, client)
        finally:
            apionly.stop_all(state)
