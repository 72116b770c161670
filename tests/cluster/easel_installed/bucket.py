"""The bucket that results go to: made, opened by a Secret, and read with an S3 client that is not Easel's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from easel_cluster.s3 import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Bucket:
    """One bucket of the S3 server, as seen from this machine (`server`) and from pods (`endpoint`)."""

    server: S3Server
    name: str
    endpoint: str

    @property
    def client(self) -> S3Client:
        """A fresh client; boto3's are cheap enough and tests kill the other side."""
        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
            region_name=self.server.region,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def make(self) -> None:
        """Create it unless it is there."""
        try:
            self.client.create_bucket(Bucket=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def secret(self, name: str) -> Manifest:
        """The Secret that workers mount."""
        data = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}

    def keys(self, prefix: str) -> list[str]:
        """Every key below a prefix, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", []))

    def empty(self, prefix: str) -> None:
        """Delete everything below a prefix."""
        for key in self.keys(prefix):
            self.client.delete_object(Bucket=self.name, Key=key)

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def manifest(self, folder: str) -> Manifest:
        """A job's manifest; empty while there is none."""
        key = f"{folder}manifest.json"
        return dict(json.loads(self.read(key))) if key in self.keys(folder) else {}

    def pictures(self, folder: str) -> dict[str, bytes]:
        """Every result of a finished job by its key, each compared with what the manifest says of it."""
        found = {}
        for item in self.manifest(folder)["items"]:
            delivered = item["delivered"]
            data = self.read(delivered["key"])
            if (len(data), hashlib.sha256(data).hexdigest()) != (delivered["bytes"], delivered["sha256"]):
                raise AssertionError(f"{delivered['key']} is not what the manifest says")
            found[delivered["key"]] = data
        return found
