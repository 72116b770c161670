"""Stability AI's own API, v2beta, over TLS, with its key checked and its calls counted.

It has no machine-readable schema: fields and answers are by hand from a mirror of platform.stability.ai's reference (apifox, read
2026-11-23), the fields those of `bedrock_bodies`. Unknown fields fail.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority
from werkzeug.formparser import parse_form_data

from easel_emulators.base import NO_HANDLE, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
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


PRICES = {"generate/core": "0.03", "generate/ultra": "0.08", "generate/sd3": "0.065"}
"""In US dollars for a picture, by platform.stability.ai's pricing as third parties quote it (8, 6.5 and 3 credits of a cent); others: 0.05."""
ANSWERS = {
    "throttled": Answer(429, "rate_limit_exceeded"),
    "asks to wait": Answer(429, "rate_limit_exceeded", {"Retry-After": "1"}),
    "unavailable": Answer(503, "service_unavailable"),
    "internal": Answer(500, "internal_error"),
    "denied": Answer(403, "forbidden"),
    "no credit": Answer(402, "payment_required"),
    "retired": Answer(404, "not_found"),
    "invalid": Answer(422, "invalid"),
    "blocked": Answer(403, "content_moderation"),
}


class Stability(Emulator):
    """What happens next, and what has happened: of `next` a word, or an `Answer`. `paid` is by path."""


@contextmanager
def stability(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Stability]:
    """The service at an address of this machine, until the block ends."""
    state = Stability(draw=draw or drawn)
    authority = Authority(folder, "stability-ca")
    state.authority = authority.certificate
    pair = authority.server("stability", "stability", [address])

    class Handler(Handling):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            path = self.path.removeprefix("/v2beta/stable-image/")
            problem = checked(state, path, dict(self.headers.items()), self.sent())
            if problem is not None:
                state.refused.append(f"{problem.status} {problem.name}")
                self._fail(problem)
                return
            then = state.next.popleft() if state.next else "picture"
            then = ANSWERS.get(then, then) if isinstance(then, str) else then
            if isinstance(then, Answer):
                self._fail(then)
                return
            state.bill(path, Decimal(PRICES.get(path, "0.05")))
            if then == "reset":
                self.reset()
                return
            if then == "slow":
                time.sleep(2)
            state.gate.wait(60)
            reason = "CONTENT_FILTERED" if then == "blocked as 200" else "SUCCESS"
            seed = str(state.calls[-1].get("seed", 7))
            self.send(
                200,
                spoiled(then, state.draw(state.calls[-1])),
                {"Content-Type": "image/png", "finish-reason": reason, "seed": seed},
            )

        def _fail(self, answer: Answer) -> None:
            told = {"id": "0" * 32, "name": answer.name, "errors": ["as a test asked"]}
            self.send_json(answer.status, told, answer.headers)

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


SUBJECTS = (
    Subject(
        family="StabilityV2Beta",
        start=stability,
        secret={"API_KEY": KEY},
        spec={},
        offers=(
            *({"model": model} for model in ("core", "ultra", "sd3.5-large")),
            # No source says what the others cost.
            *(
                {"model": model, "prices": [{"amount": "0.05", "per": "Image"}]}
                for model in ("inpaint", "outpaint", "control/sketch", "control/structure")
            ),
        ),
        rows={
            "core": Row("text-to-image"),
            "ultra": Row("text-to-image"),
            "sd3.5-large": Row("text-to-image"),
            "inpaint": Row("inpaint"),
            "outpaint": Row("outpaint", {"expand": {"left": 64}}),
            "control/sketch": Row("control-to-image"),
            "control/structure": Row("control-to-image"),
        },
        ends={
            "throttled": Ends(),
            "asks to wait": Ends(),
            "unavailable": Ends("Transient", 0),
            "internal": Ends("Transient", 0),
            "denied": Ends("AuthConfig", 0),
            "no credit": Ends("QuotaExhausted", 0),
            "retired": Ends("ModelRetired", 0),
            "invalid": Ends("InvalidInput", 0),
            "blocked": Ends("ContentBlocked", 0),
            "blocked as 200": Ends("ContentBlocked"),
            "reset": Ends("AmbiguousSubmit"),
            "slow": Ends(),
            "empty": Ends("BilledBadOutput"),
            "cut": Ends("BilledBadOutput"),
            "words": Ends("BilledBadOutput"),
            "huge": Ends("BilledBadOutput"),
        },
        never=NO_HANDLE,
    ),
)
