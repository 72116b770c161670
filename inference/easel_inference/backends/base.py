"""The Backend protocol: one item in, events, one result out; and what a provider's client can do beside that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event as Flag
from typing import Generic, Protocol, TypeVar, runtime_checkable

from easel_api.errors import AmbiguousSubmit, AuthConfig, Cancelled, ContentBlocked, EnvironmentFault, Transient
from easel_api.provider import ProviderOffer, ProviderSpec
from easel_inference.generation import Finished, GenerationRequest, Inputs, Message
from easel_inference.routing.request import Resolved

OnEvent = Callable[[Message], None]
T = TypeVar("T")

GAVE_UP = frozenset({408, 499, 502, 504, 520, 521, 522, 523, 524})
"""Statuses of a gateway that waits no longer for what stands behind it, which may go on and be billed; from 520 on they are Cloudflare's. 503 is
none of them: providers say by it that they are overloaded, and that is waited out."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a provider was asked for, and what it costs."""

    resolved: Resolved
    price: Decimal | None
    """In US dollars; None: nobody knows."""


class PaidBlock(ContentBlocked):
    """Held back behind the work, which the provider bills."""


class StillOut(Cancelled):
    """This process stops; the call goes on at the provider, and its handle is kept."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a backend made, with its encoded bytes, and who made it."""

    finished: Finished
    payload: bytes
    backend: str
    paid: Paid | None = None
    """Of a provider."""
    billed: Decimal | None = None
    """What the provider says that it took, in US dollars; None: it says nothing, and the price known before holds."""


class Backend(Protocol):
    """Makes items. Safe to call from many threads at once."""

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: Flag) -> Result:
        """Makes one item and blocks until it is there.

        `on_event` hears of everything but the result. When `stop` is set the request is cancelled at the backend and
        `Cancelled` raised. A retryable error means that this attempt is over; waiting until a backend can take the
        request is part of the attempt and bounded by the backend itself, which then raises `EnvironmentFault`.
        """
        ...


class Expired(Transient):
    """A result's address is no longer good, and the next answer may name a new one; never leaves `backends`."""


@runtime_checkable
class Resumable(Protocol):
    """A client whose calls go on without it: they announce themselves by `Handed`."""

    def resume(self, handle: str, request: GenerationRequest, on_event: OnEvent, stop: Flag) -> Result:
        """Waits for the result of a call that an earlier process made; never makes it again. Raises as `generate` does."""
        ...


@runtime_checkable
class Cancellable(Protocol):
    """A client whose provider stops calls that are under way."""

    def cancel(self, handle: str) -> None:
        """Asks the provider to stop; what it has begun may be billed. Raises when it cannot be asked."""
        ...


class Indexer(Protocol):
    """A service that says what a clip shows. Safe to call from many threads at once."""

    def price(self, seconds: float) -> Decimal:
        """What a clip of that length costs, in US dollars."""
        ...

    def begin(self, token: str, clip: bytes) -> str:
        """Hands the clip in under a token, and returns what the service knows it by.

        It is paid for; errors say what became of the money, as those of `Backend.generate` do.
        """
        ...

    def find(self, token: str) -> str | None:
        """What the service knows the clip by that was handed in under a token; None when it has none."""
        ...

    def look(self, handle: str) -> bytes | None:
        """What the clip shows, as JSON; None while it is looked at.

        Raises `Transient` and `AmbiguousSubmit` for a question that may be asked again; behind any other error nothing will come.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a client of one model is made from."""

    name: str
    """What the manifest calls the backend: `bedrock-west/stability.stable-image-core-v1:1`."""
    spec: ProviderSpec
    model: str
    resolved: Resolved
    """What the plan made of the job's size and length."""
    secret: Path
    """Where the Provider's Secret is mounted; no folder when it names none."""
    authority: str | None = None
    """Path of the certificates that an endpoint of one's own is trusted by."""

    @property
    def offer(self) -> ProviderOffer:
        """What the Provider says of the model."""
        return next(each for each in self.spec.offers if each.model == self.model)

    @property
    def deployment(self) -> str:
        """What the account calls the model: an endpoint or a deployment of its own, or the model's id."""
        return self.offer.deployment or self.model

    def key(self, name: str) -> str:
        """A key of the Secret; `AuthConfig` when it is missing or cannot be one."""
        value = self.file(name).strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            secret = self.spec.credentials.secret_ref.name if self.spec.credentials.secret_ref else ""
            raise AuthConfig(
                f"the Secret's key {name} is {'malformed' if value else 'missing'}",
                where="spec.credentials.secretRef",
                found=f"Secret {secret}",
                fix=f"Give the Secret a key {name} with nothing but the key itself in it",
            )
        return value

    def file(self, name: str) -> str:
        """A key of the Secret as it is; empty when there is none."""
        try:
            return (self.secret / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""


class Renewed(Generic[T]):
    """What is made from keys of the Secret, and made anew once they have changed: keys expire and are replaced while calls are out.

    Safe for many threads. Raises what making it raises, at first when it is made itself.
    """

    def __init__(self, setup: Setup, names: tuple[str, ...], make: Callable[[], T]) -> None:
        """`names` are those of the keys that `make` reads."""
        self._setup, self._names, self._make = setup, names, make
        self._lock = threading.Lock()
        self._kept, self._made = self._fresh()

    def __call__(self) -> T:
        """Of the keys as they are now."""
        with self._lock:
            if self._read() != self._kept:
                self._kept, self._made = self._fresh()
            return self._made

    def _fresh(self) -> tuple[tuple[str, ...], T]:
        """Of keys that belong together: a kubelet may put others in their place between two of them."""
        while True:
            kept, made = self._read(), self._make()
            if kept == self._read():
                return kept, made

    def _read(self) -> tuple[str, ...]:
        return tuple(self._setup.file(name) for name in self._names)


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


def gave_up(name: str, status: int, model: str) -> AmbiguousSubmit:
    """What one of `GAVE_UP` means of a paid call at a provider of that name."""
    return AmbiguousSubmit(
        f"a gateway before {name} gave up waiting, and it may be made and billed",
        where=model,
        found=f"HTTP {status}",
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
