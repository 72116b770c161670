"""Stability AI's own API, v2beta, over TLS, with its key checked and its calls counted.

It has no machine-readable schema: fields and answers are by hand from a mirror of platform.stability.ai's reference (apifox, read
2026-11-23), the fields those of `bedrock_bodies`. Unknown fields fail.
"""

from __future__ import annotations

import base64
import io
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority
from werkzeug.formparser import parse_form_data

from easel_emulators.bedrock import Draw, drawn
from easel_emulators.bedrock_bodies import BODIES
from easel_emulators.serving import Handling, served

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
    state.authority = authority.certificate
    pair = authority.server("stability", "stability", [address])

    class Handler(Handling):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
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
                self.reset()
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
            self.send(
                200,
                data,
                {"Content-Type": "image/png", "finish-reason": reason, "seed": str(state.calls[-1].get("seed", 7))},
            )

        def _fail(self, answer: Answer) -> None:
            body = json.dumps({"id": "0" * 32, "name": answer.name, "errors": ["as a test asked"]}).encode()
            self.send(answer.status, body, {"Content-Type": "application/json"} | answer.headers)

    with served(Handler, pair, address) as state.url:
        yield state


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
