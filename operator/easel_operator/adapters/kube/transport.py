"""One HTTP request to the API server: authenticated, rate-limited, in bounded time, JSON in and out."""

from __future__ import annotations

import json
import os
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException

from easel_api.errors import EnvironmentFault, Transient

from .errors import error_of
from .throttle import TokenBucket

REQUEST_SECONDS = 15.0
"""Long enough for an API server under load, short enough that a lost connection is noticed before a Lease runs out."""


class Transport:
    """A connection pool to one API server."""

    def __init__(self, api: client.ApiClient, bucket: TokenBucket) -> None:
        self._api, self._bucket = api, bucket

    @classmethod
    async def connect(cls, requests_per_second: float) -> Self:
        """By KUBECONFIG when it is set, else as the pod's service account, else by ~/.kube/config."""
        settings = client.Configuration()
        await _load(settings)
        settings.connection_pool_maxsize = 32
        return cls(client.ApiClient(settings), TokenBucket(requests_per_second))

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

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
        headers = {"Content-Type": content_type, "Accept": accept}
        try:
            prepared = await self._api.param_serialize(
                method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            answer = await self._api.call_api(*prepared, _request_timeout=seconds)
            content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient("the API server cannot be reached", where=path, found=type(error).__name__) from error
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, content, path)
        return dict(json.loads(content)) if content else {}


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
