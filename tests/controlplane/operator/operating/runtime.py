"""A stand-in for the HTTP port of a runtime's pod, which answers `GET /model` and `GET /load` as it is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOADED = {
    "name": "miniature",
    "digest": f"sha256:{'0' * 64}",
    "family": "StableDiffusion",
    "tasks": ["text-to-image"],
    "parameters": 9000000,
    "dtype": "float32",
    "device": "cpu",
    "width": 128,
    "height": 128,
    "loaded_seconds": 4.14,
    "versions": {},
}


def report(reason: str, what: str) -> dict[str, Any]:
    """An error as the runtime reports it."""
    return {"reason": reason, "what": what, "where": "model.bin", "found": "", "fix": ""}


class RuntimePort:
    """Listens on one loopback address."""

    def __init__(self, address: str, port: int) -> None:
        self.status, self.answer = 503, report("Loading", "the model is loading")
        self.load = {"running": 0, "waiting": 0}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = (200, outer.load) if self.path == "/load" else (outer.status, outer.answer)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
