"""The worker's loop: finds what is there, makes what is missing, a bounded number at a time.

Bounded, so that a job of a thousand clips does not keep a thousand streams open; many, so that the engine has something to
join. Whatever ends it, the manifest is flushed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from easel_api.errors import AmbiguousSubmit, Cancelled, ContentBlocked, EaselError
from easel_api.generationjob import FailurePolicy, GenerationJobSpec
from easel_inference.artifacts import keys
from easel_inference.artifacts.manifest import InputDigests, ItemState, Manifest, ManifestItem
from easel_inference.artifacts.stores import Store, read_back, sha256_of
from easel_inference.backends.base import Backend, Indexer
from easel_inference.backends.replicas import ReplicaSet
from easel_inference.generation import Inputs

from .attempts import JobFault, Maker, Place, Retry
from .inputs import Sources, load
from .insights import Indexing, is_looked_at
from .items import Item, expand, spec_hash
from .ledger import Ledger
from .progress import LastFailure, StoredResult, Tally
from .wallet import Wallet

_log = logging.getLogger(__name__)

CONCURRENCY = 16
"""Items in flight: as many as an engine runs at once by default."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do, wherever it came from."""

    name: str
    namespace: str
    uid: str
    spec: GenerationJobSpec
    folder: str
    """Start of every key: empty, or ending in a slash."""
    priority: int = 0
    """Of its steps in the engine; the higher go first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a completed job ended; with `KeepPartial` some items may have failed."""

    succeeded: int
    failed: int
    manifest: str


class Worker:
    """Runs one job once."""

    def __init__(self, job: Job, store: Store, sources: Sources, clock: Callable[[], float]) -> None:
        """Expands and checks everything that can be wrong before a backend is needed; raises `InvalidInput`."""
        self.job, self._store = job, store
        self.items = tuple(item.ranked(job.priority) for item in expand(job.spec))
        self.inputs = load(job.spec, sources)
        self.tally = Tally(len(self.items), job.spec.parameters.steps, clock)
        self.ledger = Ledger(store, keys.manifest(job.folder), _empty_manifest(job, self.inputs, len(self.items)))
        self._no_more = threading.Event()
        self._failures: list[EaselError] = []
        self._fault: BaseException | None = None
        self.outstanding: dict[str, ManifestItem] = {}
        """Items whose calls, by an earlier worker of this very job, are still out."""

    @property
    def ended(self) -> threading.Event:
        """Set once the job has failed: no further item is begun."""
        return self._no_more

    def claim(self) -> tuple[Item, ...]:
        """Opens the manifest and returns the items that are still to be made."""
        try:
            return self._claim()
        except EaselError as error:
            self.tally.broke(error)
            raise

    def _claim(self) -> tuple[Item, ...]:
        self.ledger.open()
        self.tally.manifest_at(self.ledger.uri)
        known = {item.id: item for item in self.items}
        recorded = [record for record in self.ledger.records() if record.id in known]
        with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="check") as pool:
            there = {
                record.id for record, found in zip(recorded, pool.map(self._is_there, recorded), strict=True) if found
            }
        self._adopt(record for record in recorded if record.id in there)
        self.outstanding = {
            record.id: record
            for record in recorded
            if record.id not in there and self._is_out(record) and self.ledger.continues
        }
        lost = {record.id for record in recorded if _is_final(record)} - there - self.outstanding.keys()
        kept = there | lost | self.outstanding.keys()
        self.ledger.forget(record.id for record in self.ledger.records() if record.id not in kept)
        for record in self.outstanding.values():
            self.tally.paid(record.id, record.cost)
        for record in recorded:
            if record.id in lost | self.outstanding.keys() and (choice := record.choice):
                self.tally.chosen(record.id, choice)
        self._give_up_paid(record for record in recorded if record.id in lost)
        self.ledger.flush()
        if there:
            _log.info("%d of %d items were made before", len(there), len(self.items))
        return tuple(item for item in self.items if item.id not in there | lost)

    def _give_up_paid(self, records: Iterable[ManifestItem]) -> None:
        """Items that a provider may have been paid for, and that are not there, or that its policy blocked: never asked for again."""
        for record in records:
            error = (
                record.error.to_error()
                if record.error
                else AmbiguousSubmit(
                    "an earlier worker ended behind the call, and the item may have been made and billed",
                    where=record.backend,
                    fix="Look at the account's usage; another job makes it anew",
                )
            )
            failed = {"state": ItemState.FAILED, "delivered": None, "error": error.to_report()}
            self.ledger.note(record.model_copy(update=failed))
            if record.cost is not None and self.ledger.continues:
                self.tally.paid(record.id, record.cost)
            self.tally.failed(LastFailure(error, record.id, record.attempts))
            self._item_failed(error)

    def run(self, missing: tuple[Item, ...], backend: Backend, stop: threading.Event) -> Outcome:
        """Makes the missing items.

        Raises what failed the job: the first item's error, the store's, or `Cancelled` when `stop` was set.
        """
        retry = Retry(self.job.spec.max_attempts)
        place = Place(self._store, self.job.folder)
        out = dict(self.outstanding)
        maker = Maker(place, backend, self.inputs, self.ledger, self.tally, retry, stop, out)
        try:
            self._make_all(missing, maker)
        finally:
            self._flush(stop)
        return self.outcome(stop)

    def insights(self, wallet: Wallet, indexers: Mapping[str, Indexer], stop: threading.Event) -> Indexing:
        """What looks at the clips that are there."""
        job = self.job
        return Indexing(job.uid, job.folder, self._store, self.ledger, self.tally, wallet, indexers, stop)

    def _make_all(self, missing: tuple[Item, ...], maker: Maker) -> None:
        queue = _Queue(missing)
        threads = [
            threading.Thread(target=self._drain, args=(queue, maker), name=f"item-{number}")
            for number in range(min(CONCURRENCY, len(missing)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _drain(self, queue: Iterator[Item], maker: Maker) -> None:
        """One of the threads: item after item until none is left or the job ends."""
        for item in queue:
            if self._no_more.is_set() or maker.stop.is_set():
                return
            try:
                error = maker.make(item)
            except Cancelled:
                return
            except JobFault as fault:
                self._end(fault.error)
                return
            except BaseException as bug:  # noqa: BLE001 - carried to the caller's thread and raised there
                self._end(bug)
                return
            if error is not None:
                self._item_failed(error)

    def _item_failed(self, error: EaselError) -> None:
        self._failures.append(error)
        if self.job.spec.failure_policy is FailurePolicy.ALL_OR_NOTHING:
            self._no_more.set()

    def _end(self, error: BaseException) -> None:
        self._no_more.set()
        if self._fault is None:
            self._fault = error
            if isinstance(error, EaselError):
                self.tally.broke(error)

    def _flush(self, stop: threading.Event) -> None:
        try:
            self.ledger.flush()
        except EaselError as error:
            if not stop.is_set():
                self._end(error)

    def outcome(self, stop: threading.Event) -> Outcome:
        """How the job ended; raises as `run` does."""
        end = self.tally.snapshot()
        if self._fault is not None and not stop.is_set():
            raise self._fault
        if self._failures and (self.job.spec.failure_policy is FailurePolicy.ALL_OR_NOTHING or not end.succeeded):
            raise self._failures[0]
        if end.succeeded + end.failed < end.total:
            raise Cancelled("the job was stopped before its end", fix="Start it again: finished items are kept")
        return Outcome(end.succeeded, end.failed, self.ledger.uri)

    @property
    def calls_out(self) -> bool:
        """Whether a provider still works at something of this job that the next worker can ask for."""
        return any(self._is_out(record) or is_looked_at(record) for record in self.ledger.records())

    def _is_out(self, record: ManifestItem) -> bool:
        """Whether a provider may still be asked for it: its handle is known, and no object of it is there."""
        under_way = record.state in (ItemState.SUBMITTED, ItemState.STORING)
        return bool(record.remote) and under_way

    def _is_there(self, record: ManifestItem) -> bool:
        """Whether an earlier worker stored this item, with the very bytes it recorded."""
        delivered = record.delivered
        if delivered is None:
            return False
        return read_back(self._store, delivered.key, delivered.bytes, delivered.sha256)

    def _adopt(self, records: Iterable[ManifestItem]) -> None:
        for record in records:
            self.ledger.note(record.model_copy(update={"state": ItemState.SUCCEEDED, "remote": None}))
            if record.cost is not None and self.ledger.continues:
                self.tally.paid(record.id, record.cost)
            if record.insights is not None and self.ledger.continues:
                self.tally.paid(keys.insights("", record.id), record.insights.cost)
            if record.delivered is not None:
                self.tally.found(StoredResult(record.id, record.seed, record.delivered, record.choice))


def generate_at(
    worker: Worker, missing: tuple[Item, ...], endpoint: str, backend: str, stop: threading.Event
) -> Outcome:
    """Makes the missing items on the replicas at `endpoint` (HOST:PORT)."""
    if not missing:
        return worker.outcome(stop)
    # Imported here: a job that is complete already needs no gRPC.
    from easel_inference.backends.triton import TritonBackend

    with ReplicaSet(endpoint) as replicas:
        return worker.run(missing, TritonBackend(replicas, backend), stop)


def _is_final(record: ManifestItem) -> bool:
    return record.cost is not None or (record.error is not None and record.error.reason == ContentBlocked.reason)


class _Queue(Iterator[Item]):
    """Items for many threads to take from."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __next__(self) -> Item:
        with self._lock:
            return next(self._items)


def _empty_manifest(job: Job, inputs: Inputs, total: int) -> Manifest:
    digests = InputDigests(**{name: None if data is None else sha256_of(data) for name, data in inputs.named().items()})
    return Manifest(
        job=job.name,
        namespace=job.namespace,
        uid=job.uid,
        task=job.spec.task,
        spec_hash=spec_hash(job.spec),
        inputs=digests,
        total=total,
    )
