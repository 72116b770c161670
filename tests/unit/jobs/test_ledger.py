"""The manifest as a write-ahead log: written before it is promised, shared writes, one job to a place."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_api.errors import InvalidInput, QuotaExhausted
from easel_api.tasks import Task
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.manifest import ItemState, Manifest, ManifestItem, Requested
from easel_inference.jobs.ledger import Ledger


def record(number: int, state: ItemState = ItemState.STORING) -> ManifestItem:
    return ManifestItem(
        id=f"{number:04d}-00000000",
        state=state,
        prompt="x",
        seed=number,
        requested=Requested(steps=1, guidance_scale=1),
    )


def head(**changes: Any) -> Manifest:
    return Manifest(**({"job": "mugs", "task": Task.TEXT_TO_IMAGE, "spec_hash": "abc", "total": 100} | changes))


class CountingStore(DirectoryStore):
    """The real folder; counts writes, and can be held up or fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, create=True)
        self.writes = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def put(self, key: str, data: bytes, media_type: str) -> None:
        self.gate.wait(10)
        self.writes += 1
        if self.error is not None:
            raise self.error
        super().put(key, data, media_type)


def stored(store: DirectoryStore) -> list[int]:
    data = store.get("m.json", limit=10**7)
    return [item["seed"] for item in json.loads(data or b'{"items": []}')["items"]]


def opened(store: DirectoryStore, **changes: Any) -> Ledger:
    ledger = Ledger(store, "m.json", head(**changes))
    ledger.open()
    ledger.flush()
    return ledger


@given(numbers=st.lists(st.integers(0, 60), unique=True, min_size=1, max_size=40), workers=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_a_write_returns_only_once_its_record_is_stored(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], workers: int
) -> None:
    store = CountingStore(tmp_path_factory.mktemp("ledger"))
    ledger = opened(store)

    def write(number: int) -> bool:
        ledger.write(record(number))
        return number in stored(store)

    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(write, numbers))
    assert stored(store) == sorted(numbers)


def test_records_that_come_together_share_a_write(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    ledger, before = opened(store), store.writes
    store.gate.clear()
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(ledger.write, record(number)) for number in range(16)]
        while len(ledger.records()) < 16:
            pass
        store.gate.set()
        for each in waiting:
            each.result(timeout=10)
    assert store.writes - before <= 2
    assert stored(store) == list(range(16))


def test_a_failed_write_is_told_to_its_writer_and_the_next_one_covers_it(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    ledger = opened(store)
    store.error = QuotaExhausted("no room")
    with pytest.raises(QuotaExhausted):
        ledger.write(record(1))
    store.error = None
    ledger.flush()
    assert stored(store) == [1]


def test_a_flush_of_nothing_new_writes_nothing(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    ledger = opened(store)
    before = store.writes
    ledger.flush()
    assert store.writes == before
    ledger.note(record(1))
    ledger.flush()
    ledger.flush()
    assert store.writes == before + 1


def test_records_outlive_their_writer_and_forgotten_ones_do_not(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    opened(store).write(record(2), record(1))
    ledger = Ledger(store, "m.json", head())
    ledger.open()
    assert [each.seed for each in ledger.records()] == [1, 2]
    ledger.forget(["0001-00000000"])
    ledger.flush()
    assert stored(store) == [2]


@pytest.mark.parametrize(
    ("change", "where"), [({"spec_hash": "other"}, "spec"), ({"inputs": {"image": "0" * 64}}, "spec.inputs")]
)
def test_a_place_belongs_to_one_job(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    store = CountingStore(tmp_path)
    opened(store).write(record(1))
    with pytest.raises(InvalidInput) as caught:
        opened(store, **change)
    assert caught.value.where == where
    assert stored(store) == [1]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"hello", b'{"kind": "Other"}'])
def test_a_file_that_is_no_manifest_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(InvalidInput, match="not a manifest of this release"):
        opened(CountingStore(tmp_path))
    assert (tmp_path / "m.json").read_bytes() == content


def test_the_same_job_in_another_life_is_the_same_job(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    opened(store, uid="first").write(record(1))
    assert len(opened(store, uid="second").records()) == 1
