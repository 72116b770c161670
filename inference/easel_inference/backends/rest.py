"""A provider's own HTTP API: one paid call, never repeated by itself, and what its end means for the money.

Questions that cost nothing may be asked again, and a result is fetched from where the provider says that it lies, unless that is within
the network of whoever asks.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
from collections.abc import Callable, Mapping
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
    Unsupported,
)
from easel_inference.backends.base import GAVE_UP, Expired, answer_lost, gave_up
from easel_inference.backends.connections import ENDPOINT, Pool, address, check, named, trusting

CONNECT_SECONDS, READ_SECONDS = 10.0, 300.0
LARGEST_ANSWER = 150 * 2**20
"""Bytes: a file of the largest size, in base64."""
HTTPS = 443
GONE = frozenset({401, 403, 404, 410})
"""What an address says behind its time."""

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""With the key; a function where a token has to be renewed, which raises `AuthConfig` when there is none."""


def renewed(make: Callable[[], Mapping[str, str]]) -> Headers:
    """Headers that are made for each request, since a Secret may be given another key meanwhile; raises at once what they raise now."""
    make()
    return make


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            told = json.loads(self.body)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


class Rest:
    """One API. Safe for many threads."""

    def __init__(
        self, name: str, base: str, headers: Headers, authority: str | None = None, *, where: str = ENDPOINT
    ) -> None:
        """`name` is what errors call it, and `where` the field that names its endpoint; `headers` hold the key, which no error shows.

        Raises `EnvironmentFault` or `AuthConfig` for an endpoint or an authority that nothing can be sent by.
        """
        check(base, where)
        self._name, self._base, self._headers, self._where = name, base.rstrip("/"), headers, where
        self._http = urllib3.PoolManager(
            ssl_context=trusting(authority),
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            maxsize=16,
        )
        self._http.pool_classes_by_scheme = {"https": Pool}

    def form(self, path: str, fields: Mapping[str, Any], model: str) -> Answer:
        """Sends a paid call as a form with files as `(name, bytes, media type)`; raises what kept it from an answer."""
        body, media_type = urllib3.encode_multipart_formdata(list(fields.items()))
        return self._sent("POST", path, body, media_type, model)

    def post(self, path: str, body: Mapping[str, Any], model: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a paid call as JSON; raises what kept it from an answer."""
        return self._sent("POST", path, json.dumps(body).encode(), "application/json", model, headers)

    def ask(self, method: str, path: str, model: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Sends what costs nothing, so that a lost answer is `Transient`. `path` may be a whole URL of the API itself."""
        sent = None if body is None else json.dumps(body).encode()
        return self._sent(method, path, sent, "application/json", model, free=True)

    def _sent(
        self,
        method: str,
        path: str,
        body: bytes | None,
        media_type: str,
        model: str,
        headers: Mapping[str, str] | None = None,
        *,
        free: bool = False,
    ) -> Answer:
        own = self._headers() if callable(self._headers) else self._headers
        told = {**own, **(headers or {}), **({} if body is None else {"Content-Type": media_type})}
        url = path if path.startswith("https://") else f"{self._base}{path}"
        try:
            return self._answer(self._http, method, url, body, told, model)
        except EaselError as error:
            raise named(error, self._where) from None
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise self._broken(error, model, free=free) from None

    def _answer(
        self, http: Any, method: str, url: str, body: bytes | None, headers: Mapping[str, str], model: str
    ) -> Answer:
        response = http.request(method, url, body=body, headers=headers, redirect=False, preload_content=False)
        data = response.read(LARGEST_ANSWER + 1)
        response.release_conn()
        if len(data) > LARGEST_ANSWER:
            raise BilledBadOutput(
                f"{self._name}'s answer is too large", where=model, found=f"over {LARGEST_ANSWER} bytes"
            )
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)

    def owns(self, url: str) -> bool:
        """Whether a URL is of this API's own host, so that the key may go there."""
        there, own = address(url), address(self._base)
        return (
            there is not None
            and own is not None
            and ((there.host, there.port or HTTPS) == (own.host, own.port or HTTPS))
        )

    def fetch(self, url: str, model: str) -> bytes:
        """A result that the provider says lies at `url`; without the key.

        Raises `Transient` for what may be tried again, `Expired` when it is no longer there, `BilledBadOutput` for an address that is
        neither the API's own nor public: a provider never has a result within the network of whoever asks.
        """
        there = address(url)
        if there is None or there.host is None:
            raise elsewhere(self._name, model, "no https URL of a host")
        try:
            if self.owns(url):
                answer = self._answer(self._http, "GET", url, None, {}, model)
            else:
                with self._public(there.host.strip("[]"), there.port or HTTPS, model) as http:
                    answer = self._answer(http, "GET", there.request_uri, None, {"Host": there.netloc or ""}, model)
        except EaselError:
            raise
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise self._broken(error, model, free=True) from None
        if answer.status in GONE:
            raise Expired(f"{self._name}'s result is no longer there", where=model, found=f"HTTP {answer.status}")
        if answer.status != 200:
            raise Transient(f"{self._name}'s result cannot be fetched", where=model, found=f"HTTP {answer.status}")
        return answer.body

    def _public(self, host: str, port: int, model: str) -> Pool:
        """Connections to the very address that was looked at: a name may mean another one a moment later."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(ipaddress.ip_address(each).is_global for each in addresses):
            raise elsewhere(self._name, model, "an address that is not public")
        return Pool(
            addresses[0],
            port,
            server_hostname=host,
            assert_hostname=host,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
        )

    def _broken(self, error: Exception, model: str, *, free: bool) -> EaselError:
        match error:
            case urllib3.exceptions.NewConnectionError() | urllib3.exceptions.ConnectTimeoutError():
                return Transient(f"{self._name} cannot be reached", where=model, found=type(error).__name__)
            # Everything else may break behind the request.
            case urllib3.exceptions.HTTPError() | OSError() | ssl.SSLError():
                lost = answer_lost(error, model)
                return Transient(f"{self._name}'s answer was lost", where=model, found=lost.found) if free else lost
            case _:
                raise error


def elsewhere(name: str, model: str, found: str) -> BilledBadOutput:
    """What it means that a result is said to lie where it is not fetched from; the place itself, which may be a secret, is not shown."""
    return BilledBadOutput(f"{name} names a result where none can be", where=model, found=found)


def refused(name: str, answer: Answer, model: str, *, free: bool = False) -> EaselError:
    """What a status means that every API uses alike; the body, which may repeat the prompt, is not shown.

    Of a question that costs nothing (`free`) a gateway that gave up is `Transient`.
    """
    found = f"HTTP {answer.status}"
    match answer.status:
        case 401 | 403:
            return AuthConfig(f"{name} refused the key", where="spec.credentials", found=found, fix="Check the key")
        case 402:
            return QuotaExhausted(f"the account at {name} has no credit left", where=model, found=found, fix="Add some")
        case 404 | 410:
            return ModelRetired(f"{name} serves no such model", where=model, found=found, fix="See docs/providers.md")
        case 413:
            return Unsupported(f"{name} takes no request as large", where=model, found=found)
        case 400 | 422:
            return InvalidInput(f"{name} takes no such request", where=model, found=found)
        case 429:
            return Throttled(f"{name} asks to slow down", where=model, found=found, retry_after=_seconds(answer))
        case status if status in GAVE_UP and not free:
            return gave_up(name, status, model)
        case status if status >= 500 or status in GAVE_UP:
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
