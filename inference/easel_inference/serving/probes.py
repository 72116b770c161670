"""The launcher's HTTP side: `/livez`, `/readyz`, `/model` and `/load`, for the kubelet and the operator."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from pydantic import BaseModel

from easel_api.errors import EnvironmentFault, ErrorReport
from easel_inference.generation import ModelInfo

LOADING = ErrorReport(reason="Loading", what="the runtime loads the model")
FETCHING = ErrorReport(reason="Loading", what="the replica fetches the model from its bucket")


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes answer; `model` is why it does not serve when it does not."""

    alive: bool
    ready: bool
    model: ModelInfo | ErrorReport
    load: Load | None
    """Requests that it holds; None: nobody can tell."""


class Load(BaseModel):
    """Requests by state."""

    running: int
    waiting: int


class Source(Protocol):
    """Who knows."""

    def health(self) -> Health:
        """The health at this moment; called from other threads."""
        ...


def serve(source: Source, address: str, port: int) -> ThreadingHTTPServer:
    """Answer probes from a thread until `shutdown`; `EnvironmentFault` names the port when it is taken."""

    class Handler(_Handler):
        """Bound to this source."""

        health = source.health

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        raise EnvironmentFault(
            "cannot listen", where=f"port {port} (EASEL_HTTP_PORT)", found=error.strerror or str(error)
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="easel-probes", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self) -> None:
        health = self.health()  # type: ignore[attr-defined]  # set by serve()
        match self.path.partition("?")[0]:
            case "/livez":
                self._answer(ok=health.alive, body="ok" if health.alive else "not alive", kind="text/plain")
            case "/readyz":
                self._answer(ok=health.ready, body="ok" if health.ready else "not ready", kind="text/plain")
            case "/model":
                ok = isinstance(health.model, ModelInfo)
                self._answer(ok=ok, body=health.model.model_dump_json(), kind="application/json")
            case "/load":
                body = health.load.model_dump_json() if health.load else "unknown"
                self._answer(ok=health.load is not None, body=body, kind="application/json")
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, *, ok: bool, body: str, kind: str) -> None:
        self.send_response(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Probes come every few seconds; nobody reads a line for each."""
