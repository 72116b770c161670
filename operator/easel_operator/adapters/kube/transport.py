"""One HTTP request to the API server: authenticated, rate-limited, in bounded time, JSON in and out; or a stream of JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException

from easel_api.errors import EnvironmentFault, Transient

from .errors import error_of
from .throttle import TokenBucket

REQUEST_SECONDS = 15.0
"""Long enough for an API server under load, short enough that a lost connection is noticed before a Lease runs out."""

PLAIN = {"Accept-Encoding": "identity"}
"""Within a cluster bytes cost less than the processor time, on both sides, of making them fewer."""

LISTS = 2
"""Lists that are read at once: a page of each is a few megabytes of JSON, and some twenty of what Python makes of it."""


class Transport:
    """Connection pools to one API server: a small one for requests, one without a limit for streams, which hold theirs."""

    def __init__(self, api: client.ApiClient, streams: client.ApiClient, bucket: TokenBucket) -> None:
        self._api, self._streams, self._bucket = api, streams, bucket
        self.listing = asyncio.Semaphore(LISTS)
        """Held by who lists thousands of objects."""

    @classmethod
    async def connect(cls, requests_per_second: float) -> Self:
        """By KUBECONFIG when it is set, else as the pod's service account, else by ~/.kube/config."""
        return cls(await _client(32), await _client(0), TokenBucket(requests_per_second))

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()
        await self._streams.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float = REQUEST_SECONDS,
        urgent: bool = False,
    ) -> dict[str, Any]:
        """The answer's JSON; an error of the tree for anything but success. `urgent` passes the rate limit by."""
        if not urgent:
            await self._bucket.take()
        headers = {"Content-Type": content_type, "Accept": accept, **PLAIN}
        try:
            answer = await _call(self._api, method, path, query or {}, headers, body, seconds)
            content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient("the API server cannot be reached", where=path, found=type(error).__name__) from error
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, content, path)
        return dict(orjson.loads(content)) if content else {}

    async def stream(self, path: str, query: dict[str, str], idle_seconds: float) -> AsyncIterator[dict[str, Any]]:
        """The lines of an answer as they come; `Transient` when the connection ends badly or is silent for so long."""
        silence = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=idle_seconds)
        try:
            answer = await _call(
                self._streams, "GET", path, query, {"Accept": "application/json", **PLAIN}, None, silence
            )
            try:
                if answer.status != 200:
                    raise error_of(answer.status, await answer.read(), path)
                async for line in _lines(answer.response.content):
                    yield orjson.loads(line)
            finally:
                answer.response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient("the stream broke off", where=path, found=type(error).__name__) from error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Of any length, unlike those of aiohttp: an object may have a megabyte."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*parts, line))
            parts = []
        parts.append(rest)


async def _call(
    api: client.ApiClient,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: Any,
    timeout: float | aiohttp.ClientTimeout,  # noqa: ASYNC109 - handed on
) -> Any:
    prepared = await api.param_serialize(
        method, path, query_params=list(query.items()), header_params=headers, body=body, auth_settings=["BearerToken"]
    )
    return await api.call_api(*prepared, _request_timeout=timeout)


async def _client(connections: int) -> client.ApiClient:
    settings = client.Configuration()
    await _load(settings)
    settings.connection_pool_maxsize = connections
    return client.ApiClient(settings)


async def _load(settings: client.Configuration) -> None:
    try:
        if "KUBECONFIG" in os.environ or "KUBERNETES_SERVICE_HOST" not in os.environ:
            await config.load_kube_config(client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except (ConfigException, OSError) as error:
        raise EnvironmentFault(
            "there is no way to the Kubernetes API",
            found=str(error),
            fix="Run inside a pod with a service account, or set KUBECONFIG.",
        ) from error
