"""The manifest as a write-ahead log.

An item's record, with the hash and size of its bytes, is in the stored manifest before its object is written, and is
confirmed after the object was read back. Whatever moment the worker dies at, its successor knows each object that may
exist and how to tell whether it does. Records that come together share one write (group commit), so sixteen items in
flight do not rewrite the manifest sixteen times.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from easel_api.errors import InvalidInput
from easel_inference.artifacts.manifest import MAX_BYTES, Manifest, ManifestItem, parse
from easel_inference.artifacts.stores import Store


class Ledger:
    """All records of one job. Safe for many threads; one worker at a time."""

    def __init__(self, store: Store, key: str, empty: Manifest) -> None:
        """`empty` says which job and which spec the records are about."""
        self._store, self._key, self._head = store, key, empty
        self._records: dict[str, ManifestItem] = {}
        self._changed = threading.Condition()
        self._newest, self._written = 1, 0
        self._writing = False
        self.continues = False
        """Whether an earlier worker of this very job began it, and not a job of its name that is gone."""

    @property
    def uri(self) -> str:
        """Where the manifest is."""
        return self._store.uri(self._key)

    def open(self) -> None:
        """Reads what an earlier worker recorded; the first `flush` claims the place.

        `InvalidInput` when the manifest there is about something else: results are never mixed or overwritten.
        """
        data = self._store.get(self._key, limit=MAX_BYTES)
        if data is not None:
            earlier = parse(data, self.uri)
            self._check_same(earlier)
            self._records = {record.id: record for record in earlier.items}
            self.continues = earlier.uid == self._head.uid

    def records(self) -> tuple[ManifestItem, ...]:
        """All records by id, which is the order of the items."""
        with self._changed:
            return tuple(self._records[name] for name in sorted(self._records))

    def write(self, *records: ManifestItem) -> None:
        """Returns once the records are in the stored manifest."""
        with self._changed:
            self._note(records)
            mine = self._newest
            while self._written < mine:
                if self._writing:
                    self._changed.wait()
                    continue
                self._write_all()

    def note(self, *records: ManifestItem) -> None:
        """Records without waiting; they are stored by the next `write` or `flush`."""
        with self._changed:
            self._note(records)

    def forget(self, ids: Iterable[str]) -> None:
        """Drops records whose objects are gone."""
        with self._changed:
            for name in ids:
                self._records.pop(name, None)
            self._newest += 1

    def flush(self) -> None:
        """Stores whatever is not stored yet."""
        self.write()

    def _note(self, records: Iterable[ManifestItem]) -> None:
        for record in records:
            self._records[record.id] = record
            self._newest += 1

    def _write_all(self) -> None:
        """Writes everything noted so far; the lock is free meanwhile, so others can add to the next write."""
        covers, content = self._newest, self._rendered()
        self._writing = True
        self._changed.release()
        try:
            self._store.put(self._key, content, "application/json")
        finally:
            self._changed.acquire()
            self._writing = False
            self._changed.notify_all()
        self._written = covers

    def _rendered(self) -> bytes:
        items = tuple(self._records[name] for name in sorted(self._records))
        return self._head.model_copy(update={"items": items}).to_bytes()

    def _check_same(self, earlier: Manifest) -> None:
        changed = _difference(earlier, self._head)
        if changed is not None:
            field, found = changed
            raise InvalidInput(
                "results of another job are already here; they are not overwritten",
                where=field,
                found=f"{found} in {self.uri}",
                fix="Give this job another name, prefix or folder, or move the earlier results away",
            )


def _difference(earlier: Manifest, mine: Manifest) -> tuple[str, str] | None:
    if earlier.inputs != mine.inputs:
        return "spec.inputs", "a manifest made from another input picture"
    if earlier.spec_hash != mine.spec_hash:
        return "spec", f"a manifest of another spec (hash {earlier.spec_hash[:8]}, this one {mine.spec_hash[:8]})"
    return None
