"""Asks Prometheus over its HTTP API (`/api/v1/query`, https://prometheus.io/docs/prometheus/latest/querying/api/).

Every answer but one finite number that is not below zero is a reason: an autoscaler that takes no data for zero scales
a busy model away.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import aiohttp

from easel_operator.core.scaling.policy import Blind

SECONDS = 5.0
MAX_BYTES = 1 << 20


class HttpPrometheus:
    """Implements `ports.prometheus.Prometheus`; without a URL it says that there is none."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def demand(self, query: str) -> float | Blind:
        """The one number that the query gives, or why there is none."""
        if not self._url:
            return Blind("PrometheusNotConfigured", "the chart's value monitoring.prometheus.url is empty")
        try:
            async with self._open().post(
                f"{self._url}/api/v1/query", data={"query": query, "timeout": f"{SECONDS:.0f}s"}, allow_redirects=False
            ) as answer:
                return _understood(answer.status, await answer.content.read(MAX_BYTES))
        except TimeoutError:
            return self._unreachable(f"no answer within {SECONDS:.0f} s")
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(_in_words(error))

    def _unreachable(self, why: str) -> Blind:
        return Blind("PrometheusUnreachable", f"{self._url}: {why}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        return self._session


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0  # asyncio's own text names the address once more
        return os.strerror(number) if number > 0 else error.os_error.strerror or "cannot connect"
    return str(error) or type(error).__name__


def _understood(status: int, content: bytes) -> float | Blind:
    try:
        said = json.loads(content)
    except ValueError:
        return Blind("PrometheusUnreachable" if status >= 500 else "InvalidAnswer", f"HTTP {status} without JSON")
    match said:
        case {"status": "success", "data": {"resultType": "vector", "result": list(found)}}:
            return _one(found)
        case {"status": "success", "data": {"resultType": "scalar", "result": [_, str(value)]}}:
            return _number(value)
        case {"status": "success", "data": {"resultType": str(kind)}}:
            return Blind("InvalidQuery", f"the query gives a {kind}, not one element")
        case {"status": "error", "errorType": str(kind), "error": str(message)}:
            return Blind("InvalidQuery" if kind == "bad_data" else "PrometheusFails", f"{kind}: {message[:300]}")
    return Blind("InvalidAnswer", f"HTTP {status} with JSON that is not Prometheus' own")


def _one(found: list[Any]) -> float | Blind:
    if not found:
        return Blind("NoData", "the query gives nothing; is the operator scraped by this Prometheus?")
    if len(found) > 1:
        return Blind("AmbiguousData", "the query gives more than one element; aggregate it, for example by sum()")
    match found[0]:
        case {"value": [_, str(value)]}:
            return _number(value)
    return Blind("InvalidAnswer", "an element without a value")


def _number(text: str) -> float | Blind:
    try:
        value = float(text)
    except ValueError:
        return Blind("InvalidAnswer", "the value is no number")
    if not math.isfinite(value) or value < 0:
        return Blind("InvalidAnswer", f"the query gives {text}, which is no demand")
    return value
