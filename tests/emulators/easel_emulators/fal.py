"""fal's queue over TLS, with its key checked and its calls counted.

The queue answers as fal-client 1.0.3 reads it, which drives it end to end in a test. Endpoints' inputs are by hand from their pages
(fal.ai/models/ENDPOINT/llms.txt, read 2026-11-28), as are prices; errors from fal.ai/docs (errors, request errors, FAQ). The real service drops
names that an endpoint does not know, and here they fail, so that tests see them. As there, inputs are looked at behind the submission. What is
refused then (422) may be billed there, and is here; a failing machine (5xx) is never billed.
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
from uuid import uuid4

import jsonschema
import numpy as np
from easel_cluster.pki import Authority
from PIL import Image

from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.serving import Handling, served

KEY = "fal-id:a-secret-of-tests"
MEGAPIXEL = 2**20
PRESETS = ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
SIDE = {"type": "integer", "minimum": 1, "maximum": 14142}
FILE = {"type": "string", "pattern": "^data:[a-z]+/[a-z0-9]+;base64,"}
COMMON = {
    "prompt": {"type": "string", "minLength": 1},
    "seed": {"type": ["integer", "null"]},
    "num_images": {"type": "integer", "minimum": 1, "maximum": 4},
    "output_format": {"enum": ["jpeg", "png"]},
    "sync_mode": {"type": "boolean"},
}
CHECKED = COMMON | {"enable_safety_checker": {"type": "boolean"}, "acceleration": {"enum": ["none", "regular", "high"]}}
SIZED = {
    "image_size": {
        "anyOf": [
            {"enum": PRESETS},
            {"type": "object", "properties": {"width": SIDE, "height": SIDE}, "additionalProperties": False},
        ]
    }
}
VIDEO = {
    "prompt": COMMON["prompt"],
    "duration": {"enum": ["5", "10"]},
    "negative_prompt": {"type": "string"},
    "cfg_scale": {"type": "number", "minimum": 0, "maximum": 1},
}


def number(least: float, most: float, kind: str = "number") -> dict[str, Any]:
    return {"type": kind, "minimum": least, "maximum": most}


ENDPOINTS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "fal-ai/flux/dev": (
        CHECKED | SIZED | {"num_inference_steps": number(1, 50, "integer"), "guidance_scale": number(1, 20)},
        ["prompt"],
        "0.025",
    ),
    "fal-ai/flux/dev/image-to-image": (
        CHECKED
        | {"image_url": FILE, "strength": number(0.01, 1)}
        | {"num_inference_steps": number(10, 50, "integer"), "guidance_scale": number(1, 20)},
        ["prompt", "image_url"],
        "0.03",
    ),
    "fal-ai/flux-pro/v1/fill": (
        COMMON | {"image_url": FILE, "mask_url": FILE, "safety_tolerance": {"enum": ["1", "2", "3", "4", "5", "6"]}},
        ["prompt", "image_url", "mask_url"],
        "0.05",
    ),
    "fal-ai/qwen-image": (
        CHECKED
        | SIZED
        | {"num_inference_steps": number(2, 250, "integer"), "guidance_scale": number(0, 20)}
        | {"negative_prompt": {"type": "string"}},
        ["prompt"],
        "0.02",
    ),
    "fal-ai/kling-video/v2.5-turbo/pro/text-to-video": (
        VIDEO | {"aspect_ratio": {"enum": ["16:9", "9:16", "1:1"]}},
        ["prompt"],
        "0.07",
    ),
    "fal-ai/kling-video/v2.5-turbo/pro/image-to-video": (
        VIDEO | {"image_url": FILE, "tail_image_url": FILE},
        ["prompt", "image_url"],
        "0.07",
    ),
}
"""Inputs, those that are needed, and US dollars for a begun megapixel or a second."""


@dataclass(frozen=True)
class Answer:
    """What comes next in place of a request's id."""

    status: int
    detail: Any = "as a test asked"
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Response:
    """The request is accepted, and ends with this."""

    status: int
    body: Any
    headers: Mapping[str, str] | None = None


@dataclass
class Request:
    """A call that was accepted."""

    word: Any
    endpoint: str
    body: dict[str, Any]
    questions: int = 0
    is_cancelled: bool = False

    @property
    def makes_clips(self) -> bool:
        return "video" in self.endpoint


def violation(kind: str) -> Response:
    """A 422 as models answer it; it repeats the input, as they do."""
    told = [{"loc": ["body", "prompt"], "msg": "as a test asked", "type": kind, "input": "zebra", "ctx": {}}]
    return Response(422, {"detail": told}, {"X-Fal-Retryable": "false"})


ANSWERS = {
    "throttled": Answer(429, "Too many requests"),
    "asks to wait": Answer(429, "Too many requests", {"Retry-After": "1"}),
    "unavailable": Answer(503),
    "internal": Answer(500),
    "denied": Answer(401, "Cannot access application. Authentication is required to access this application."),
    "no credit": Answer(
        403, "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
    ),
    "retired": Answer(404, "Application not found"),
}
RESPONSES = {
    "invalid": violation("value_error"),
    "blocked late": violation("content_policy_violation"),
    "failed": Response(
        503,
        {"detail": "Runner disconnected", "error_type": "runner_disconnected"},
        {"X-Fal-Error-Type": "runner_disconnected"},
    ),
}


@dataclass(kw_only=True)
class Fal(Emulator):
    """What happens next, and what has happened: of `next` a word, an `Answer` or a `Response`. `paid` is by endpoint."""

    requests: dict[str, Request] = field(default_factory=dict)
    polls: int = 0
    """Questions with the right key."""
    lifecycles: list[str | None] = field(default_factory=list)
    """How long each call lets its result be kept."""


class Service(Handling):
    """One connection."""

    state: Fal

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        endpoint, sent = self.path.removeprefix("/"), self.sent()
        if not self._has_key():
            self._fail(ANSWERS["denied"])
            return
        if endpoint not in ENDPOINTS:
            self._fail(ANSWERS["retired"])
            return
        body = json.loads(sent)
        problem = wrong(endpoint, body)
        if problem:
            self.state.refused.append(problem)
        self.state.calls.append(body)
        self.state.lifecycles.append(self.headers.get("X-Fal-Object-Lifecycle-Preference"))
        then = self.state.next.popleft() if self.state.next else "result"
        if isinstance(then, str):
            then = RESPONSES.get(then, ANSWERS.get(then, then))
        if problem:
            then = violation("value_error")
        if isinstance(then, Answer):
            self._fail(then)
            return
        if not isinstance(then, Response) or then.status < 500:
            self.state.bill(endpoint, cost(endpoint, body))
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        name = str(uuid4())
        self.state.requests[name] = Request(then, endpoint, body)
        where = (
            "https://169.254.169.254" if then == "elsewhere" else self.state.url
        ) + f"{root(endpoint)}/requests/{name}"
        self.send_json(
            200,
            {"request_id": name, "response_url": where, "status_url": f"{where}/status"}
            | {"cancel_url": f"{where}/cancel", "queue_position": 0, "status": "IN_QUEUE"},
        )

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        path = self.path.partition("?")[0]
        if path.startswith("/files/"):
            self._deliver(path)
            return
        name, request = self._asked(path.removesuffix("/status"))
        if request is None:
            return
        request.questions += 1
        if request.word == "lost poll" and request.questions == 1:
            self.reset()
        elif request.word == "throttled poll" and request.questions == 1:
            self._fail(ANSWERS["throttled"])
        elif path.endswith("/status"):
            self._status(name, request)
        elif state_of(self.state, request) != "COMPLETED":
            self._fail(Answer(400, "Request is still in progress"))
        else:
            self._respond(name, request)

    def do_PUT(self) -> None:  # noqa: N802 - the name that http.server calls
        self.sent()
        _, request = self._asked(self.path.removesuffix("/cancel"))
        if request is None:
            return
        if state_of(self.state, request) == "COMPLETED":
            self.send_json(400, {"status": "ALREADY_COMPLETED"})
            return
        request.is_cancelled = True
        self.send_json(202, {"status": "CANCELLATION_REQUESTED"})

    def _asked(self, path: str) -> tuple[str, Request | None]:
        """The request of a path; None when it was answered that there is none, or that the key is wrong."""
        where, _, name = path.rpartition("/requests/")
        request = self.state.requests.get(name)
        if not self._has_key() or (request is not None and request.word == "denied poll"):
            self._fail(ANSWERS["denied"])
            return name, None
        self.state.polls += 1
        if request is None or where != root(request.endpoint):
            self._fail(Answer(404, "Request not found"))
            return name, None
        return name, request

    def _status(self, name: str, request: Request) -> None:
        found = state_of(self.state, request)
        told: dict[str, Any] = {"status": found, "request_id": name, "logs": None}
        if found == "IN_QUEUE":
            told["queue_position"] = 1
        if found == "COMPLETED":
            told["metrics"] = {"inference_time": 1.0}
            if isinstance(request.word, Response) or request.is_cancelled:
                told |= {"error": "as a test asked", "error_type": "runner_disconnected"}
        self.send_json(200 if found == "COMPLETED" else 202, told)

    def _respond(self, name: str, request: Request) -> None:
        if request.is_cancelled:
            self.send_json(499, {"detail": "Request was cancelled", "error_type": "client_cancelled"})
            return
        if isinstance(request.word, Response):
            self.send_json(request.word.status, request.word.body, request.word.headers)
            return
        told = result(self.state, name, request)
        self.send_json(200, told, {"x-fal-request-id": name, "x-fal-billable-units": "1"})

    def _deliver(self, path: str) -> None:
        request = self.state.requests[path.split("/")[2]]
        if self.headers.get("Authorization"):
            self.state.refused.append("the key went to where results lie")
        if request.word == "expired for good":
            self.send(404, b"not found", {"Content-Type": "text/plain"})
            return
        asked = shape(request)
        data = black(asked) if request.word == "blocked as 200" else self.state.draw(asked)
        kind = "text/plain" if request.word == "words" else content_type(request)
        self.send(200, spoiled(request.word, data), {"Content-Type": kind})

    def _has_key(self) -> bool:
        if self.headers.get("Authorization") == f"Key {KEY}":
            return True
        self.state.refused.append("401 of the key")
        return False

    def _fail(self, answer: Answer) -> None:
        self.send_json(answer.status, {"detail": answer.detail}, answer.headers)


@contextmanager
def fal(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Fal]:
    """The service at an address of this machine, until the block ends."""
    state = Fal(draw=draw or drawn)
    authority = Authority(folder, "fal-ca")
    state.authority = authority.certificate
    pair = authority.server("fal", "fal", [address])
    with served(type("Handler", (Service,), {"state": state}), pair, address) as state.url:
        yield state


def root(endpoint: str) -> str:
    """Where an endpoint's requests are: its owner and its app, without the path in it."""
    return "/" + "/".join(endpoint.split("/")[:2])


def state_of(state: Fal, request: Request) -> str:
    """Of a request, by how often it was asked for."""
    if request.is_cancelled:
        return "COMPLETED"
    if request.word == "slow poll" and request.questions <= 3:
        return "IN_QUEUE" if request.questions == 1 else "IN_PROGRESS"
    return "COMPLETED" if state.gate.is_set() else "IN_PROGRESS"


def wrong(endpoint: str, body: Mapping[str, Any]) -> str:
    """What is wrong with inputs; empty when they are right."""
    fields, needed, _ = ENDPOINTS[endpoint]
    schema = {"type": "object", "properties": fields, "required": needed, "additionalProperties": False}
    try:
        jsonschema.validate(body, schema)
        for name in {"image_url", "mask_url"} & set(body):
            opened(body[name]).load()
    except (jsonschema.ValidationError, OSError, binascii.Error) as error:
        return str(error)[:100]
    return ""


def opened(uri: str) -> Image.Image:
    """The picture of a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True)))


def shape(request: Request) -> dict[str, Any]:
    """What is drawn for a request; small where it names no size, in the ratio that endpoints make then."""
    body = request.body
    asked: dict[str, Any] = {"seed": 7, "aspect_ratio": "16:9" if request.makes_clips else "4:3"}
    asked |= {name: body[name] for name in ("prompt", "negative_prompt", "seed", "aspect_ratio") if name in body}
    if isinstance(body.get("image_size"), dict):
        asked |= body["image_size"]
    elif "image_url" in body:
        asked["width"], asked["height"] = opened(body["image_url"]).size
    if request.makes_clips:
        return asked | {"output_format": "mp4", "seconds": int(body.get("duration", 5))}
    return asked | {"output_format": body.get("output_format", "jpeg")}


def cost(endpoint: str, body: Mapping[str, Any]) -> Decimal:
    """In US dollars."""
    price = Decimal(ENDPOINTS[endpoint][2])
    if "video" in endpoint:
        return price * int(body.get("duration", 5))
    size = body.get("image_size")
    pixels = size["width"] * size["height"] if isinstance(size, dict) else MEGAPIXEL
    return price * max(1, -(-pixels // MEGAPIXEL)) * body.get("num_images", 1)


def result(state: Fal, name: str, request: Request) -> dict[str, Any]:
    """What an endpoint answers."""
    host = "https://169.254.169.254" if request.word == "elsewhere" else state.url
    suffix = content_type(request).partition("/")[2]
    made = {"url": f"{host}/files/{name}/result.{suffix}", "content_type": content_type(request)}
    if request.makes_clips:
        return {"video": None if request.word == "empty" else made | {"file_name": f"result.{suffix}", "file_size": 1}}
    return {
        "images": [] if request.word == "empty" else [made | {"width": None, "height": None}],
        "timings": {"inference": 1.0},
        "seed": request.body.get("seed", 7),
        "has_nsfw_concepts": [request.word == "blocked as 200"],
        "prompt": request.body["prompt"],
    }


def content_type(request: Request) -> str:
    return "video/mp4" if request.makes_clips else f"image/{request.body.get('output_format', 'jpeg')}"


def black(asked: Mapping[str, Any]) -> bytes:
    """What the safety check puts in a picture's place."""
    target = io.BytesIO()
    size = (asked.get("height") or 64, asked.get("width") or 64)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(target, "PNG")
    return target.getvalue()


ANY_SIZE = {"free": {"multipleOf": 8, "minPixels": 4096, "maxPixels": 1048576}}
SUBJECTS = (
    Subject(
        family="FalQueue",
        start=fal,
        secret={"API_KEY": KEY},
        spec={},
        offers=(
            {
                "model": "fal-ai/flux/dev",
                "tasks": ["text-to-image"],
                "honours": ["seed", "steps", "guidanceScale"],
                "sizes": ANY_SIZE,
                "prices": [{"amount": "0.025", "per": "Image"}],
            },
            {
                "model": "fal-ai/flux/dev/image-to-image",
                "tasks": ["image-to-image"],
                "honours": ["seed", "strength"],
                "prices": [{"amount": "0.03", "per": "Image"}],
            },
            {
                "model": "fal-ai/flux-pro/v1/fill",
                "tasks": ["inpaint"],
                "honours": ["seed"],
                "prices": [{"amount": "0.05", "per": "Image"}],
            },
            {
                "model": "fal-ai/qwen-image",
                "tasks": ["text-to-image"],
                "honours": ["seed", "negative"],
                "sizes": ANY_SIZE,
                "prices": [{"amount": "0.02", "per": "Image"}],
            },
            {
                "model": "fal-ai/kling-video/v2.5-turbo/pro/text-to-video",
                "tasks": ["text-to-video"],
                "honours": ["negative"],
                "sizes": {"aspectRatios": ["16:9", "9:16", "1:1"]},
                "seconds": [5, 10],
                "prices": [{"amount": "0.07", "per": "Second"}],
            },
            {
                "model": "fal-ai/kling-video/v2.5-turbo/pro/image-to-video",
                "tasks": ["image-to-video"],
                "honours": ["negative"],
                "seconds": [5, 10],
                "prices": [{"amount": "0.07", "per": "Second"}],
            },
        ),
        rows={
            "fal-ai/flux/dev": Row("text-to-image", {"width": 512, "height": 256}),
            "fal-ai/flux/dev/image-to-image": Row("image-to-image", {"strength": 0.5}),
            "fal-ai/flux-pro/v1/fill": Row("inpaint"),
            "fal-ai/qwen-image": Row("text-to-image"),
            "fal-ai/kling-video/v2.5-turbo/pro/text-to-video": Row("text-to-video", {"frames": 40, "fps": 8}),
            "fal-ai/kling-video/v2.5-turbo/pro/image-to-video": Row("image-to-video", {"frames": 80, "fps": 8}),
        },
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "invalid": Ends("BilledBadOutput"),
            "blocked as 200": Ends("ContentBlocked"),
            "failed": Ends("Transient", 0),
            "blocked late": Ends("ContentBlocked"),
            "expired for good": Ends("BilledBadOutput"),
            "elsewhere": Ends("BilledBadOutput"),
            **ASKED_ON,
        },
        never={
            "blocked": "the queue looks at no input; its endpoints do, behind the submission",
            "expired": "an answer is kept as it was, with the address in it",
        },
    ),
)
