"""What a folder and a bucket have in common.

`put` is atomic: a reader sees the whole object or none. A store raises `EaselError`s alone: `NotFound`, `AuthConfig`,
`QuotaExhausted` and `EnvironmentFault` are about the store and end a job; `Transient` has been tried again already
where that makes sense.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from easel_api.errors import BadOutput, InvalidInput


class Store(Protocol):
    """Where results go."""

    def uri(self, key: str) -> str:
        """What a person would call the object."""
        ...

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes the object, replacing one of that key."""
        ...

    def get(self, key: str, *, limit: int) -> bytes | None:
        """The object's bytes, None when there is none, `InvalidInput` when it is larger than `limit` bytes."""
        ...


def sha256_of(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def read_back(store: Store, key: str, size: int, sha256: str) -> bool:
    """Whether the object is there and is, byte for byte, the one meant.

    Reads all of it, because nothing less is proof: S3 servers exist that keep an old object's metadata when it is replaced.
    """
    try:
        data = store.get(key, limit=size)
    except InvalidInput:  # larger than it should be
        return False
    return data is not None and len(data) == size and sha256_of(data) == sha256


def put_checked(store: Store, key: str, data: bytes, media_type: str) -> None:
    """Writes and reads back; `BadOutput` when the store returns something else."""
    store.put(key, data, media_type)
    if not read_back(store, key, len(data), sha256_of(data)):
        raise BadOutput(
            "the store returned other bytes than were written",
            where=store.uri(key),
            fix="Check the storage; other writers must not use this prefix",
        )
