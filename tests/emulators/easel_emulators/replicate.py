"""Replicate's API over TLS, with its key checked, and its predictions kept and counted.

Requests and answers are by Replicate's OpenAPI description (api.replicate.com/openapi.json, as tryAGI/Replicate kept it in March 2026) by
hand, and the official SDK, replicate 1.0.7, drives the emulator in tests. Each model has a schema of its inputs, a cut of its own as it was
seen in public; the service drops an input that is not in it, the emulator refuses it. Problems are told as RFC 7807 has them.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority
from werkzeug.formparser import parse_form_data

from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Subject, drawn
from easel_emulators.outstanding import Work
from easel_emulators.serving import Handling, served

KEY = "r8_a_secret_of_tests"
FLUX, WAN, SDXL = "black-forest-labs/flux-schnell", "wan-video/wan-2.2-t2v-fast", "stability-ai/sdxl"
VERSION = "39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b"
PRICES = {FLUX: "0.003", WAN: "0.05", SDXL: "0.0037"}
"""In US dollars for a result, by replicate.com's pages as third parties quote them."""
RAN_SECONDS = 2.5
RATIOS = ["1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21"]
SEED = {"type": "integer"}


def schema(inputs: Mapping[str, Any], required: tuple[str, ...] = ("prompt",), **enums: list[Any]) -> dict[str, Any]:
    """A version's description, as `cog` writes it: what may be chosen stands apart."""
    chosen = {name: {"allOf": [{"$ref": f"#/components/schemas/{name}"}]} for name in enums}
    parts = {name: {"title": name, "type": "string", "enum": values} for name, values in enums.items()}
    properties = {"prompt": {"type": "string"}, **inputs, **chosen}
    told = {"type": "object", "title": "Input", "required": list(required), "properties": properties}
    return {"openapi": "3.0.2", "components": {"schemas": {"Input": told, "Output": {"title": "Output"}} | parts}}


SCHEMAS = {
    FLUX: schema(
        {
            "seed": SEED,
            "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 4, "default": 4},
            "output_quality": {"type": "integer"},
            "disable_safety_checker": {"type": "boolean"},
            "go_fast": {"type": "boolean"},
        },
        aspect_ratio=RATIOS,
        output_format=["webp", "jpg", "png"],
    ),
    SDXL: schema(
        {
            "seed": SEED,
            "negative_prompt": {"type": "string"},
            "image": {"type": "string", "format": "uri"},
            "mask": {"type": "string", "format": "uri"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
            "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4},
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 500},
            "guidance_scale": {"type": "number", "minimum": 1, "maximum": 50},
            "prompt_strength": {"type": "number", "minimum": 0, "maximum": 1},
        },
        required=(),
    ),
    WAN: schema(
        {
            "seed": SEED,
            "num_frames": {"type": "integer", "minimum": 8, "maximum": 121},
            "frames_per_second": {"type": "integer", "minimum": 5, "maximum": 30},
        },
        aspect_ratio=["16:9", "9:16"],
        resolution=["480p", "720p"],
    ),
}


@dataclass
class Answer:
    """What comes next in place of a prediction."""

    status: int
    title: str = ""
    detail: str = "as a test asked"
    headers: dict[str, str] = field(default_factory=dict)


ANSWERS = {
    "throttled": Answer(429, detail="Request was throttled. Your rate limit resets in ~30s."),
    "asks to wait": Answer(429, detail="Request was throttled.", headers={"Retry-After": "1"}),
    "unavailable": Answer(503, "Service unavailable"),
    "internal": Answer(500, "Internal server error"),
    "denied": Answer(401, "Unauthenticated", "You did not pass a valid authentication token"),
    "no credit": Answer(402, "Insufficient credit", "You have insufficient credit to run this model."),
    "retired": Answer(404, detail="The requested resource could not be found."),
    "invalid": Answer(422, "Input validation failed", "- input.seed: Invalid type."),
}
NSFW = "NSFW content detected. Try running it again, or try a different prompt."
INTERRUPTED = "Prediction interrupted; please retry (code: PA)"


class Replicate(Emulator):
    """What happens next, and what has happened: of `next` a word, an `Answer`, or what the prediction says once it has ended."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.predictions: dict[str, Work] = {}
        self.endings: dict[str, Mapping[str, Any]] = {}
        self.posted: list[str] = []
        self.uploads: list[int] = []
        self.cancelled: list[str] = []
        self.described = 0
        """How often a model was asked what it takes."""
        self.free: deque[Answer] = deque()
        """What comes next in place of such a description, or of an upload."""


class Predictions(Handling):
    """One connection."""

    state: Replicate

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        sent = self.sent()
        if self._denied():
            return
        if self.path == "/v1/files":
            self._upload(sent)
        elif self.path.endswith("/cancel"):
            self._cancel(self.path.split("/")[3])
        else:
            self._create(sent)

    def _create(self, sent: bytes) -> None:
        state = self.state
        problem, model = checked(state, self.path, sent, self.headers.get("Prefer"))
        if problem is not None:
            state.refused.append(f"{problem.status} {problem.detail}")
            self._fail(problem)
            return
        then = state.next.popleft() if state.next else "done"
        answer = ANSWERS.get(then) if isinstance(then, str) else then
        if isinstance(answer, Answer):
            self._fail(answer)
            return
        made = begun(state, model, state.calls[-1], then)
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        self.send_json(201, told(state, made, "unfinished"))

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.path.startswith("/files/"):
            self._file()
            return
        if self._denied():
            return
        if self.path.startswith("/v1/models/"):
            self._describe()
            return
        made = self.state.predictions.get(self.path.removeprefix("/v1/predictions/"))
        found = made.found(self.state) if made else ""
        match found:
            case "lost":
                self.reset()
            case "throttled" | "denied":
                self._fail(ANSWERS[found])
            case "":
                self._fail(ANSWERS["retired"])
            case _:
                self.send_json(200, told(self.state, made, found))

    def _describe(self) -> None:
        self.state.described += 1
        if self.state.free:
            self._fail(self.state.free.popleft())
            return
        owner, name, *rest = self.path.removeprefix("/v1/models/").split("/")
        model = f"{owner}/{name}"
        if model not in SCHEMAS or (rest and rest != ["versions", VERSION]):
            self._fail(ANSWERS["retired"])
            return
        version = {
            "id": VERSION,
            "created_at": "2026-01-01T00:00:00Z",
            "cog_version": "0.16.0",
            "openapi_schema": SCHEMAS[model],
        }
        described = {
            "url": f"https://replicate.com/{model}",
            "owner": owner,
            "name": name,
            "description": "",
            "visibility": "public",
            "run_count": 1,
            "default_example": None,
            "latest_version": version,
        }
        self.send_json(200, version if rest else described)

    def _cancel(self, name: str) -> None:
        made = self.state.predictions.get(name)
        if made is None:
            self._fail(ANSWERS["retired"])
            return
        made.cancelled = True
        self.state.cancelled.append(name)
        self.send_json(200, told(self.state, made, "cancelled"))

    def _upload(self, sent: bytes) -> None:
        if self.state.free:
            self._fail(self.state.free.popleft())
            return
        told = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(sent)),
            "wsgi.input": io.BytesIO(sent),
        }
        _, _, parts = parse_form_data(told)
        data, name = parts["content"].read(), secrets.token_hex(12)
        self.state.uploads.append(len(data))
        body = {
            "id": name,
            "name": parts["content"].filename,
            "content_type": parts["content"].mimetype,
            "size": len(data),
            "etag": name,
            "checksums": {"sha256": hashlib.sha256(data).hexdigest()},
            "metadata": {},
            "created_at": "2026-11-29T12:00:00.000Z",
            "expires_at": "2026-11-30T12:00:00.000Z",
            "urls": {"get": f"{self.state.url}/v1/files/{name}"},
        }
        self.send_json(201, body)

    def _file(self) -> None:
        _, _, name, number = self.path.split("/")
        data = self.state.predictions[name].file(int(number))
        if self.headers.get("Authorization"):
            self.state.refused.append("the key was sent to where a result lies")
            self.send(400, b"", {})
        elif data is None:
            self.send(404, b"", {})
        else:
            self.send(200, data, {"Content-Type": "application/octet-stream"})

    def _denied(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {KEY}":
            return False
        self.state.refused.append("401")
        self._fail(ANSWERS["denied"])
        return True

    def _fail(self, answer: Answer) -> None:
        titled = {"title": answer.title} if answer.title else {}
        body = titled | {"detail": answer.detail, "status": answer.status}
        self.send_json(answer.status, body, {"Content-Type": "application/problem+json"} | answer.headers)


@contextmanager
def replicate(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Replicate]:
    """The service at an address of this machine, until the block ends."""
    authority = Authority(folder, "replicate-ca")

    class Handler(Predictions):
        state = Replicate(draw=draw or drawn, authority=authority.certificate)

    with served(Handler, authority.server("replicate", "replicate", [address]), address) as Handler.state.url:
        yield Handler.state


def checked(state: Replicate, path: str, sent: bytes, prefer: str | None) -> tuple[Answer | None, str]:
    """What is wrong with a request, as the service says it, and the model; None when it is taken."""
    try:
        body = json.loads(sent)
    except ValueError:
        return Answer(400, "Bad request"), ""
    if path == "/v1/predictions":
        model = SDXL if body.pop("version", None) == VERSION else ""
        if not model:
            return Answer(422, "Invalid version or not permitted", "The specified version does not exist"), ""
    else:
        model = path.removeprefix("/v1/models/").removesuffix("/predictions")
        if model not in (FLUX, WAN):  # models of the community are asked by their version
            return ANSWERS["retired"], model
    parts = SCHEMAS[model]["components"]["schemas"]
    whole = {
        "type": "object",
        "required": ["input"],
        "additionalProperties": False,
        "properties": {"input": parts["Input"] | {"additionalProperties": False}},
        "components": {"schemas": parts},
    }
    try:
        jsonschema.validate(body, whole)
        for name in ("image", "mask"):
            if not body["input"].get(name, "https://").startswith(("https://", "data:image/")):
                raise ValueError(f"input.{name} is no URI")
        if prefer is not None:
            raise ValueError("the request is held open")
    except (ValueError, jsonschema.ValidationError) as error:
        return Answer(422, "Input validation failed", f"- input: {str(error)[:200]}"), model
    state.calls.append(body["input"])
    state.posted.append(path)
    return None, model


def begun(state: Replicate, model: str, body: dict[str, Any], word: str | Mapping[str, Any]) -> Work:
    """A prediction, which is paid for when the model runs."""
    clip = model == WAN
    frames, fps = body.get("num_frames", 81), body.get("frames_per_second", 16)
    asked = {
        "prompt": body.get("prompt", ""),
        "negative_prompt": body.get("negative_prompt"),
        "seed": body.get("seed"),
        "width": body.get("width"),
        "height": body.get("height"),
        "aspect_ratio": body.get("aspect_ratio", "16:9" if clip else "1:1"),
        "output_format": "mp4" if clip else body.get("output_format", "webp" if model == FLUX else "png"),
        "seconds": round(frames / fps),
    }
    made = Work(secrets.token_hex(13), model, word if isinstance(word, str) else "done", state.draw(asked), body)
    state.predictions[made.name] = made
    if not isinstance(word, str):
        state.endings[made.name] = word
    elif word != "failed":
        state.bill(model, Decimal(PRICES[model]))
    return made


def told(state: Replicate, made: Work, found: str) -> dict[str, Any]:
    """What a question is answered."""
    of = f"{state.url}/v1/predictions/{made.name}"
    common = {
        "id": made.name,
        "model": made.model,
        "version": VERSION if made.model == SDXL else "hidden",
        "input": made.body,
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "created_at": "2026-11-29T12:00:00.000Z",
        "urls": {"get": of, "cancel": f"{of}/cancel", "web": f"https://replicate.com/p/{made.name}"},
    }
    ended = {
        "started_at": "2026-11-29T12:00:01.000Z",
        "completed_at": "2026-11-29T12:00:04.000Z",
        "metrics": {"predict_time": RAN_SECONDS, "total_time": 3.0},
    }
    if found != "unfinished" and made.name in state.endings:
        return common | dict(state.endings[made.name])
    match found:
        case "unfinished":
            logs = " 40%|####      | 2/5 [00:01<00:02,  2.0it/s]"
            return common | ({"status": "starting"} if made.asked < 2 else {"status": "processing", "logs": logs})
        case "cancelled":
            return common | ended | {"status": "canceled"}
        case "failed":
            never = {"completed_at": "2026-11-29T12:00:02.000Z", "metrics": {"total_time": 2.0}}
            return common | never | {"status": "failed", "error": INTERRUPTED}
        case "blocked late":
            return common | ended | {"status": "failed", "error": NSFW}
        case _:
            if made.word == "empty":
                return common | ended | {"status": "succeeded", "output": []}
            address = made.address(state.url)
            return common | ended | {"status": "succeeded", "output": address if made.model == WAN else [address]}


SUBJECTS = (
    Subject(
        family="ReplicatePredictions",
        start=replicate,
        secret={"API_KEY": KEY},
        spec={},
        offers=(
            {
                "model": FLUX,
                "tasks": ["text-to-image"],
                "honours": ["seed"],
                "sizes": {"aspectRatios": ["1:1", "16:9", "9:16"]},
                "prices": [{"amount": PRICES[FLUX], "per": "Image"}],
            },
            {
                "model": f"{SDXL}:{VERSION}",
                "tasks": ["text-to-image", "image-to-image", "inpaint"],
                "honours": ["seed", "negative", "steps", "guidanceScale", "strength"],
                "sizes": {"free": {"multipleOf": 8, "minPixels": 262144, "maxPixels": 1048576}},
                "prices": [{"amount": PRICES[SDXL], "per": "Image"}],
            },
            {
                "model": WAN,
                "tasks": ["text-to-video"],
                "honours": ["seed", "frames", "fps"],
                "sizes": {"aspectRatios": ["16:9", "9:16"], "tiers": ["480p"]},
                "seconds": [1, 2],
                "prices": [{"amount": PRICES[WAN], "per": "Image"}],
            },
        ),
        rows={
            FLUX: Row("text-to-image"),
            f"{SDXL}:{VERSION}": Row("image-to-image"),
            WAN: Row("text-to-video", {"frames": 16, "fps": 8}),
        },
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "failed": Ends("BackendFault", 0),
            "blocked late": Ends("ContentBlocked"),
            "expired for good": Ends("BilledBadOutput"),
            "elsewhere": Ends("BilledBadOutput"),
            **ASKED_ON,
        },
        never={
            "blocked": "requests are judged behind their submission, as a prediction that fails",
            "blocked as 200": "requests are judged behind their submission, as a prediction that fails",
            "expired": "a result has one address, and its data is removed behind an hour",
        },
    ),
)
