"""Runway's API over TLS, with its key and version checked, its tasks kept and their credits counted.

Requests are validated against the parameter types of the official SDK, runwayml 5.24.0: the very fields, by their names on the wire, and
no other. Its client drives the emulator in tests. Errors are as docs.dev.runwayml.com/errors has them, and as clients in public
repositories quote them (400 for want of credit, issues with their paths, 404 for a task that was cancelled), read on 2026-11-29. Clips are
drawn at a quarter of their size.
"""

from __future__ import annotations

import base64
import json
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin

from easel_cluster.pki import Authority
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from typing_extensions import get_type_hints, is_typeddict

from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Subject, drawn
from easel_emulators.outstanding import Work
from easel_emulators.serving import Handling, served
from easel_inference.artifacts.headers import read_header

KEY = "key_" + "0123456789abcdef" * 8
VERSION = "2024-11-06"
PATHS = ("text_to_image", "text_to_video", "image_to_video", "video_to_video")
SECOND = {"gen4.5": 12, "gen4_turbo": 5, "aleph2": 28}
"""Credits of a second."""
PICTURE = {True: 8, False: 5}
"""Credits of a gen4_image, by whether it is one of 1080p."""
LARGEST_SEED = 2**32 - 1


@dataclass
class Answer:
    """What comes next in place of a task."""

    status: int
    error: str = "as a test asked"
    headers: dict[str, str] = field(default_factory=dict)
    issues: tuple[Mapping[str, Any], ...] = ()


UNKNOWN = Answer(400, "Validation of body failed", issues=({"code": "invalid_value", "path": ["model"]},))
"""Of a model that there is not, or no longer."""
GONE = Answer(404, "Could not find Task")
ANSWERS = {
    "throttled": Answer(429, "Too many requests"),
    "asks to wait": Answer(429, "Too many requests", {"Retry-After": "1"}),
    "unavailable": Answer(503, "Service unavailable"),
    "internal": Answer(500, "Internal server error"),
    "denied": Answer(401, "Invalid API key"),
    "no credit": Answer(400, "You do not have enough credits to run this task."),
    "retired": UNKNOWN,
    "invalid": Answer(400, "Validation of body failed", issues=({"code": "custom", "path": ["ratio"]},)),
}


class Runway(Emulator):
    """What happens next, and what has happened: of `next` a word, an `Answer`, or what the task says once it has ended."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.posted: list[str] = []
        """Paths of `calls`."""
        self.tasks: dict[str, Work] = {}
        self.endings: dict[str, Mapping[str, Any]] = {}
        self.deleted: list[str] = []


class Tasks(Handling):
    """One connection."""

    state: Runway

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        sent = self.sent()
        problem = self._stranger() or checked(self.state, self.path, sent)
        if problem is not None:
            self.state.refused.append(f"{problem.status} {problem.error}")
            self._fail(problem)
            return
        then = self.state.next.popleft() if self.state.next else "done"
        answer = ANSWERS.get(then) if isinstance(then, str) else then
        if isinstance(answer, Answer):
            self._fail(answer)
            return
        task = begun(self.state, self.state.calls[-1], then)
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        self.send_json(200, {"id": task.name, "estimatedCost": {"credits": credits_of(task.body)}})

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.path.startswith("/files/"):
            self._file()
            return
        task = self._task()
        if task is None or task.cancelled:
            self._fail(self._stranger() or GONE)
            return
        match task.found(self.state):
            case "lost":
                self.reset()
            case "throttled":
                self._fail(ANSWERS["throttled"])
            case "denied":
                self._fail(ANSWERS["denied"])
            case found:
                self.send_json(200, told(self.state, task, found))

    def do_DELETE(self) -> None:  # noqa: N802 - the name that http.server calls
        task = self._task()
        if task is None:
            self._fail(self._stranger() or GONE)
            return
        task.cancelled = True
        self.state.deleted.append(task.name)
        self.send(204, b"", {})

    def _task(self) -> Work | None:
        return None if self._stranger() else self.state.tasks.get(self.path.removeprefix("/v1/tasks/"))

    def _file(self) -> None:
        _, _, name, number = self.path.split("/")
        data = self.state.tasks[name].file(int(number))
        if self.headers.get("Authorization"):
            self.state.refused.append("the key was sent to where a result lies")
            self.send(400, b"", {})
        elif data is None:
            self.send(403, b"", {})
        else:
            self.send(200, data, {"Content-Type": "application/octet-stream"})

    def _stranger(self) -> Answer | None:
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return ANSWERS["denied"]
        return None if self.headers.get("X-Runway-Version") == VERSION else Answer(400, "Invalid X-Runway-Version")

    def _fail(self, answer: Answer) -> None:
        issues = {"issues": list(answer.issues)} if answer.issues else {}
        body = {"error": answer.error, "docUrl": "https://docs.dev.runwayml.com/api"} | issues
        self.send_json(answer.status, body, answer.headers)


@contextmanager
def runway(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Runway]:
    """The service at an address of this machine, until the block ends."""
    authority = Authority(folder, "runway-ca")

    class Handler(Tasks):
        state = Runway(draw=draw or drawn, authority=authority.certificate)

    with served(Handler, authority.server("runway", "runway", [address]), address) as Handler.state.url:
        yield Handler.state


def begun(state: Runway, body: dict[str, Any], word: str | Mapping[str, Any]) -> Work:
    """A task, which is paid for unless its credits come back."""
    width, height = (int(side) for side in body.get("ratio", "1280:720").split(":"))
    clip = "gen4_image" not in body["model"]
    picture = state.draw(
        {
            "prompt": body.get("promptText", ""),
            "seed": body.get("seed"),
            "width": width // 4 if clip else width,
            "height": height // 4 if clip else height,
            "output_format": "mp4" if clip else "png",
            "seconds": seconds_of(body),
        }
    )
    task = Work(str(uuid.uuid4()), body["model"], word if isinstance(word, str) else "done", picture, body)
    state.tasks[task.name] = task
    if not isinstance(word, str):
        state.endings[task.name] = word
        return task
    if word != "failed":
        state.bill(task.model, Decimal(credits_of(body)) / 100)
    return task


def credits_of(body: Mapping[str, Any]) -> int:
    """What a task costs."""
    if body["model"] not in SECOND:
        return PICTURE["1080" in body["ratio"] or body["ratio"] == "2112:912"]
    return SECOND[body["model"]] * seconds_of(body)


def seconds_of(body: Mapping[str, Any]) -> int:
    """The length of the clip: as asked, or of the one that is edited."""
    if "videoUri" in body:
        return math.ceil(read_header(base64.b64decode(body["videoUri"].partition(",")[2])).seconds)
    return int(body.get("duration", 5))


def told(state: Runway, task: Work, found: str) -> dict[str, Any]:
    """What a question is answered; see the SDK's `TaskRetrieveResponse`."""
    common = {"id": task.name, "createdAt": "2026-11-29T12:00:00.000Z"}
    if task.name in state.endings:
        return common | dict(state.endings[task.name])
    credits_taken = {"cost": {"credits": 0 if task.word == "failed" else credits_of(task.body)}}
    match found:
        case "unfinished":
            status = ("THROTTLED", "PENDING", "RUNNING")[min(task.asked, 3) - 1]
            progress = {"progress": 0.25} if status == "RUNNING" else {}
            return common | progress | {"status": status, "estimatedCost": {"credits": credits_of(task.body)}}
        case "failed":
            code = {"failure": "An unexpected error occurred.", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
            return common | credits_taken | code | {"status": "FAILED"}
        case "blocked late":
            code = {"failure": "Content was moderated.", "failureCode": "SAFETY.OUTPUT.IMAGE"}
            return common | credits_taken | code | {"status": "FAILED"}
        case _:
            output = [] if task.word == "empty" else [task.address(state.url)]
            return common | credits_taken | {"status": "SUCCEEDED", "output": output}


def checked(state: Runway, path: str, sent: bytes) -> Answer | None:
    """What is wrong with a request, as the service says it; None when it is taken."""
    try:
        body = json.loads(sent)
        shape = shapes().get((path.removeprefix("/v1/"), str(body.get("model"))))
        if shape is None:
            return UNKNOWN
        shape.model_validate(body)
        _bounded(body)
    except (ValueError, ValidationError) as error:
        return Answer(400, f"Validation of body failed {str(error)[:200]}")
    state.calls.append(body)
    state.posted.append(path)
    return None


def _bounded(body: Mapping[str, Any]) -> None:
    """What the types say in words alone."""
    units = len(str(body.get("promptText", "x")).encode("utf-16-le")) // 2
    pictures = [body.get("promptImage"), *(each["uri"] for each in body.get("referenceImages", []))]
    kinds = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,", "https://")
    for good, what in (
        (1 <= units <= 1000, "promptText"),
        (2 <= body.get("duration", 5) <= 10, "duration"),
        (0 <= body.get("seed", 0) <= LARGEST_SEED, "seed"),
        (all(each.startswith(kinds) for each in pictures if each), "image type"),
        (all(len(each) <= 5_000_000 for each in pictures if each), "image size"),
        (len(body.get("videoUri", "")) <= 16_000_000, "video size"),
        (body.get("videoUri", "data:video/mp4;").startswith(("data:video/mp4;", "https://")), "video type"),
    ):
        if not good:
            raise ValueError(what)


@cache
def shapes() -> dict[tuple[str, str], type[BaseModel]]:
    """By path and model: what a body may hold, from the SDK's own types."""
    found = {}
    for path in PATHS:
        module = import_module(f"runwayml.types.{path}_create_params")
        union = getattr(module, f"{''.join(word.title() for word in path.split('_'))}CreateParams")
        for each in get_args(union):
            (model,) = get_args(_bare(get_type_hints(each, include_extras=True)["model"]))
            found[path, model] = _strict(each)
    return found


def _strict(typed: type) -> type[BaseModel]:
    """A model of a `TypedDict`: fields by their names on the wire, none that is unknown, nothing converted."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(typed, include_extras=True).items():
        needed = get_origin(hint) is Required
        inner = get_args(hint)[0] if needed else hint
        marks = get_args(inner)[1:] if get_origin(inner) is Annotated else ()
        alias = next((mark.alias for mark in marks if getattr(mark, "alias", None)), name)
        fields[name] = (_read(_bare(inner)), Field(... if needed else None, alias=alias))
    config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_model(typed.__name__, __config__=config, **fields)


def _bare(hint: Any) -> Any:
    while get_origin(hint) in (Required, Annotated):
        hint = get_args(hint)[0]
    return hint


def _read(hint: Any) -> Any:
    """The type as JSON has it."""
    if is_typeddict(hint):
        return _strict(hint)
    inner = tuple(_read(_bare(each)) for each in get_args(hint)) if get_origin(hint) is not Literal else ()
    if get_origin(hint) in (Union, UnionType):
        return Union[inner]  # noqa: UP007 - made of what is known when it runs alone
    if inner:
        return list[inner[0]] if hint.__module__ in ("typing", "collections.abc") else dict
    return list if hint is Iterable else hint


SUBJECTS = (
    Subject(
        family="RunwayTasks",
        start=runway,
        secret={"API_KEY": KEY},
        spec={},
        offers=(
            {"model": "gen4_image"},
            {"model": "gen4.5"},
            {"model": "gen4_turbo"},
            {"model": "aleph2", "prices": [{"amount": "2.80", "per": "Image"}]},
        ),
        rows={
            "gen4_image": Row("text-to-image"),
            "gen4.5": Row("text-to-video", {"frames": 16, "fps": 8}),
            "gen4_turbo": Row("image-to-video", {"frames": 16, "fps": 8}),
            "aleph2": Row("video-to-video"),
        },
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "failed": Ends("BackendFault", 0),
            "blocked late": Ends("ContentBlocked"),
            "expired": Ends(),
            "expired for good": Ends("BilledBadOutput"),
            "elsewhere": Ends("BilledBadOutput"),
            **ASKED_ON,
        },
        never={
            "blocked": "requests are judged behind their submission, as a task that fails",
            "blocked as 200": "requests are judged behind their submission, as a task that fails",
        },
    ),
)
