"""Stability AI's own API, v2beta, over TLS, with its key checked and its calls counted.

It has no machine-readable schema: fields and answers are by hand from a mirror of platform.stability.ai's reference (apifox, read
2026-11-23), the fields those of `bedrock_bodies`, and for Ultra a picture with its strength beside them, as ComfyUI's node sends them. Unknown
fields fail. Two services answer with the id of a result: how the result is asked for is as client libraries have it (/v2beta/results/ID, 202 until it
is there); no source says how a failure is told.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
from easel_cluster.pki import Authority
from werkzeug.formparser import parse_form_data

from easel_emulators.base import ASKED_ON, NO_HANDLE, USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.bedrock_bodies import BODIES, OWN, PICTURE, SHARE
from easel_emulators.edits import check, made
from easel_emulators.outstanding import Work
from easel_emulators.serving import Handling, served

KEY = "sk-a-secret-of-tests"
PATHS = {
    "generate/core": "stability.stable-image-core-v1:1",
    "generate/ultra": "stability.stable-image-ultra-v1:1",
    "generate/sd3": "stability.sd3-5-large-v1:0",
    "edit/inpaint": "us.stability.stable-image-inpaint-v1:0",
    "edit/outpaint": "us.stability.stable-outpaint-v1:0",
    "edit/erase": "us.stability.stable-image-erase-object-v1:0",
    "edit/search-and-replace": "us.stability.stable-image-search-replace-v1:0",
    "edit/search-and-recolor": "us.stability.stable-image-search-recolor-v1:0",
    "edit/remove-background": "us.stability.stable-image-remove-background-v1:0",
    "edit/replace-background-and-relight": "replace-background-and-relight",
    "control/sketch": "us.stability.stable-image-control-sketch-v1:0",
    "control/structure": "us.stability.stable-image-control-structure-v1:0",
    "control/style": "us.stability.stable-image-style-guide-v1:0",
    "control/style-transfer": "us.stability.stable-style-transfer-v1:0",
    "upscale/fast": "us.stability.stable-fast-upscale-v1:0",
    "upscale/conservative": "us.stability.stable-conservative-upscale-v1:0",
    "upscale/creative": "us.stability.stable-creative-upscale-v1:0",
}
"""Paths below /v2beta/stable-image, each with Bedrock's model of the same fields, or a name of `OWN`."""
HANDED = {"edit/replace-background-and-relight", "upscale/creative"}
"""Those that answer with an id."""
RESULTS = "/v2beta/results/"
NUMBERS = {"seed": int, "strength": float, "left": int, "right": int, "up": int, "down": int, "control_strength": float,
           "grow_mask": int, "fidelity": float, "creativity": float}  # fmt: skip


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


@dataclass(kw_only=True)
class Stability(Emulator):
    """What happens next, and what has happened: of `next` a word, an `Answer`, or `blocked late by an error`. `paid` is by path."""

    work: dict[str, Work] = field(default_factory=dict)
    """Calls that were answered with an id."""


class Service(Handling):
    """One connection."""

    state: Stability

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        state, path = self.state, self.path.removeprefix("/v2beta/stable-image/")
        body = checked(state, path, dict(self.headers.items()), self.sent())
        if isinstance(body, Answer):
            state.refused.append(f"{body.status} {body.name}")
            self._fail(body)
            return
        then = state.next.popleft() if state.next else "picture"
        then = ANSWERS.get(then, then) if isinstance(then, str) else then
        if isinstance(then, Answer):
            self._fail(then)
            return
        state.bill(path, Decimal(PRICES.get(path, "0.05")))
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        work = Work(uuid4().hex * 2, path, then, made(PATHS[path], body, state.draw), body)
        if path in HANDED:
            state.work[work.name] = work
            # By the company's own description; of the other service client libraries know no more than that it is no error.
            self.send_json(200 if path == "upscale/creative" else 202, {"id": work.name})
            return
        state.gate.wait(60)
        self._picture(work, "CONTENT_FILTERED" if then == "blocked as 200" else "SUCCESS")

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        work = self.state.work.get(self.path.removeprefix(RESULTS)) if self.path.startswith(RESULTS) else None
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self.state.refused.append("401 of a question")
            self._fail(Answer(401, "unauthorized"))
            return
        if self.headers.get("Accept") not in ("image/*", "*/*"):
            # The picture would come as base64 in JSON.
            self._fail(Answer(400, "bad_request accept"))
            return
        if work is None or work.word == "expired for good":
            self._fail(Answer(404, "not_found"))
            return
        match found := work.found(self.state):
            case "lost":
                self.reset()
            case "throttled" | "denied":
                self._fail(ANSWERS[found])
            case "unfinished":
                self.send_json(202, {"id": work.name, "status": "in-progress"})
            case "blocked late":
                self._picture(work, "CONTENT_FILTERED")
            case _ if work.word == "blocked late by an error":
                self._fail(ANSWERS["blocked"])
            case _:
                self._picture(work, "SUCCESS")

    def _picture(self, work: Work, reason: str) -> None:
        kind = "text/plain" if work.word == "words" else f"image/{work.body.get('output_format', 'png')}"
        seed = str(work.body.get("seed", 7))
        self.send(200, spoiled(work.word, work.data), {"Content-Type": kind, "finish-reason": reason, "seed": seed})

    def _fail(self, answer: Answer) -> None:
        told = {"id": "0" * 32, "name": answer.name, "errors": ["as a test asked"]}
        self.send_json(answer.status, told, answer.headers)


@contextmanager
def stability(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Stability]:
    """The service at an address of this machine, until the block ends."""
    state = Stability(draw=draw or drawn)
    authority = Authority(folder, "stability-ca")
    state.authority = authority.certificate
    handler = type("Handler", (Service,), {"state": state})
    with served(handler, authority.server("stability", "stability", [address]), address) as state.url:
        yield state


def checked(state: Stability, path: str, headers: dict[str, str], sent: bytes) -> Answer | dict[str, Any]:
    """What a request asks, with its pictures in base64; or what is wrong with it as the service says it."""
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
        schema = (BODIES | OWN)[PATHS[path]]
        if path == "generate/sd3":
            own = {"model": {"enum": ["sd3.5-large"]}}
            schema = schema | {"properties": schema["properties"] | own, "required": [*schema["required"], "model"]}
        if path == "generate/ultra":
            own = {"image": PICTURE, "strength": SHARE}
            together = {"image": ["strength"], "strength": ["image"]}
            schema = schema | {"properties": schema["properties"] | own, "dependentRequired": together}
        jsonschema.validate(body, schema)
        check(PATHS[path], body)
    except (ValueError, jsonschema.ValidationError) as error:
        return Answer(400, f"bad_request {str(error)[:100]}")
    if headers.get("Accept") not in ("image/*", "application/json", "*/*"):
        return Answer(400, "bad_request accept")
    state.calls.append({name: len(value) if name in files else value for name, value in body.items()})
    return body


ROWS = {
    "core": Row("text-to-image"),
    "ultra": Row("text-to-image"),
    "sd3.5-large": Row("text-to-image"),
    "inpaint": Row("inpaint"),
    "outpaint": Row("outpaint", {"expand": {"left": 64}}),
    "erase": Row("erase"),
    "search-and-replace": Row("search-and-replace"),
    "search-and-recolor": Row("search-and-recolor"),
    "remove-background": Row("remove-background"),
    "control/sketch": Row("control-to-image"),
    "control/structure": Row("control-to-image"),
    "control/style": Row("style-to-image"),
    "control/style-transfer": Row("style-transfer"),
    "upscale/fast": Row("upscale", {"scale": 4}),
    "upscale/conservative": Row("upscale"),
}
LATER = {"upscale/creative": Row("upscale"), "replace-background-and-relight": Row("replace-background")}
ENDS = {
    **USUAL,
    "no credit": Ends("QuotaExhausted", 0),
    "blocked": Ends("ContentBlocked", 0),
}
UNPRICED = {"prices": [{"amount": "0.05", "per": "Image"}]}
"""No source says what the edits cost."""
AT_ONCE = Subject(
    family="StabilityV2Beta",
    start=stability,
    secret={"API_KEY": KEY},
    spec={},
    offers=tuple({"model": model} | ({} if model in ("core", "ultra", "sd3.5-large") else UNPRICED) for model in ROWS),
    rows=ROWS,
    ends=ENDS | {"blocked as 200": Ends("ContentBlocked")},
    never=NO_HANDLE,
)
SUBJECTS = (
    AT_ONCE,
    replace(
        AT_ONCE,
        offers=tuple({"model": model} | UNPRICED for model in LATER),
        rows=LATER,
        ends=ENDS
        | {
            "blocked late": Ends("ContentBlocked"),
            "expired for good": Ends("AmbiguousSubmit"),
            **ASKED_ON,
        },
        never={
            "blocked as 200": "the answer to a call is an id, and a policy shows behind it",
            "failed": "no source says how a failure is told",
            **dict.fromkeys(("expired", "elsewhere"), "the result comes in the answer, and never by an address"),
        },
        left="results",
    ),
)
