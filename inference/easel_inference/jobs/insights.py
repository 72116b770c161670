"""What the clips of a job show: each is handed to the indexer of its Provider behind the making, and what that finds is stored beside it.

A clip counts whatever becomes of its insights: what went wrong with them is in the manifest, and the latest of it in the status. They are
paid for as clips are: reserved before the call, in the stored manifest before the call, by a handle of the indexer before the first
question; so that a clip is handed in once, whoever takes the job over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BadOutput,
    Cancelled,
    EaselError,
    Throttled,
    Transient,
)
from easel_api.offers import in_words
from easel_inference.artifacts import keys
from easel_inference.artifacts.headers import read_header
from easel_inference.artifacts.manifest import Insights, ItemState, ManifestItem
from easel_inference.artifacts.stores import Store, put_checked, sha256_of
from easel_inference.backends.base import Indexer

from .ledger import Ledger
from .progress import LastFailure, Tally
from .wallet import NONE, Wallet, provider_of

T = TypeVar("T")

_log = logging.getLogger(__name__)

AT_ONCE = 4
"""Clips that are looked at: an account takes ten uploads in a second, and works at few at a time."""
TRIES = 5
"""Of what failed for now."""
FIRST_SECONDS, LONGEST_SECONDS, GROWTH = 2.0, 20.0, 1.5
"""Between two questions."""
LONGEST_REST_SECONDS = 60.0
PATIENCE_SECONDS = 3600.0
"""Behind the hand-in; an account with much to do lets clips wait."""


@dataclass(frozen=True, slots=True)
class Indexing:
    """The insights of one job."""

    job: str
    """Its uid."""
    folder: str
    store: Store
    ledger: Ledger
    tally: Tally
    wallet: Wallet
    indexers: Mapping[str, Indexer]
    """By the name of the Provider whose clips they look at."""
    stop: threading.Event

    def run(self) -> None:
        """Until all clips are looked at, or given up; `Cancelled` when the job is stopped, what went wrong with store or ledger else."""
        todo = [record for record in self.ledger.records() if self._is_due(record)]
        if not todo:
            return
        _log.info("%d clips are looked at", len(todo))
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="insights") as pool:
            ended = [pool.submit(self._one, record) for record in todo]
        try:
            for each in ended:
                each.result()
        finally:
            self.ledger.flush()

    def _is_due(self, record: ManifestItem) -> bool:
        delivered, known = record.delivered, record.insights
        clip = delivered is not None and delivered.media_type.startswith("video/")
        made = record.state is ItemState.SUCCEEDED and provider_of(record.backend) in self.indexers
        return clip and made and (known is None or is_looked_at(record))

    def _one(self, record: ManifestItem) -> None:
        self._heed()
        indexer, known = self.indexers[provider_of(record.backend)], record.insights
        if known is None:
            known = self._handed_in(record, indexer)
        elif known.remote is None:
            known = self._found(record, known, indexer, _lost())
        if known.state is ItemState.SUBMITTED:
            self._looked_at(record, known, indexer)

    def _handed_in(self, record: ManifestItem, indexer: Indexer) -> Insights:
        assert record.delivered is not None  # noqa: S101 - of a record that is due
        clip = self.store.get(record.delivered.key, limit=record.delivered.bytes)
        if clip is None or sha256_of(clip) != record.delivered.sha256:
            gone = BadOutput("the clip is not there any more", where=record.delivered.uri)
            return self._ended(record, Insights(state=ItemState.FAILED, cost="0", error=gone.to_report()), None)
        price = indexer.price(read_header(clip).seconds)
        known = Insights(state=ItemState.SUBMITTED, cost=in_words(price))
        try:
            self._again(lambda: self.wallet.take(provider_of(record.backend), price, 0))
        except EaselError as error:
            return self._failed(record, known, error, None)
        self.tally.paid(_account_of(record), in_words(price))
        self.ledger.write(_with(record, known))
        try:
            remote = self._again(lambda: indexer.begin(self._token(record), clip))
        except AmbiguousSubmit as error:
            return self._found(record, known, indexer, error)
        except EaselError as error:
            return self._failed(record, known, error, NONE)
        return self._taken(record, known, remote)

    def _found(self, record: ManifestItem, known: Insights, indexer: Indexer, lost: EaselError) -> Insights:
        """By its token, since nobody knows whether the clip arrived; it is never handed in again."""
        try:
            remote = self._again(lambda: indexer.find(self._token(record)))
        except EaselError as error:
            return self._failed(record, known, error, Decimal(known.cost))
        if remote is None:
            return self._failed(record, known, lost, Decimal(known.cost))
        return self._taken(record, known, remote)

    def _taken(self, record: ManifestItem, known: Insights, remote: str) -> Insights:
        taken = known.model_copy(update={"remote": remote})
        self.ledger.write(_with(record, taken))
        return taken

    def _looked_at(self, record: ManifestItem, known: Insights, indexer: Indexer) -> None:
        cost, key = Decimal(known.cost), keys.insights(self.folder, record.id)
        try:
            found = self._awaited(indexer, known.remote or "")
        except EaselError as error:
            self._failed(record, known, error, cost)
            return
        try:
            put_checked(self.store, key, found, "application/json")
        except BadOutput as error:
            self._failed(record, known, error, cost)
            return
        told = {"uri": self.store.uri(key), "key": key, "sha256": sha256_of(found), "bytes": len(found)}
        self._ended(record, known.model_copy(update={"state": ItemState.SUCCEEDED, **told}), cost)
        _log.info("item %s: stored %d bytes of insights", record.id, len(found))

    def _awaited(self, indexer: Indexer, remote: str) -> bytes:
        began, wait = time.monotonic(), FIRST_SECONDS
        while time.monotonic() - began < PATIENCE_SECONDS:
            try:
                found = indexer.look(remote)
            except (Transient, AmbiguousSubmit) as error:  # of the question, which is free
                _log.info("insights are asked for again: %s", error.reason)
                found = None
            if found is not None:
                return found
            self._pause(wait)
            wait = min(wait * GROWTH, LONGEST_SECONDS)
        raise BackendFault("the indexer has not finished it", found=f"{PATIENCE_SECONDS:.0f} s behind the hand-in")

    def _again(self, call: Callable[[], T]) -> T:
        """What failed for now is tried again; nothing was done then."""
        for attempt in range(1, TRIES):
            try:
                return call()
            except Transient as error:
                _log.info("tried again: %s", error.reason)
                rest = error.retry_after if isinstance(error, Throttled) else None
                self._pause(min(rest or FIRST_SECONDS * 2**attempt, LONGEST_REST_SECONDS))
        return call()

    def _pause(self, seconds: float) -> None:
        self.stop.wait(seconds)
        self._heed()

    def _heed(self) -> None:
        if self.stop.is_set():
            raise Cancelled("the job was stopped")

    def _token(self, record: ManifestItem) -> str:
        """What a clip is found again by."""
        return f"{self.job}.{record.id}"

    def _failed(self, record: ManifestItem, known: Insights, error: EaselError, cost: Decimal | None) -> Insights:
        """`cost` is what the indexer was paid or may have been; None where nothing was taken for it."""
        if isinstance(error, Cancelled):
            raise error
        _log.warning("item %s: no insights: %s", record.id, error.reason)
        self.tally.stopped(record.id, LastFailure(error, record.id))
        update = {"state": ItemState.FAILED, "error": error.to_report()}
        return self._ended(record, known.model_copy(update=update), cost)

    def _ended(self, record: ManifestItem, known: Insights, cost: Decimal | None) -> Insights:
        taken = Decimal(known.cost)
        ended = known.model_copy(update={"cost": in_words(cost or NONE)})
        self.ledger.note(_with(record, ended))
        # What an earlier job of this name has taken for a clip of its own is not this one's to settle.
        if cost is not None and (record.insights is None or self.ledger.continues):
            self.tally.paid(_account_of(record), in_words(cost))
            self.wallet.settle(provider_of(record.backend), taken, cost)
        return ended


def is_looked_at(record: ManifestItem) -> bool:
    """Whether its clip was handed in, and nobody has heard of the end."""
    return record.insights is not None and record.insights.state is ItemState.SUBMITTED


def _with(record: ManifestItem, insights: Insights) -> ManifestItem:
    return record.model_copy(update={"insights": insights})


def _account_of(record: ManifestItem) -> str:
    """What a job has paid for it is counted under, beside the item itself."""
    return keys.insights("", record.id)


def _lost() -> AmbiguousSubmit:
    return AmbiguousSubmit(
        "an earlier worker ended behind the call, and the clip may have been looked at and billed",
        fix="Look at the account's videos",
    )
