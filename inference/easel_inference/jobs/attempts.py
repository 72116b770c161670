"""One item, from request to confirmed record: tries, verification, storing."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from dataclasses import dataclass, field

from easel_api.errors import BadOutput, BilledBadOutput, Cancelled, EaselError
from easel_api.offers import in_words
from easel_inference.artifacts import keys
from easel_inference.artifacts.manifest import Adapted, Delivered, ItemState, ManifestItem, Requested
from easel_inference.artifacts.stores import Store, put_checked
from easel_inference.backends.base import Backend, Result
from easel_inference.generation import Chosen, Handed, Inputs, Message, Preview, StepDone, Submitted, Withdrawn

from .items import Item
from .ledger import Ledger
from .progress import LastFailure, StoredResult, Tally
from .verification import verify

_log = logging.getLogger(__name__)


class JobFault(Exception):
    """The job cannot go on, whatever its failure policy says: its store or its environment is at fault."""

    def __init__(self, error: EaselError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try an item again."""

    attempts: int
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0

    def wait_seconds(self, attempt: int, draw: float) -> float:
        """Doubling, between half and all of it by `draw` in [0, 1), so that items do not come back together."""
        full = min(self.first_wait_seconds * 2.0 ** (attempt - 1), self.longest_wait_seconds)
        return full * (0.5 + draw / 2)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job's results go."""

    store: Store
    folder: str
    """Start of every key: empty, or ending in a slash."""

    def item_key(self, item: Item) -> str:
        """Key of an item's result."""
        return keys.item(self.folder, item.id, item.request.encoding)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes items of one job. Safe for many threads."""

    place: Place
    backend: Backend
    inputs: Inputs
    ledger: Ledger
    tally: Tally
    retry: Retry
    stop: threading.Event
    submitted: dict[str, ManifestItem] = field(default_factory=dict)
    """Records of items that a provider was asked for and has not declined."""
    choices: dict[str, Chosen] = field(default_factory=dict)
    """By item: who was chosen last to make it, of a class's backends."""

    def make(self, item: Item) -> EaselError | None:
        """Makes and stores the item; its error when it is given up.

        Raises `Cancelled` when the job stops and `JobFault` when the job cannot go on.
        """
        for attempt in range(1, self.retry.attempts + 1):
            error = self._try(item, attempt)
            if error is None:
                return None
            failure = LastFailure(error, item.id, attempt)
            if not error.retryable or attempt == self.retry.attempts:
                return self._give_up(item, failure)
            self.tally.stopped(item.id, failure)
            _log.warning("item %s: attempt %d failed: %s", item.id, attempt, error.reason)
            self.stop.wait(self.retry.wait_seconds(attempt, random.random()))  # noqa: S311 - jitter
        raise AssertionError("an item has at least one attempt")

    def _try(self, item: Item, attempt: int) -> EaselError | None:
        self.tally.started(item.id)
        try:
            result = self.backend.generate(
                item.request, self.inputs, lambda message: self._hear(item, message), self.stop
            )
            self._verify(item, result)
            self._keep(item, result, attempt)
        except (Cancelled, JobFault):
            self.tally.stopped(item.id)
            raise
        except EaselError as error:
            if error.blame == "platform":
                self.tally.stopped(item.id)
                raise JobFault(error) from error
            return error
        return None

    def _verify(self, item: Item, result: Result) -> None:
        try:
            verify(item.request, self.inputs, result)
        except BadOutput as error:
            if result.paid is None:
                raise
            raise BilledBadOutput(error.what, where=error.where, found=error.found) from error

    def _hear(self, item: Item, message: Message) -> None:
        match message.event:
            case StepDone(step=step, steps=steps):
                self.tally.stepped(item.id, step, steps)
            case Chosen() as choice:
                self.choices[item.id] = choice
                self.tally.chosen(item.id, choice)
            case Submitted() as call:
                self._submit(item, call)
            case Handed(handle=handle):
                self._hand(item, handle)
            case Withdrawn():
                self._withdraw(item)
            case Preview():
                self._keep_preview(item, message.payload)
            case _:
                pass

    def _submit(self, item: Item, call: Submitted) -> None:
        """In the stored manifest before the call is made: whoever finds it there never asks again."""
        record = self._base(item).model_copy(
            update={"state": ItemState.SUBMITTED, "backend": call.backend, "cost": call.price}
        )
        self.submitted[item.id] = record
        self.tally.paid(item.id, call.price)
        try:
            self.ledger.write(record)
        except EaselError as error:
            self._withdraw(item)
            raise JobFault(error) from error

    def _hand(self, item: Item, handle: str) -> None:
        """In the stored manifest before the first question: whoever finds it there asks on, and never again for the item."""
        record = self.submitted[item.id] = self.submitted[item.id].model_copy(update={"remote": handle})
        try:
            self.ledger.write(record)
        except EaselError as error:
            raise JobFault(error) from error

    def _withdraw(self, item: Item) -> None:
        self.submitted.pop(item.id, None)
        self.tally.paid(item.id, None)
        self.ledger.forget([item.id])
        with contextlib.suppress(EaselError):  # it stays as submitted then, and is not asked for again after a crash
            self.ledger.flush()

    def _keep_preview(self, item: Item, payload: bytes) -> None:
        key = keys.preview(self.place.folder, item.id)
        try:
            self.place.store.put(key, payload, "image/jpeg")
        except EaselError as error:  # a preview is not worth an item
            _log.warning("item %s: preview not stored: %s", item.id, error.reason)

    def _keep(self, item: Item, result: Result, attempt: int) -> None:
        """Announces the bytes in the manifest, writes and reads them back, confirms them."""
        key = self.place.item_key(item)
        call = self.submitted.get(item.id)
        # With its handle while the object may not be there: whoever takes over asks the provider for it again.
        base, remote = self._base(item), call.remote if call else None
        record = _record(base, result, attempt, key, self.place.store.uri(key), remote)
        assert record.delivered is not None  # noqa: S101 - for the type checker: _record always sets it
        try:
            self.ledger.write(record)
            self._put(key, result, record.delivered.media_type)
            self.ledger.note(record.model_copy(update={"state": ItemState.SUCCEEDED, "remote": None}))
        except (BadOutput, BilledBadOutput):
            raise
        except EaselError as error:
            raise JobFault(error) from error
        if record.cost is not None:
            self.tally.paid(item.id, record.cost)
        self.tally.stored(StoredResult(item.id, record.seed, record.delivered, record.choice))
        _log.info("item %s: stored %d bytes (attempt %d)", item.id, record.delivered.bytes, attempt)

    def _put(self, key: str, result: Result, media_type: str) -> None:
        """What was paid for is put again where the store gives other bytes back; it is never made again."""
        for left in reversed(range(self.retry.attempts if result.paid else 1)):
            try:
                put_checked(self.place.store, key, result.payload, media_type)
            except BadOutput as error:
                if result.paid is None:
                    raise
                if not left:
                    raise BilledBadOutput(error.what, where=error.where, found=error.found) from error
            else:
                return

    def _give_up(self, item: Item, failure: LastFailure) -> EaselError:
        error = failure.error.to_report()
        record = self._base(item).model_copy(update={"error": error, "attempts": failure.attempt})
        call = self.submitted.get(item.id)
        if call is not None:
            record = record.model_copy(update={"backend": call.backend, "cost": call.cost, "remote": call.remote})
        self.ledger.note(record)
        self.tally.failed(failure)
        _log.error("item %s: given up after %d attempts: %s", item.id, failure.attempt, failure.error.reason)
        return failure.error

    def _base(self, item: Item) -> ManifestItem:
        """What is known of an item before its end; of a call that an earlier worker made, why it was made there."""
        call = self.submitted.get(item.id)
        choice = self.choices.get(item.id) or (call.choice if call else None)
        return _base(item) if choice is None else _base(item).model_copy(update=choice.model_dump(exclude={"kind"}))


def _record(base: ManifestItem, result: Result, attempt: int, key: str, uri: str, remote: str | None) -> ManifestItem:
    finished = result.finished
    delivered = Delivered(
        uri=uri,
        key=key,
        sha256=finished.sha256,
        bytes=len(result.payload),
        media_type=finished.media_type,
        width=finished.width,
        height=finished.height,
        frames=finished.frames,
        fps=finished.fps,
        steps=finished.steps,
        computed_steps=finished.computed_steps,
        quality=finished.quality,
        reproducible=finished.reproducible,
        model_digest=finished.model_digest,
        dtype=finished.dtype,
        device=finished.device,
        threads=finished.threads,
        versions=finished.versions,
        adapters=finished.adapters,
        timings=finished.timings,
        reused=finished.reused,
    )
    told = {"state": ItemState.STORING, "delivered": delivered, "attempts": attempt, "backend": result.backend}
    told["remote"] = remote
    if result.paid is not None:
        price, losses = result.paid.price, result.paid.resolved.losses
        told["cost"] = "" if price is None else in_words(price)
        told["adapted"] = tuple(Adapted(field=each.field, asked=each.asked, resolved=each.resolved) for each in losses)
    return base.model_copy(update=told)


def _base(item: Item) -> ManifestItem:
    request = item.request
    return ManifestItem(
        id=item.id,
        state=ItemState.FAILED,
        prompt=request.prompt,
        negative=request.negative_prompt,
        variables=dict(item.variables),
        seed=request.seed,
        requested=Requested(
            width=request.width,
            height=request.height,
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            strength=request.strength,
            frames=request.frames,
            fps=request.fps,
            end=request.end_prompt,
            search=request.search_prompt,
            end_seed=request.end_seed,
            adapters=request.adapters,
            mask_colours=request.mask_colours,
            expand=request.expand,
            scale=request.scale,
            truncation=request.truncation,
            quality=request.quality,
            reproducible=request.reproducible,
        ),
    )
