"""What Google's model services have in common: who pays, a token that is good now, and what an error means.

google-auth asks for the tokens and signs for them; it is used for nothing else, so that a paid call is sent once. A question for a token
costs nothing, and whatever happens to it nothing was sent to the model. Errors have the shape of google.rpc.Status:
`{error: {code, status, message, details}}`.

By cloud.google.com (Agent Platform, generative AI pricing) only requests that end with 200 are charged; a 502 or 504 may be one of a gateway before
a request that ends well, and counts as billed.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any

from easel_api.errors import (
    AuthConfig,
    BadOutput,
    Cancelled,
    ContentBlocked,
    EaselError,
    InvalidInput,
    QuotaExhausted,
    Throttled,
    Transient,
)
from easel_api.offers import MILLIONTH, Unit, WireFamily
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import Accepted, Message
from easel_inference.routing.price import CURRENCY, MILLION, estimate
from easel_inference.routing.request import Request

from . import rest
from .base import OnEvent, Renewed, Setup, certificate_untrusted
from .cloud_storage import Bucket, bucket
from .connections import trusting
from .rest import Answer, Rest

NAME = "Google"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
KEY = "SERVICE_ACCOUNT_JSON"
MULTI_REGIONS = ("us", "eu")
INT32 = 2**31 - 1
TOKEN_SECONDS = 30.0
"""For which the answer with a token is waited for; every call of the worker waits with it."""
MOST_TOKENS = 10**9
"""In one answer; one that says more is not believed."""
TEXT = {
    "gemini-3.1-flash-image": ("0.50", "3"),
    "gemini-3.1-flash-lite-image": ("0.25", "1.50"),
    "gemini-3-pro-image": ("2", "12"),
    "gemini-nano-banana-2.1": ("1.50", "7.50"),
    "gemini-2.5-flash-image": ("0.30", "2.50"),
    "gemini-omni-1.1-flash": ("1.50", "9"),
}
"""What a million tokens cost that go in, and of words and thoughts that come out, in US dollars; of pictures and clips the catalogue says it.

From litellm 1.109.1 price list, the source of the catalogue's prices: `input_cost_per_token`, `output_cost_per_token` and, where it has one,
`output_cost_per_reasoning_token`, which is the same; read on 2026-11-29. It has no gemini-omni-1.2-flash. Tokens from a cache are cheaper, and
are counted as if they were not.
"""

BLOCKED = re.compile(
    r"responsible ai|usage guidelines|safety (filter|polic|setting)|sensitive words|prohibited (use|content)"
    r"|content polic|violates? .{0,40}polic|\b58061214\b",
    re.IGNORECASE,
)
"""How messages of INVALID_ARGUMENT and of failed operations say that a policy held something back; there is no code for it."""
_STATUS = re.compile(r"[A-Z_]{2,40}")


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    """Who pays, and where it is asked."""

    api: Rest
    project: str
    region: str
    bucket: Bucket | None = None
    """For results, where the Provider names one."""

    @property
    def place(self) -> str:
        """`projects/studio/locations/us-central1`."""
        return f"projects/{self.project}/locations/{self.region}"


def account(setup: Setup) -> GoogleAccount:
    """The account of a Provider's service account key, or of the worker's own identity; `AuthConfig` for a key that is none."""
    kept = Renewed(setup, (KEY,), lambda: _service_account(setup) if setup.spec.credentials.secret_ref else _identity())
    project = setup.spec.project or kept()[1]
    if not project:
        raise AuthConfig(
            "nobody says which project pays", where="spec.project", fix="Name the project of Google Cloud that pays"
        )
    region = setup.spec.region or ""
    tokens = Tokens(lambda: kept()[0], setup.authority)
    api = Rest(NAME, setup.spec.endpoint or host(region), tokens, setup.authority)
    return GoogleAccount(api, project, region, bucket(setup, tokens))


def host(region: str) -> str:
    """Where the models of a region are."""
    if region == "global":
        return "https://aiplatform.googleapis.com"
    if region in MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


class Tokens:
    """Headers with a token that is good now. Safe for many threads."""

    def __init__(self, credentials: Callable[[], Any], authority: str | None) -> None:
        """`credentials` gives google-auth's that hold now; `authority` is trusted beside the public ones, which Google's own token endpoint needs."""
        import urllib3
        from google.auth.transport.urllib3 import Request

        pool = urllib3.PoolManager(
            ssl_context=trusting(authority, public=True),
            timeout=urllib3.Timeout(connect=rest.CONNECT_SECONDS, read=TOKEN_SECONDS),
            retries=False,
        )
        self._request = Request(pool)  # type: ignore[no-untyped-call] # google-auth comes without types
        self._credentials, self._lock = credentials, threading.Lock()

    def __call__(self) -> Mapping[str, str]:
        """Raises `AuthConfig` when the credentials are refused, `Transient` or `EnvironmentFault` when nobody can be asked."""
        with self._lock:
            credentials = self._credentials()
            if not credentials.valid:
                try:
                    credentials.refresh(self._request)
                except Exception as error:  # noqa: BLE001 - what is no error of a question for a token is raised again
                    raise _untold(error) from None
            return {"Authorization": f"Bearer {credentials.token}"}


def _service_account(setup: Setup) -> tuple[Any, str]:
    from google.oauth2.service_account import Credentials

    kept = setup.file(KEY)
    try:
        told = json.loads(kept)
        if not str(told["token_uri"]).startswith("https://") or not isinstance(told["client_email"], str):
            raise ValueError("nobody, or a token endpoint without TLS")
        made = Credentials.from_service_account_info(told, scopes=[SCOPE])  # type: ignore[no-untyped-call] # as above
    except Exception:  # noqa: BLE001 - whatever the file holds, and it holds a private key
        secret = setup.spec.credentials.secret_ref
        raise AuthConfig(
            f"the Secret's key {KEY} is {'no key of a service account' if kept else 'missing'}",
            where="spec.credentials.secretRef",
            found=f"Secret {secret.name if secret else ''}",
            fix=f"Give the Secret a key {KEY} with the JSON that Google Cloud made for the service account",
        ) from None
    return made, str(told.get("project_id") or "")


def _identity() -> tuple[Any, str]:
    from google.auth.compute_engine import Credentials

    return Credentials(scopes=[SCOPE]), ""  # type: ignore[no-untyped-call] # as above


def _untold(error: Exception) -> EaselError:
    """What google-auth raised, in our words; its text may hold an assertion. Raises what is no error of a question."""
    from google.auth.exceptions import GoogleAuthError, TransportError

    if not isinstance(error, GoogleAuthError):
        raise error
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return certificate_untrusted(error)
    if isinstance(error, TransportError) or error.retryable:
        return Transient("Google gives no token", where="spec.credentials", found=type(error).__name__)
    return AuthConfig(
        "Google gives no token",
        where="spec.credentials",
        found=type(error).__name__,
        fix="Check the service account's key, or the worker's identity on GKE",
    )


def called(
    account: GoogleAccount, path: str, body: Mapping[str, Any], model: str, on_event: OnEvent, stop: threading.Event
) -> tuple[Answer, float]:
    """Makes a call whose answer is the result; the answer, whatever its status, and when the call began, by the monotonic clock.

    One that was sent cannot be stopped: it is waited for, since it is paid for. `Cancelled` when it was stopped before.
    """
    if stop.is_set():
        raise Cancelled("stopped on request")
    on_event(Message(Accepted()))
    began = time.monotonic()
    return account.api.post(path, body, model), began


def refused(answer: Answer, model: str) -> EaselError:
    """What an answer other than 200 means; of its body the status alone is shown."""
    told = answer.json().get("error")
    told = told if isinstance(told, dict) else {}
    said, message = str(told.get("status", "")), str(told.get("message", ""))
    found = f"HTTP {answer.status}" + (f" {said}" if _STATUS.fullmatch(said) else "")
    listed = told.get("details")
    details = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    match answer.status:
        case 400 if BLOCKED.search(message):
            return ContentBlocked("a safety policy of the provider refused it", where=model, found=found)
        case 403 if any(each.get("reason") == "BILLING_DISABLED" for each in details):
            return QuotaExhausted(
                "the project at Google does not pay", where="spec.project", found=found, fix="Enable its billing"
            )
    error = rest.refused(NAME, answer, model)
    if isinstance(error, Throttled) and error.retry_after is None:
        error.retry_after = next(filter(None, map(_delay, details)), None)
    return error


def _delay(detail: Mapping[str, Any]) -> float | None:
    """Seconds of a google.rpc.RetryInfo, which Google sends in place of Retry-After."""
    found = re.fullmatch(r"([0-9]{1,5}(?:[.][0-9]{1,9})?)s", str(detail.get("retryDelay", "")))
    return float(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer says it took."""

    made: int
    """Of pictures or clips."""
    read: int = 0
    """Of whatever went in."""
    written: int = 0
    """Of words and thoughts that came out."""


def usage(made: tuple[int, int] | None, read: int | None, thought: int | None) -> Usage | None:
    """Of what came out, as `by_modality` tells it, what went in, and thoughts; None when one of them is not told."""
    if made is None or read is None or thought is None:
        return None
    return Usage(made[0], read, made[1] + thought)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What the tokens of a model cost, in US dollars for a million."""

    made: Decimal
    text: tuple[Decimal, Decimal] | None
    """Of what goes in, and of words and thoughts; None: nobody says."""
    known: Decimal | None
    """What was known of a result before its call, in US dollars."""

    def cost(self, usage: Usage | None) -> Decimal | None:
        """In US dollars; None when the answer does not say what its result took. Where text has no price, no less than was known before."""
        if usage is None or not usage.made:
            return None
        read, written = self.text or (Decimal(0), Decimal(0))
        amount = (usage.made * self.made + usage.read * read + usage.written * written) / MILLION
        told = amount.quantize(MILLIONTH, rounding=ROUND_UP)
        return told if self.text is not None or self.known is None else max(told, self.known)


def tariff(setup: Setup) -> Tariff | None:
    """What a model's answers are counted by; None: nobody says what its pictures or clips cost."""
    offer = offer_of(setup.spec, setup.model)
    rows = offer.prices if offer else ()
    made = [row.amount for row in rows if row.per is Unit.MILLION_TOKENS and row.currency == CURRENCY]
    if offer is None or not made:
        return None
    text = TEXT.get(setup.model)
    task = Task.TEXT_TO_VIDEO if setup.spec.family is WireFamily.VERTEX_INTERACTIONS else Task.TEXT_TO_IMAGE
    known = estimate(offer, Request(task), setup.resolved)
    return Tariff(max(made), (Decimal(text[0]), Decimal(text[1])) if text else None, known)


def counted(*counts: object) -> int | None:
    """The sum of what an answer counts, where a count that is left out is none; None when one is no number of tokens."""
    found = [0 if each is None else each for each in counts]
    numbers = [each for each in found if isinstance(each, int) and 0 <= each <= MOST_TOKENS]
    return sum(numbers) if len(numbers) == len(found) else None


def by_modality(listed: object, name: str, count: str) -> tuple[int, int] | None:
    """Tokens of one modality and of all others; None when they are not told. `count` is the field that holds them."""
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        return None
    ours = counted(*(each.get(count) for each in listed if each.get("modality") == name))
    others = counted(*(each.get(count) for each in listed if each.get("modality") != name))
    return (ours, others) if ours and others is not None else None


def media_type(data: bytes | None, part: str) -> str:
    """Of an input, which Google wants named."""
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{part}", fix="Add it")
    try:
        return read_header(data).media_type
    except BadOutput as error:
        raise InvalidInput("neither a picture nor a clip", where=f"spec.inputs.{part}", found=error.found) from None
