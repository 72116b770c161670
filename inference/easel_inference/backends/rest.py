"""A provider's own HTTP API: one paid call, never repeated by itself, and what its end means for the money."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from easel_api.errors import (
    AuthConfig,
    BackendFault,
    BilledBadOutput,
    EaselError,
    InvalidInput,
    ModelRetired,
    QuotaExhausted,
    Throttled,
    Transient,
)
from easel_inference.backends.base import answer_lost, certificate_untrusted

CONNECT_SECONDS, READ_SECONDS = 10.0, 300.0
LARGEST_ANSWER = 100 * 2**20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes


class Rest:
    """One API. Safe for many threads."""

    def __init__(self, name: str, base: str, headers: Mapping[str, str], authority: str | None = None) -> None:
        """`name` is what errors call it; `headers` hold the key, which no error shows."""
        self._name, self._base, self._headers = name, base.rstrip("/"), dict(headers)
        self._http = urllib3.PoolManager(
            ca_certs=authority,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            maxsize=16,
        )

    def post(self, path: str, fields: Mapping[str, Any], model: str) -> Answer:
        """Sends a form with files as `(name, bytes, media type)`; raises what kept it from an answer."""
        body, media_type = urllib3.encode_multipart_formdata(list(fields.items()))
        headers = self._headers | {"Content-Type": media_type}
        try:
            response = self._http.request(
                "POST", f"{self._base}{path}", body=body, headers=headers, redirect=False, preload_content=False
            )
            data = response.read(LARGEST_ANSWER + 1)
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise self._broken(error, model) from None
        response.release_conn()
        if len(data) > LARGEST_ANSWER:
            raise BilledBadOutput(
                f"{self._name}'s answer is too large", where=model, found=f"over {LARGEST_ANSWER} bytes"
            )
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)

    def _broken(self, error: Exception, model: str) -> EaselError:
        cause = getattr(error, "reason", error)
        match error:
            case urllib3.exceptions.NewConnectionError() | urllib3.exceptions.ConnectTimeoutError():
                return Transient(f"{self._name} cannot be reached", where=model, found=type(error).__name__)
            case urllib3.exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(cause):
                return certificate_untrusted(error)
            # Everything else may break behind the request.
            case urllib3.exceptions.HTTPError() | OSError() | ssl.SSLError():
                return answer_lost(error, model)
            case _:
                raise error


def refused(name: str, answer: Answer, model: str) -> EaselError:
    """What a status means that every API uses alike; the body, which may repeat the prompt, is not shown."""
    found = f"HTTP {answer.status}"
    match answer.status:
        case 401 | 403:
            return AuthConfig(f"{name} refused the key", where="spec.credentials", found=found, fix="Check the key")
        case 402:
            return QuotaExhausted(f"the account at {name} has no credit left", where=model, found=found, fix="Add some")
        case 404 | 410:
            return ModelRetired(f"{name} serves no such model", where=model, found=found, fix="See docs/providers.md")
        case 400 | 413 | 422:
            return InvalidInput(f"{name} takes no such request", where=model, found=found)
        case 429:
            return Throttled(f"{name} asks to slow down", where=model, found=found, retry_after=_seconds(answer))
        case status if status >= 500:
            return Transient(f"{name} failed", where=model, found=found)
        case _:
            return BackendFault(f"{name} answered with something else", where=model, found=found)


def _seconds(answer: Answer) -> float | None:
    """Retry-After, as seconds or as a date by the answer's own clock; None when it says nothing that can be read."""
    text, now = answer.headers.get("retry-after", ""), answer.headers.get("date", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(now)).total_seconds())
    except (TypeError, ValueError):
        return None
