"""The Backend protocol: one item in, events, one result out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from threading import Event as Flag
from typing import Protocol

from easel_api.errors import AmbiguousSubmit, ContentBlocked, EnvironmentFault
from easel_inference.generation import Finished, GenerationRequest, Inputs, Message
from easel_inference.routing.plan import Refused
from easel_inference.routing.request import Resolved

OnEvent = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Paid:
    """What a provider was asked for, and what it costs."""

    resolved: Resolved
    price: Decimal | None
    """In US dollars; None: nobody knows."""


class PaidBlock(ContentBlocked):
    """Held back behind the work, which the provider bills."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a backend made, with its encoded bytes, and who made it."""

    finished: Finished
    payload: bytes
    backend: str
    paid: Paid | None = None
    """Of a provider."""
    passed_over: tuple[Refused, ...] = ()
    """Backends of the class that did not make it."""


class Backend(Protocol):
    """Makes items. Safe to call from many threads at once."""

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: Flag) -> Result:
        """Makes one item and blocks until it is there.

        `on_event` hears of everything but the result. When `stop` is set the request is cancelled at the backend and
        `Cancelled` raised. A retryable error means that this attempt is over; waiting until a backend can take the
        request is part of the attempt and bounded by the backend itself, which then raises `EnvironmentFault`.
        """
        ...


def work(request: GenerationRequest, default_side: int = 512) -> float:
    """How much work a request is, as steps × megapixels × frames; only ever compared with other requests."""
    pixels = (request.width or default_side) * (request.height or default_side)
    return request.steps * pixels / 2**20 * (request.frames or 1)


def answer_lost(error: Exception, model: str) -> AmbiguousSubmit:
    """What a paid call's broken connection means once the request may be out."""
    return AmbiguousSubmit(
        "the answer was lost, and the picture may have been made and billed",
        where=model,
        found=type(error).__name__,
        fix="Look at the account's usage before the item is asked for again",
    )


def certificate_untrusted(error: Exception) -> EnvironmentFault:
    """What a Provider's endpoint with a certificate of an unknown authority means; nothing was sent."""
    return EnvironmentFault(
        "the certificate of the endpoint is not trusted",
        where="spec.endpoint",
        found=type(error).__name__,
        fix="Check the endpoint, and the authority that it is trusted by",
    )
