"""Finished results, kept for a while: a retry after a worker's death gets the very same bytes, made once."""

from __future__ import annotations

from collections import OrderedDict

from easel_inference.generation import Message


class Retention:
    """Last messages by fingerprint; the least recently used leave first once `limit` bytes are passed.

    A result larger than the limit is not kept. Not thread-safe: the engine holds its lock.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[str, Message] = OrderedDict()

    def keep(self, fingerprint: str, message: Message) -> None:
        """Keep a result, the newest now."""
        self._forget(fingerprint)
        if len(message.payload) > self._limit:
            return
        self._kept[fingerprint] = message
        self._bytes += len(message.payload)
        while self._bytes > self._limit:
            self._forget(next(iter(self._kept)))

    def find(self, fingerprint: str) -> Message | None:
        """The result, if it is still here; it becomes the newest."""
        message = self._kept.get(fingerprint)
        if message is not None:
            self._kept.move_to_end(fingerprint)
        return message

    @property
    def bytes(self) -> int:
        """Bytes of all payloads."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, fingerprint: str) -> None:
        message = self._kept.pop(fingerprint, None)
        if message is not None:
            self._bytes -= len(message.payload)
