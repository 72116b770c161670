"""Black Forest Labs' own API over TLS, with its key checked and its calls counted.

Fields are by hand from api.bfl.ai/openapi.json as docs.bfl.ai's reference shows it for each model (read 2026-11-28), answers likewise
(AsyncResponse, ResultResponse, HTTPValidationError); there is no current SDK to hold them against. Unknown fields fail. Prices are those of
docs.bfl.ai/quick_start/pricing; that of expanding is nowhere, and counted as that of filling. What is moderated is not billed
(help.bfl.ai). Nobody says whether a second question has a new address for a result: here it has.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jsonschema
from easel_cluster.pki import Authority
from PIL import Image

from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.serving import Handling, served

KEY = "bfl-a-secret-of-tests"
MEGAPIXEL = 2**20
PICTURE = {"type": "string", "contentEncoding": "base64", "minLength": 1}
WORDED = {
    "prompt": {"type": "string", "minLength": 1},
    "seed": {"type": ["integer", "null"]},
    "output_format": {"enum": ["jpeg", "png", None]},
    "safety_tolerance": {"type": "integer", "minimum": 0, "maximum": 5},
}
SIDE = {"type": "integer", "minimum": 64, "multipleOf": 16}
SIDE_11 = {"type": "integer", "minimum": 256, "maximum": 1440, "multipleOf": 32}
INPUTS = {"input_image": PICTURE} | {f"input_image_{number}": PICTURE for number in range(2, 9)}
FLUX_2 = WORDED | INPUTS | {"width": SIDE, "height": SIDE, "disable_pup": {"type": "boolean"}}
STEPS = {"type": "integer", "minimum": 1, "maximum": 50}
RATIO = {"aspect_ratio": {"type": "string", "pattern": "^[0-9]+:[0-9]+$"}, "prompt_upsampling": {"type": "boolean"}}
KONTEXT = WORDED | RATIO | dict(list(INPUTS.items())[:4])
GROWN = {"type": "integer", "minimum": 0, "maximum": 2048}
FIELDS: dict[str, dict[str, Any]] = {
    "flux-2-max": FLUX_2,
    "flux-2-pro": FLUX_2,
    "flux-2-flex": FLUX_2 | {"steps": STEPS, "guidance": {"type": "number", "minimum": 1.5, "maximum": 10}},
    "flux-2-klein-9b": FLUX_2,
    "flux-2-klein-4b": FLUX_2,
    "flux-pro-1.1": WORDED | {"width": SIDE_11, "height": SIDE_11},
    "flux-pro-1.1-ultra": WORDED | RATIO | {"raw": {"type": "boolean"}},
    "flux-kontext-pro": KONTEXT,
    "flux-kontext-max": KONTEXT,
    "flux-pro-1.0-fill": WORDED | {"image": PICTURE, "mask": PICTURE},
    "flux-pro-1.0-expand": WORDED | {"image": PICTURE} | dict.fromkeys(("top", "bottom", "left", "right"), GROWN),
}
REQUIRED = {"flux-pro-1.0-fill": ["image"], "flux-pro-1.0-expand": ["image"]}
FIXED = {
    "flux-pro-1.1": "4",
    "flux-pro-1.1-ultra": "6",
    "flux-kontext-pro": "4",
    "flux-kontext-max": "8",
    "flux-pro-1.0-fill": "5",
    "flux-pro-1.0-expand": "5",
}
"""Credits for a picture."""
BY_MEGAPIXEL = {
    "flux-2-max": ("7", "3"),
    "flux-2-pro": ("3", "1.5"),
    "flux-2-flex": ("5", "5"),
    "flux-2-klein-9b": ("1.5", "0.2"),
    "flux-2-klein-4b": ("1.4", "0.1"),
}
"""Credits for the first megapixel of the result, and for each other one of it and of the input."""


@dataclass(frozen=True)
class Answer:
    """What comes next in place of a task."""

    status: int
    detail: str = "as a test asked"
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class PollingUrl:
    """The task is accepted, and said to be asked for there."""

    url: str


@dataclass
class Task:
    """A call that was accepted."""

    word: Any
    model: str
    asked: dict[str, Any]
    """What is drawn."""
    questions: int = 0


ANSWERS = {
    "throttled": Answer(429, "Too many active tasks"),
    "asks to wait": Answer(429, "Too many active tasks", {"Retry-After": "1"}),
    "unavailable": Answer(503),
    "internal": Answer(500),
    "denied": Answer(403, "Not authenticated"),
    "no credit": Answer(402, "Insufficient credits"),
    "retired": Answer(404, "Not Found"),
    "invalid": Answer(422),
}
STATES = {"blocked late": "Request Moderated", "blocked as 200": "Content Moderated", "failed": "Error"}
"""Of calls that end without a result, and without a bill."""
ELSEWHERE = PollingUrl("https://169.254.169.254/")


@dataclass(kw_only=True)
class BFL(Emulator):
    """What happens next, and what has happened: of `next` a word, an `Answer` or a `PollingUrl`. `paid` is by model."""

    tasks: dict[str, Task] = field(default_factory=dict)
    polls: int = 0
    """Questions with the right key."""


class Service(Handling):
    """One connection."""

    state: BFL

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        model, sent = self.path.removeprefix("/v1/"), self.sent()
        body = checked(model, self.headers.get("x-key"), sent)
        if isinstance(body, Answer):
            self.state.refused.append(f"{body.status} {body.detail}")
            self._fail(body)
            return
        self.state.calls.append(body)
        then = self.state.next.popleft() if self.state.next else "picture"
        then = ELSEWHERE if then == "elsewhere" else ANSWERS.get(then, then) if isinstance(then, str) else then
        if isinstance(then, Answer):
            self._fail(then)
            return
        cost = credits_of(model, body)
        if then not in STATES:
            self.state.bill(model, cost / 100)
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        name = str(uuid4())
        self.state.tasks[name] = Task(then, model, shape(body))
        url = then.url if isinstance(then, PollingUrl) else f"{self.state.url}/v1/get_result?id={name}"
        told = {"id": name, "polling_url": url, "cost": float(cost), "input_mp": None, "output_mp": None}
        self.send_json(200, told)

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        there = urlsplit(self.path)
        if there.path.startswith("/delivery/"):
            self._deliver(there.path.removeprefix("/delivery/"), there.query)
            return
        task = self.state.tasks.get(parse_qs(there.query).get("id", [""])[0])
        if self.headers.get("x-key") != KEY or (task and task.word == "denied poll"):
            self.state.refused.append("403 of a question")
            self._fail(ANSWERS["denied"])
            return
        self.state.polls += 1
        if there.path != "/v1/get_result" or task is None:
            self.send_json(404, {"id": "", "status": "Task not found", "result": None})
            return
        task.questions += 1
        if task.word == "lost poll" and task.questions == 1:
            self.reset()
            return
        if task.word == "throttled poll" and task.questions == 1:
            self._fail(ANSWERS["throttled"])
            return
        self.send_json(200, self._told(task, parse_qs(there.query)["id"][0]))

    def _told(self, task: Task, name: str) -> dict[str, Any]:
        told: dict[str, Any] = {"id": name, "result": None, "progress": None, "details": None, "preview": None}
        if task.word in STATES:
            return told | {"status": STATES[task.word], "details": {"Moderation Reasons": ["as a test asked"]}}
        if not self.state.gate.is_set() or (task.word == "slow poll" and task.questions <= 3):
            return told | {"status": ("Pending", "Reasoning")[task.questions % 2], "progress": 0.4}
        if task.word == "empty":
            return told | {"status": "Ready"}
        sample = f"{self.state.url}/delivery/{name}?signature={task.questions}"
        return told | {"status": "Ready", "result": {"sample": sample, "seed": task.asked["seed"], "prompt": ""}}

    def _deliver(self, name: str, query: str) -> None:
        task = self.state.tasks[name]
        if self.headers.get("x-key"):
            self.state.refused.append("the key went to where results are delivered")
        gone = task.word == "expired for good" or (task.word == "expired" and query == "signature=1")
        if gone:
            self.send(403, b"AuthenticationFailed", {"Content-Type": "application/xml"})
            return
        data = spoiled(task.word, self.state.draw(task.asked))
        words = task.word == "words"
        self.send(200, data, {"Content-Type": "text/plain" if words else f"image/{task.asked['output_format']}"})

    def _fail(self, answer: Answer) -> None:
        told: Any = answer.detail
        if answer.status == 422:
            told = [{"loc": ["body"], "msg": answer.detail, "type": "value_error"}]
        self.send_json(answer.status, {"detail": told}, answer.headers)


@contextmanager
def bfl(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[BFL]:
    """The service at an address of this machine, until the block ends."""
    state = BFL(draw=draw or drawn)
    authority = Authority(folder, "bfl-ca")
    state.authority = authority.certificate
    pair = authority.server("bfl", "bfl", [address])
    with served(type("Handler", (Service,), {"state": state}), pair, address) as state.url:
        yield state


def checked(model: str, key: str | None, sent: bytes) -> dict[str, Any] | Answer:
    """The body of a request, or what is wrong with it as the service says it."""
    if key != KEY:
        return Answer(403, "Not authenticated")
    if model not in FIELDS:
        return Answer(404, "Not Found")
    schema = {
        "type": "object",
        "properties": FIELDS[model],
        "required": REQUIRED.get(model, ["prompt"]),
        "additionalProperties": False,
        "dependentRequired": {"width": ["height"], "height": ["width"]},
    }
    try:
        told: dict[str, Any] = json.loads(sent)
        jsonschema.validate(told, schema)
        if "mask" in told and opened(told["image"]).size != opened(told["mask"]).size:
            return Answer(422, "the mask has another size than the picture")
        for name in {"image", "input_image"} & set(told):
            opened(told[name]).load()
        if told.get("width", 0) * told.get("height", 0) > 4 * MEGAPIXEL:
            return Answer(422, "more than 4 megapixels")
    except (ValueError, OSError, binascii.Error, jsonschema.ValidationError) as error:
        return Answer(422, str(error)[:100])
    return told


def opened(encoded: str) -> Image.Image:
    """An input picture."""
    return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))


def shape(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is drawn for a request."""
    asked = {name: body[name] for name in ("prompt", "width", "height", "aspect_ratio") if name in body}
    if "input_image" in body and "width" not in body and "aspect_ratio" not in body:
        asked["width"], asked["height"] = opened(body["input_image"]).size
    if "image" in body:
        width, height = opened(body["image"]).size
        asked["width"] = width + body.get("left", 0) + body.get("right", 0)
        asked["height"] = height + body.get("top", 0) + body.get("bottom", 0)
    return asked | {"seed": body.get("seed", 7), "output_format": body.get("output_format") or "jpeg"}


def credits_of(model: str, body: Mapping[str, Any]) -> Decimal:
    """What a call costs, in cents."""
    if model in FIXED:
        return Decimal(FIXED[model])
    first, more = (Decimal(each) for each in BY_MEGAPIXEL[model])
    made = max(1, -(-body.get("width", 1024) * body.get("height", 1024) // MEGAPIXEL))
    given = 0
    if "input_image" in body:
        width, height = opened(body["input_image"]).size
        given = max(1, -(-width * height // MEGAPIXEL))
    return first + (made - 1 + given) * more


SUBJECTS = (
    Subject(
        family="BFLPoll",
        start=bfl,
        secret={"API_KEY": KEY},
        spec={},
        offers=(
            {"model": "flux-pro-1.1"},
            *({"model": model} for model in ("flux-pro-1.1-ultra", "flux-kontext-pro", "flux-kontext-max")),
            {"model": "flux-pro-1.0-fill"},
            {"model": "flux-pro-1.0-expand", "prices": [{"amount": "0.05", "per": "Image"}]},
            *(
                {"model": model, "prices": [{"amount": str((Decimal(first) + Decimal(more)) / 100), "per": "Image"}]}
                for model, (first, more) in BY_MEGAPIXEL.items()
            ),
        ),
        rows={
            "flux-pro-1.1": Row("text-to-image", {"width": 512, "height": 256}),
            "flux-pro-1.1-ultra": Row("text-to-image"),
            "flux-kontext-pro": Row("image-to-image"),
            "flux-kontext-max": Row("text-to-image"),
            "flux-pro-1.0-fill": Row("inpaint"),
            "flux-pro-1.0-expand": Row("outpaint", {"expand": {"left": 64}}),
            "flux-2-max": Row("text-to-image"),
            "flux-2-pro": Row("image-to-image"),
            "flux-2-flex": Row("text-to-image", {"steps": 30, "guidanceScale": 4.5}),
            "flux-2-klein-9b": Row("text-to-image", {"width": 64, "height": 128}),
            "flux-2-klein-4b": Row("image-to-image"),
        },
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "blocked as 200": Ends("ContentBlocked", 0),
            "failed": Ends("BackendFault", 0),
            "blocked late": Ends("ContentBlocked", 0),
            "expired": Ends(),
            "expired for good": Ends("BilledBadOutput"),
            "elsewhere": Ends("AmbiguousSubmit"),
            **ASKED_ON,
        },
        never={"blocked": "what is moderated was taken first, and is a state"},
    ),
)
