"""OpenAI's images, at OpenAI and on Azure, over TLS, with the key or token checked and the calls and tokens counted.

Requests are validated against the types of the official client (unknown fields fail) and the limits that their docstrings state in words, answers
are its `ImagesResponse`. Errors are by hand: OpenAI's have the fields that the client reads, `moderation_details` as public code knows it; Azure's
are those of azure-rest-api-specs, AzureOpenAI inference 2025-04-01-preview (`inner_error`) and of reports (a resource that is blocked).
Tokens of a picture are by the formula of OpenAI's calculator (community.openai.com/t/1382699).
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from easel_cluster.pki import Authority
from openai.types import Image as Picture
from openai.types import ImagesResponse
from openai.types.image_edit_params import ImageEditParamsNonStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from openai.types.images_response import Usage, UsageInputTokensDetails
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from werkzeug.formparser import parse_form_data

from easel_emulators.base import USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.entra import Entra
from easel_emulators.serving import Handling, served

KEY = "sk-a-secret-of-tests"
VERSION = "2025-04-01-preview"
SCOPE = "https://cognitiveservices.azure.com/.default"
FREE = frozenset({"gpt-image-2", "gpt-image-2.5", "gpt-image-2.5-sunburst", "gpt-image-2.5-flare"}) | frozenset(
    {"gpt-image-2.6-sunburst", "gpt-image-2.6-flare"}
)
"""Models of any size."""
OLDER = frozenset({"gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"})
"""Models of three sizes."""
THREE = ("1024x1024", "1024x1536", "1536x1024")
SIDES = {
    "gpt-image-2": {"low": 16, "medium": 48, "high": 96},
    "gpt-image-2.5": {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96},
}
"""Tokens along the longer side of a picture, by the beginning of a model's name and the quality."""
OF_1 = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
OF_MINI = {"low": (625, 750, 750), "medium": (1375, 1875, 1875), "high": (4500, 6500, 6500)}
"""Tokens of 1024x1024, 1024x1536 and 1536x1024, by OpenAI's guide for gpt-image-1, and by mini's prices of a picture."""
RATES = {
    "gpt-image-1-mini": ("2", "2.50", "8"),
    "gpt-image-1.5": ("5", "8", "32"),
    "chatgpt-image-latest": ("5", "8", "32"),
}
LATEST = ("5", "8", "30")
"""US dollars for a million tokens of text and of pictures that go in, and of pictures that come out."""
TOKENS_OF_A_PROMPT, TOKENS_OF_AN_INPUT = 16, 1024
"""Of any: OpenAI's tokenizer is not here. With 16 the price of gpt-image-2's 1024x1024 in high is a whole number of hundredths of a cent."""


@with_config(ConfigDict(extra="forbid", strict=True))
class Generation(ImageGenerateParamsNonStreaming, total=False):
    """As JSON."""


@with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class Edit(ImageEditParamsNonStreaming, total=False):
    """As a form, whose numbers are text."""


GENERATION, EDIT = TypeAdapter(Generation), TypeAdapter(Edit)


@dataclass
class Answer:
    """What comes next in place of a picture."""

    status: int
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    billed: bool = False
    """Work was done."""


def openais(status: int, kind: str, code: str | None, **more: Any) -> Answer:
    """An error as OpenAI's client reads it."""
    return Answer(status, {"message": "as a test asked", "type": kind, "param": None, "code": code, **more})


def azures(status: int, code: str, message: str = "as a test asked", **more: Any) -> Answer:
    """An error as Azure writes it."""
    return Answer(status, {"code": code, "message": message, **more})


def moderated(stage: str) -> Answer:
    details = {"moderation_stage": stage, "categories": ["violence"]}
    return openais(400, "image_generation_user_error", "moderation_blocked", moderation_details=details)


FILTERED = {"violence": {"filtered": True, "severity": "high"}, "hate": {"filtered": False, "severity": "safe"}}
OPENAI = {
    "throttled": openais(429, "requests", "rate_limit_exceeded"),
    "asks to wait": Answer(429, openais(429, "requests", "rate_limit_exceeded").error, {"Retry-After": "1"}),
    "unavailable": openais(503, "server_error", None),
    "internal": openais(500, "server_error", "server_error"),
    "denied": openais(401, "invalid_request_error", "invalid_api_key"),
    "no credit": openais(429, "insufficient_quota", "insufficient_quota"),
    "retired": openais(404, "invalid_request_error", "model_not_found"),
    "invalid": openais(400, "invalid_request_error", "invalid_value"),
    "blocked": moderated("input"),
    "blocked late": Answer(400, moderated("output").error, billed=True),
}
AZURE = {
    "throttled": azures(429, "429"),
    "asks to wait": Answer(429, azures(429, "429").error, {"Retry-After": "1"}),
    "unavailable": azures(503, "ServiceUnavailable"),
    "internal": azures(500, "InternalServerError"),
    "denied": azures(401, "401"),
    "retired": azures(404, "DeploymentNotFound"),
    "invalid": azures(400, "invalidPayload"),
    "blocked": azures(
        400,
        "contentFilter",
        inner_error={"code": "ResponsibleAIPolicyViolation", "content_filter_results": FILTERED},
    ),
    "resource blocked": azures(
        403,
        "Forbidden",
        "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.",
    ),
}


@dataclass(kw_only=True)
class Images(Emulator):
    """What happens next, and what has happened: of `next` a word, or an `Answer`. `paid` is by model."""

    azure: bool = False
    entra: Entra | None = None
    """Whose tokens are taken in place of the key."""
    deployments: dict[str, str] = field(default_factory=dict)
    """Models of Azure by what the account calls them; others are called as the model is."""
    files: list[dict[str, Image.Image]] = field(default_factory=list)
    """Pictures of each edit."""
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def images(
    folder: Path,
    address: str = "127.0.0.1",
    draw: Draw | None = None,
    *,
    azure: bool = False,
    entra: Entra | None = None,
) -> Iterator[Images]:
    """The service at an address of this machine, until the block ends."""
    state = Images(draw=draw or drawn, azure=azure, entra=entra)
    authority = Authority(folder, "openai-ca")
    state.authority = authority.certificate
    pair = authority.server("openai", "openai", [address])
    answers = AZURE if azure else OPENAI

    class Handler(Handling):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            sent = self.sent()
            try:
                model, body = checked(state, self.path, dict(self.headers.items()), sent)
            except Problem as problem:
                state.refused.append(str(problem))
                self._fail(problem.answer)
                return
            then = state.next.popleft() if state.next else "picture"
            then = answers.get(then, then) if isinstance(then, str) else then
            asked, usage = shape(model, body), tokens(model, body)
            if not isinstance(then, Answer) or then.billed:
                state.bill(model, cost(model, usage))
            if isinstance(then, Answer):
                self._fail(then)
            elif self.lost(then):
                pass
            elif then == "words":
                self.send(200, b"I'm sorry", {"Content-Type": "text/plain"})
            else:
                if then == "slow":
                    time.sleep(2)
                state.gate.wait(60)
                self.send_json(200, answer(state, then, state.draw(asked), body, usage))

        def _fail(self, told: Answer) -> None:
            self.send_json(told.status, {"error": told.error}, told.headers)

    with served(Handler, pair, address) as state.url:
        yield state


class Problem(Exception):
    """A request that is not taken."""

    def __init__(self, answer: Answer, why: str) -> None:
        super().__init__(f"{answer.status} {why}"[:200])
        self.answer = answer


def checked(state: Images, path: str, headers: dict[str, str], sent: bytes) -> tuple[str, dict[str, Any]]:
    """The model and what it is asked; raises `Problem`."""
    url = urlsplit(path)
    operation = _authorised(state, url.path, headers, dict(parse_qsl(url.query)))
    told = {name.lower(): value for name, value in headers.items()}
    body, files = (_json(sent), {}) if operation == "generations" else _form(told.get("content-type", ""), sent)
    try:
        (GENERATION if operation == "generations" else EDIT).validate_python(body)
    except ValidationError as error:
        raise _invalid(str(error)) from None
    model = _model(state, url.path, body)
    for problem in _limits(model, body):
        raise _invalid(problem)
    if operation == "edits":
        state.files.append(_pictures(files))
    state.headers.append(told)
    state.calls.append({name: value for name, value in body.items() if name not in files})
    return model, body | {f"{name} of a file": True for name in files}


def _authorised(state: Images, path: str, headers: dict[str, str], query: dict[str, str]) -> str:
    told = {name.lower(): value for name, value in headers.items()}
    if state.entra is not None:
        known = state.entra.accepts(told.get("authorization", ""), SCOPE) and "api-key" not in told
    elif state.azure:
        known = told.get("api-key") == KEY and "authorization" not in told
    else:
        known = told.get("authorization") == f"Bearer {KEY}"
    if not known:
        raise Problem((AZURE if state.azure else OPENAI)["denied"], "key")
    start = "/openai/deployments/[^/]+" if state.azure else "/v1"
    found = re.fullmatch(rf"{start}/images/(generations|edits)", path)
    if found is None or query != ({"api-version": VERSION} if state.azure else {}):
        raise Problem(openais(404, "invalid_request_error", None), f"path {path}")
    return found[1]


def _model(state: Images, path: str, body: dict[str, Any]) -> str:
    if state.azure:
        name = path.split("/")[3]
        model = state.deployments.get(name, name)
    else:
        model = body.get("model", "")
    if model not in FREE | OLDER:
        raise Problem((AZURE if state.azure else OPENAI)["retired"], f"model {model}")
    return model


def _json(sent: bytes) -> dict[str, Any]:
    try:
        body = json.loads(sent)
    except ValueError:
        raise _invalid("no JSON") from None
    if not isinstance(body, dict):
        raise _invalid("no object")
    return body


def _form(media_type: str, sent: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    told = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": media_type,
        "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
    }
    _, fields, files = parse_form_data(told)
    found = {name: file.read() for name, file in files.items()}
    return dict(fields.items()) | found, found


def _invalid(why: str) -> Problem:
    return Problem(openais(400, "invalid_request_error", "invalid_value"), why)


def _limits(model: str, body: dict[str, Any]) -> Iterator[str]:
    """What the types say in words alone."""
    if not 0 < len(body["prompt"]) <= 32000:
        yield "prompt"
    if not 1 <= int(body.get("n", 1)) <= 10:
        yield "n"
    if body.get("quality") not in (None, "auto", *_qualities(model)):
        yield "quality"
    if body.get("output_format") not in (None, "png", "jpeg", "webp"):
        yield "output_format: previews of others need access"
    if body.keys() & {"response_format", "style", "user", "input_fidelity", "partial_images", "svg"}:
        yield "a field of other models"
    if not _is_size(model, body.get("size") or "auto"):
        yield "size"


def _is_size(model: str, size: str) -> bool:
    if size == "auto" or size in THREE or model in OLDER:
        return size == "auto" or size in THREE
    if not re.fullmatch(r"[0-9]{2,4}x[0-9]{2,4}", size):
        return False
    width, height = map(int, size.split("x"))
    return (
        width % 16 == height % 16 == 0
        and max(width, height) <= min(3840, 3 * min(width, height))
        and 655360 <= width * height <= 8294400
    )


def _pictures(files: dict[str, bytes]) -> dict[str, Image.Image]:
    found = {}
    for name, data in files.items():
        try:
            found[name] = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])
            found[name].load()
        except OSError:
            raise _invalid(f"{name} is no picture") from None
        if len(data) >= (4 if name == "mask" else 50) * 2**20:
            raise _invalid(f"{name} is too large")
    mask = found.get("mask")
    if mask is not None:
        if mask.format != "PNG" or mask.size != found["image"].size or found["image"].format != "PNG":
            raise _invalid("the mask is no PNG of the image's size")
        if mask.mode != "RGBA" or mask.getchannel("A").getextrema()[0] != 0:
            raise _invalid("the mask has no transparent pixel")
    return found


def shape(model: str, body: dict[str, Any]) -> dict[str, Any]:
    """What is drawn; where a request leaves it open a square."""
    size = body.get("size") if body.get("size") not in (None, "auto") else THREE[0]
    width, height = map(int, str(size).split("x"))
    return {
        "prompt": body["prompt"],
        "width": width,
        "height": height,
        "output_format": body.get("output_format") or "png",
        "model": model,
    }


def picture_tokens(side: int, width: int, height: int) -> int:
    """The calculator's formula: a grid of `side` along the longer edge, weighed by the area."""
    longer, shorter = max(width, height), min(width, height)
    across = (2 * side * shorter + longer) // (2 * longer)
    return -(-side * across * (2_000_000 + width * height) // 4_000_000)


def _qualities(model: str) -> dict[str, Any]:
    if model in OLDER:
        return OF_MINI if model == "gpt-image-1-mini" else OF_1
    return SIDES["gpt-image-2" if model == "gpt-image-2" else "gpt-image-2.5"]


def tokens(model: str, body: dict[str, Any]) -> Usage:
    """What a call takes; a quality that is left open is high."""
    asked = shape(model, body)
    width, height = asked["width"], asked["height"]
    found = _qualities(model)[body["quality"] if body.get("quality") not in (None, "auto") else "high"]
    made = found[THREE.index(f"{width}x{height}")] if model in OLDER else picture_tokens(found, width, height)
    pictures = TOKENS_OF_AN_INPUT * sum(name.endswith(" of a file") for name in body)
    return Usage(
        input_tokens=TOKENS_OF_A_PROMPT + pictures,
        input_tokens_details=UsageInputTokensDetails(text_tokens=TOKENS_OF_A_PROMPT, image_tokens=pictures),
        output_tokens=made,
        total_tokens=TOKENS_OF_A_PROMPT + pictures + made,
    )


def cost(model: str, usage: Usage) -> Decimal:
    """In US dollars."""
    text, picture, made = map(Decimal, RATES.get(model, LATEST))
    details = usage.input_tokens_details
    return (details.text_tokens * text + details.image_tokens * picture + usage.output_tokens * made) / 1_000_000


def answer(state: Images, then: str, data: bytes, body: dict[str, Any], usage: Usage) -> dict[str, Any]:
    """An answer that looks well."""
    encoded = base64.b64encode(spoiled(then, data)).decode()
    asked = body.get("quality")
    made = ImagesResponse(
        created=int(time.time()),
        data=[] if then == "empty" else [Picture(b64_json=encoded)],
        quality=asked if asked not in (None, "auto") else "high",
        output_format=body.get("output_format") or "png",
        usage=usage,
    ).model_dump(mode="json", exclude_none=True)
    if state.azure and made["data"]:
        safe = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
        made["data"][0]["content_filter_results"] = safe
        made["data"][0]["prompt_filter_results"] = safe | {"profanity": {"detected": False, "filtered": False}}
        if then == "blocked as 200":
            made["data"][0] = {"content_filter_results": FILTERED}
    return made


BOTH = {
    **USUAL,
    "blocked": Ends("ContentBlocked", 0),
}
HANDLES = (
    "failed",
    "expired",
    "expired for good",
    "elsewhere",
    "slow poll",
    "lost poll",
    "throttled poll",
    "denied poll",
)
NEVER = dict.fromkeys(HANDLES, "a call answers with its picture, and gives no handle")

BOUND = {"amount": "30", "per": "MillionTokens", "tokens": 23719}
"""What an account may say of a model of which nobody tells how many tokens a picture takes."""
OLD = {"amount": "32", "per": "MillionTokens", "tokens": 6240}
OPENAIS = (
    {"model": "gpt-image-2"},
    {"model": "gpt-image-2.5-sunburst", "prices": [BOUND]},
    {"model": "gpt-image-2.5-flare"},
    {"model": "gpt-image-2.6-sunburst", "prices": [BOUND]},
    {"model": "gpt-image-2.6-flare", "prices": [BOUND]},
    {"model": "gpt-image-1.5"},
    {"model": "gpt-image-1-mini"},
    {"model": "chatgpt-image-latest", "prices": [OLD]},
)
AZURES = (
    {"model": "gpt-image-2"},
    {"model": "gpt-image-2.5", "prices": [BOUND]},
    {"model": "gpt-image-1.5", "prices": [OLD]},
    {"model": "gpt-image-1-mini", "prices": [OLD | {"amount": "8", "tokens": 6500}]},
)
SUBJECTS = (
    Subject(
        family="OpenAIImages",
        start=images,
        secret={"API_KEY": KEY},
        spec={},
        offers=OPENAIS,
        rows={str(offer["model"]): Row("text-to-image") for offer in OPENAIS},
        ends=BOTH | {"no credit": Ends("QuotaExhausted", 0), "blocked late": Ends("ContentBlocked")},
        never=NEVER | {"blocked as 200": "OpenAI refuses by an error, whatever the stage"},
    ),
    Subject(
        family="AzureOpenAIImages",
        start=partial(images, azure=True),
        secret={"API_KEY": KEY},
        spec={},
        offers=AZURES,
        rows={str(offer["model"]): Row("text-to-image") for offer in AZURES},
        ends=BOTH | {"blocked as 200": Ends("ContentBlocked")},
        never=NEVER
        | {
            "no credit": "Azure bills behind the month; a subscription that was disabled is refused like a key",
            "blocked late": "Azure holds a picture back by an answer that looks well",
        },
    ),
)
