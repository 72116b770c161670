"""`/healthz` and `/readyz`, answered by the very event loop that reconciles: when it hangs, so do they.

Health fails when watching ended or a watch is stale, so that Kubernetes starts the process anew. A standby is ready too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

Check = Callable[[], str | None]
"""What is wrong, or None."""


class Health:
    """A small HTTP server."""

    def __init__(self, alive: Check, ready: Check) -> None:
        application = web.Application()
        application.add_routes([web.get("/healthz", _answer(alive)), web.get("/readyz", _answer(ready))])
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, port: int) -> None:
        """Listen on all addresses: kubelet asks from the node."""
        await self._runner.setup()
        await web.TCPSite(self._runner, None, port).start()

    async def stop(self) -> None:
        """Close."""
        await self._runner.cleanup()


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    return handler
