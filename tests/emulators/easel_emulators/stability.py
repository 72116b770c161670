"""Stability AI's own API, v2beta, over TLS, with its key checked and its calls counted.

It has no machine-readable schema: fields and answers are by hand from a mirror of platform.stability.ai's reference (apifox, read
2026-11-23), the fields those of `bedrock_bodies`. Unknown fields fail.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority
from werkzeug.formparser import parse_form_data

from easel_emulators.bedrock import Draw, drawn
from easel_emulators.bedrock_bodies import BODIES

KEY = "sk-a-secret-of-tests"
PATHS = {
    "generate/core": "stability.stable-image-core-v1:1",
    "generate/ultra": "stability.stable-image-ultra-v1:1",
    "generate/sd3": "stability.sd3-5-large-v1:0",
    "edit/inpaint": "us.stability.stable-image-inpaint-v1:0",
    "edit/outpaint": "us.stability.stable-outpaint-v1:0",
    "control/sketch": "us.stability.stable-image-control-sketch-v1:0",
    "control/structure": "us.stability.stable-image-control-structure-v1:0",
}
"""Paths below /v2beta/stable-image, each with Bedrock's model of the same fields."""
NUMBERS = {"seed": int, "strength": float, "left": int, "right": int, "up": int, "down": int, "control_strength": float}


@dataclass
class Answer:
    """What comes next in place of a picture."""

    status: int
    name: str = "as_a_test_asked"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Stability:
    """What happens next, and what has happened. `paid` counts what an account would be billed for, by path."""

    next: deque[Any] = field(default_factory=deque)
    """For each call an `Answer`, or one of `close` (behind the whole request), `filtered`, `empty`, `cut`, `text`, `huge`; then pictures."""
    paid: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Forms that were accepted; of a file its size."""
    refused: list[str] = field(default_factory=list)
    draw: Draw = field(default=lambda body: drawn(body))
    url: str = ""
    authority: Path = Path()


@contextmanager
def stability(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Stability]:
    """The service at an address of this machine, until the block ends."""
    state = Stability(draw=draw or drawn)
    authority = Authority(folder, "stability-ca")
    pair = authority.server("stability", "stability", [address])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path = self.path.removeprefix("/v2beta/stable-image/")
            problem = checked(state, path, dict(self.headers.items()), sent)
            if problem is not None:
                state.refused.append(f"{problem.status} {problem.name}")
                self._fail(problem)
                return
            then = state.next.popleft() if state.next else "picture"
            if isinstance(then, Answer):
                self._fail(then)
                return
            state.paid.append(path)
            if then == "close":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            self._picture(then, state.draw(state.calls[-1]))

        def _picture(self, then: str, data: bytes) -> None:
            data = {
                "empty": b"",
                "text": b"I'm sorry",
                "cut": data[: len(data) // 2],
                "huge": b"\0" * (101 * 2**20),
            }.get(then, data)
            reason = "CONTENT_FILTERED" if then == "filtered" else "SUCCESS"
            self._send(200, "image/png", data, {"finish-reason": reason, "seed": str(state.calls[-1].get("seed", 7))})

        def _fail(self, answer: Answer) -> None:
            body = json.dumps({"id": "0" * 32, "name": answer.name, "errors": ["as a test asked"]}).encode()
            self._send(answer.status, "application/json", body, answer.headers)

        def _send(self, status: int, media_type: str, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": media_type, "Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        state.url, state.authority = f"https://{address}:{server.server_port}", authority.certificate
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def checked(state: Stability, path: str, headers: dict[str, str], sent: bytes) -> Answer | None:
    """What is wrong with a request, as the service says it; None when it is taken."""
    if headers.get("Authorization") != f"Bearer {KEY}":
        return Answer(401, "unauthorized")
    if path not in PATHS:
        return Answer(404, "not_found")
    told = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
    }
    _, fields, files = parse_form_data(told)
    body: dict[str, Any] = {}
    try:
        for name, value in fields.items():
            body[name] = NUMBERS.get(name, str)(value)
        body |= {name: base64.b64encode(file.read()).decode() for name, file in files.items()}
        schema = BODIES[PATHS[path]]
        if path == "generate/sd3":
            own = {"model": {"enum": ["sd3.5-large"]}}
            schema = schema | {"properties": schema["properties"] | own, "required": [*schema["required"], "model"]}
        jsonschema.validate(body, schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return Answer(400, f"bad_request {str(error)[:100]}")
    if headers.get("Accept") not in ("image/*", "application/json"):
        return Answer(400, "bad_request accept")
    state.calls.append({name: len(value) if name in files else value for name, value in body.items()})
    return None
