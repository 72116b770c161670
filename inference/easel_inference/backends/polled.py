"""A call that gives a handle, by which its result is asked for until it is there.

What every family of that kind does alike: the handle is kept before the first question; a question that fails is asked again, since it is
free; a process that stops leaves the call where it is, and the next one goes on by the handle. Nothing here submits twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from easel_api.errors import AmbiguousSubmit, AuthConfig, BilledBadOutput, Cancelled, EaselError, Throttled, Transient
from easel_inference.generation import Accepted, GenerationRequest, Handed, Inputs, Message, StepDone

from .base import Expired, OnEvent, Result, StillOut
from .delivered import check_format, delivered

_log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS, GROWTH = 1.0, 10.0, 1.5
"""Between two questions."""
PATIENCE_SECONDS = 3600.0
"""Behind the submission; the longest clips take a quarter of it, and queues count as well."""
LONGEST_REST_SECONDS = 60.0
RENEWAL_SECONDS = 300.0
"""For how long a key may be refused before a call that is out is given up. A kubelet has a renewed Secret in the pod within its sync period and
the age of its cache, two minutes by Kubernetes' defaults; the rest is for whoever writes the Secret."""
PERCENT = 100
_LOOKS = threading.BoundedSemaphore(4)
"""Questions at a time, of all clients: an answer that has the clip in it is in memory up to five times while it is read."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """It waits or is being made; `percent` where the provider says so."""

    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """It is done."""

    data: bytes
    """The encoded picture or clip."""
    seed: int | None = None
    """The one that the provider says it used."""
    cost: Decimal | None = None
    """What the provider says that it took, in US dollars."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended without a result; the error says why, and what became of the money, as those of `Backend.generate` do."""

    error: EaselError


def forgotten(model: str, found: str) -> Ended:
    """What it means that the provider knows no such call any more, whose handle it gave itself."""
    return Ended(
        AmbiguousSubmit(
            "the provider knows the call no more, and may have billed it",
            where=model,
            found=found,
            fix="Look at the account's usage before the item is asked for again",
        )
    )


class Remote(Protocol):
    """What a family does for `Polled`: three requests."""

    model: str
    """Of the manifest, as `runway/gen4.5`."""
    provider: str
    """Of the manifest, as `Runway`."""

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str | Made:
        """Makes the paid call, once, and returns its handle, or what was made where the answer came at once.

        `request.id` is unique to the call, for APIs that take a token of one's own. A family that finds a call again by that
        token announces it as a handle before it calls. Errors say what became of the money, as those of `Backend.generate`.
        """
        ...

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks how it is, and fetches what is done.

        Raises what is wrong with the asking, not with the call: `Transient` and `Throttled` have it asked again, and `AuthConfig` for as
        long as a Secret may take to bring another key; behind any other error nobody knows what became of the call, unless it is `BilledBadOutput`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a provider is asked, in seconds."""

    first: float = FIRST_SECONDS
    longest: float = LONGEST_SECONDS
    patience: float = PATIENCE_SECONDS


class Polled:
    """A backend of such calls; safe for many threads when its `Remote` is. `Resumable`."""

    def __init__(self, name: str, remote: Remote, pace: Pace | None = None) -> None:
        """`name` is what the manifest calls the backend."""
        self._name, self._remote, self._pace = name, remote, pace or Pace()

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`."""
        check_format(request)
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        found = self._remote.submit(request, inputs, lambda known: on_event(Message(Handed(handle=known))))
        if isinstance(found, Made):
            return self._result(found, request, began)
        on_event(Message(Handed(handle=found)))
        return self.resume(found, request, on_event, stop)

    def resume(self, handle: str, request: GenerationRequest, on_event: OnEvent, stop: threading.Event) -> Result:
        """Waits for the result of a call; see `Resumable`."""
        began, wait = time.monotonic(), self._pace.first
        denied: float | None = None  # since when
        while True:
            try:
                found, rest = self._look(handle)
                denied = None
            except AuthConfig as error:
                if denied is None:
                    denied = time.monotonic()
                    _log.warning("%s: asked again with whatever key the Secret has: %s", self._remote.model, error)
                elif time.monotonic() - denied > RENEWAL_SECONDS:
                    raise self._unknown(handle, error) from error
                found, rest = Unfinished(), 0.0
            if isinstance(found, Ended):
                raise found.error
            if isinstance(found, Made):
                return self._result(found, request, began)
            if found.percent is not None:
                on_event(Message(StepDone(step=min(found.percent, PERCENT), steps=PERCENT)))
            if time.monotonic() - began > self._pace.patience:
                raise AmbiguousSubmit(
                    "the provider has not finished it, and may bill it",
                    where=self._remote.model,
                    found=f"{self._pace.patience:.0f} s behind the call",
                    fix=f"Look at the account: the provider calls it {handle[:200]}",
                )
            if stop.wait(max(wait, rest)):
                raise StillOut("stopped on request; the provider goes on", where=self._remote.model)
            wait = min(wait * GROWTH, self._pace.longest)

    def _result(self, made: Made, request: GenerationRequest, began: float) -> Result:
        result = delivered(
            self._name,
            request,
            made.data,
            model=self._remote.model,
            provider=self._remote.provider,
            seconds=time.monotonic() - began,
            seed=made.seed,
        )
        return replace(result, billed=made.cost)

    def _look(self, handle: str) -> tuple[Unfinished | Made | Ended, float]:
        """What is known, and how long the provider asks to be left alone, in seconds."""
        try:
            return self._fresh(handle), 0.0
        except Throttled as error:
            return Unfinished(), min(error.retry_after or 0.0, LONGEST_REST_SECONDS)
        except (Transient, AmbiguousSubmit) as error:  # of the question, which is free
            _log.info("%s: asked again: %s", self._remote.model, error.reason)
            return Unfinished(), 0.0
        except (BilledBadOutput, AuthConfig):
            raise
        except EaselError as error:
            raise self._unknown(handle, error) from error

    def _unknown(self, handle: str, error: EaselError) -> AmbiguousSubmit:
        return AmbiguousSubmit(
            "the provider does not say what became of the call",
            where=self._remote.model,
            found=f"{error.reason}: {error.what}",
            fix=". ".join(filter(None, (error.fix, f"Look at the account: the provider calls it {handle[:200]}"))),
        )

    def _fresh(self, handle: str) -> Unfinished | Made | Ended:
        """With a new address for a result whose first one was no longer good."""
        try:
            return self._asked(handle)
        except Expired:
            try:
                return self._asked(handle)
            except Expired as error:
                raise BilledBadOutput(
                    "the result is gone from where the provider kept it", where=self._remote.model, found=error.found
                ) from error

    def _asked(self, handle: str) -> Unfinished | Made | Ended:
        with _LOOKS:
            return self._remote.look(handle)


class CancellablePolled(Polled):
    """One whose provider stops calls that are under way."""

    def __init__(self, name: str, remote: Remote, cancel: Callable[[str], None], pace: Pace | None = None) -> None:
        """`cancel` asks the provider to stop the call of a handle."""
        super().__init__(name, remote, pace)
        self._cancel = cancel

    def cancel(self, handle: str) -> None:
        """See `Cancellable`."""
        self._cancel(handle)
