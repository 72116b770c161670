"""From a job's spec to an open store: which folder or bucket, with which credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import InvalidInput
from easel_api.generationjob import GenerationJobSpec
from easel_api.s3 import S3Access
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.s3 import S3Store as Bucket
from easel_inference.artifacts.s3 import read_credentials
from easel_inference.artifacts.stores import Store

from .inputs import MAX_BYTES, Sources


@dataclass(frozen=True, slots=True)
class Places:
    """Where this process finds what a spec names."""

    claims: Path
    """Folder that holds each PersistentVolumeClaim by its name."""
    credentials: Path
    """Folder with the files AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; may be absent."""
    files: Path
    """Folder that a relative `file://` path starts from."""


def open_store(spec: GenerationJobSpec, places: Places, stop: threading.Event) -> tuple[Store, str]:
    """The spec's store and the prefix of its keys."""
    store = spec.output.store
    if store is not None and store.s3 is not None:
        return _bucket(store.s3, store.s3.bucket, places, stop), store.s3.prefix
    if store is not None and store.persistent_volume_claim is not None:
        claim = store.persistent_volume_claim
        return DirectoryStore(places.claims / claim.claim_name, uri=f"pvc://{claim.claim_name}"), claim.path
    raise InvalidInput("the job names no store", where="spec.output.store", fix="Name s3 or persistentVolumeClaim")


def open_sources(spec: GenerationJobSpec, places: Places, stop: threading.Event) -> Sources:
    """Where inputs may be read from; S3 with the output store's endpoint and credentials."""
    return Sources(places.claims, places.files, _reader(spec, places, stop))


def _reader(spec: GenerationJobSpec, places: Places, stop: threading.Event) -> Callable[[str, str], bytes | None]:
    store = spec.output.store
    access = store.s3 if store is not None and store.s3 is not None else S3Access()

    def read(bucket: str, key: str) -> bytes | None:
        return _bucket(access, bucket, places, stop).get(key, limit=MAX_BYTES)

    return read


def _bucket(access: S3Access, bucket: str, places: Places, stop: threading.Event) -> Bucket:
    return Bucket(access, bucket, read_credentials(places.credentials), stop)
