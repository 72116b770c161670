"""Something at Prometheus' address that answers as it is told, where the real one never would."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from typing import Any


class Liar:
    """Answers every connection with the same bytes; `seconds` late, if at all."""

    def __init__(self, answer: bytes, seconds: float = 0.0) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(65536)
                time.sleep(seconds)
                self.request.sendall(answer)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def http(status: str, body: Any) -> bytes:
    """An answer; `body` is text or JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
