"""What the providers' emulators are served by: TLS at an address of this machine."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from easel_cluster.pki import Pair


class Handling(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def sent(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send_json(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in (dict(headers) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_half(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Says how long the answer is, and ends in the middle of it."""
        self.send_response(status)
        for name, value in (dict(headers) | {"Content-Length": str(len(body)), "Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def reset(self) -> None:
        """A reset, as of a load balancer that restarts: the request was read, and its answer never comes."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def lost(self, word: object) -> bool:
        """Whether by a word of `base.WORDS` the answer of a paid call never comes; the connection has then ended that way."""
        match word:
            case "reset":
                self.reset()
            case "gateway":
                self.send(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"})
            case _:
                return False
        return True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(handler: type[Handling], pair: Pair, address: str) -> Iterator[str]:
    """The URL of the service, until the block ends."""
    with ThreadingHTTPServer((address, 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
