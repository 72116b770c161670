"""Runway's API: a task for a call, asked for until it ends.

By the types of its official SDK, runwayml 5.24.0, and docs.dev.runwayml.com (inputs, errors, task failures, moderation), read on 2026-11-29.
A task that ended says what it cost, in credits of a cent: what a filter held back is billed like a clip, what failed is mostly not, and the
task's own figure decides. A request that waits for a free place (THROTTLED) was taken; results lie at addresses of a day, and the task names
fresh ones when it is asked again.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BadOutput,
    BilledBadOutput,
    ContentBlocked,
    EaselError,
    InvalidInput,
    ModelRetired,
    QuotaExhausted,
    Transient,
    Unsupported,
)
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from .base import PaidBlock, Setup
from .polled import CancellablePolled, Ended, Made, Pace, Unfinished
from .rest import Answer, Rest, refused

HOST = "https://api.dev.runwayml.com"
VERSION = "2024-11-06"
NAME = "Runway"
PACE = Pace(first=5.0)
"""A task says nothing new more often than every 5 s, by the SDK's words on it."""
CENTS = Decimal("0.01")
"""US dollars for a credit."""
LONGEST_PROMPT = 1000
"""UTF-16 code units."""
LARGEST_PICTURE, LARGEST_CLIP = 5_000_000, 16_000_000
"""Bytes of a data URI."""
USUAL_SECONDS = 5
"""Asked for where the job names no length and the model wants one."""
TASK_ID = re.compile(r"[-A-Za-z0-9_]{1,128}")
CODE = re.compile(r"[A-Z0-9_.]{1,80}")

PORTRAIT = {"16:9": "1280:720", "9:16": "720:1280"}
CLIPS = PORTRAIT | {"4:3": "1104:832", "3:4": "832:1104", "1:1": "960:960", "21:9": "1584:672"}
PICTURES = {
    "720p": PORTRAIT | {"1:1": "720:720", "4:3": "960:720", "3:4": "720:960", "21:9": "1680:720"},
    "1080p": {
        "16:9": "1920:1080",
        "9:16": "1080:1920",
        "1:1": "1080:1080",
        "4:3": "1440:1080",
        "3:4": "1080:1440",
        "21:9": "2112:912",
    },
}
"""What each size is called, by its ratio."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A path and a body."""

    path: str
    body: dict[str, Any]


def client(setup: Setup) -> CancellablePolled:
    """The client of a model; see `families.client_of`."""
    return polled(setup, PACE)


def polled(setup: Setup, pace: Pace) -> CancellablePolled:
    """The same at another pace."""
    remote = RunwayTasks(setup)
    return CancellablePolled(setup.name, remote, remote.cancel, pace)


class RunwayTasks:
    """One model; see `polled.Remote`."""

    def __init__(self, setup: Setup) -> None:
        if setup.model not in SHAPES:
            raise Unsupported("this client does not know the model", where="spec.offers[].model", found=setup.model)
        self.model, self.provider = f"runway/{setup.model}", NAME
        self._id, self._resolved = setup.model, setup.resolved
        headers = {"Authorization": f"Bearer {setup.key('API_KEY')}", "X-Runway-Version": VERSION}
        self._api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)

    def submit(self, request: GenerationRequest, inputs: Inputs, _: Callable[[str], None]) -> str:
        """Starts the task; its id is the handle."""
        asked = SHAPES[self._id](request, inputs, self._resolved)
        body = {"model": self._id, "seed": request.seed, **asked.body}
        answer = self._api.post(asked.path, body, self._id)
        if answer.status not in (200, 201):
            raise _refused(answer, self._id)
        named = str(answer.json().get("id", ""))
        if not TASK_ID.fullmatch(named):
            raise AmbiguousSubmit(
                "the task was taken, and its name is not told",
                where=self._id,
                found=f"HTTP {answer.status}",
                fix="Look at the account's usage before the item is asked for again",
            )
        return named

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """How the task is; see `polled.Remote`."""
        answer = self._api.ask("GET", f"/v1/tasks/{handle}", self._id)
        if answer.status != 200:
            raise refused(NAME, answer, self._id)
        told = answer.json()
        match told.get("status"):
            case "PENDING" | "THROTTLED":
                return Unfinished()
            case "RUNNING":
                return Unfinished(_percent(told.get("progress")))
            case "SUCCEEDED":
                return self._made(told)
            case "FAILED" | "CANCELLED":
                return Ended(_failure(told, self._id))
            case _:
                raise Transient(f"{NAME} says nothing that is known of the task", where=self._id)

    def _made(self, told: Mapping[str, Any]) -> Made:
        addresses = told.get("output")
        if not isinstance(addresses, list) or not addresses:
            raise BilledBadOutput(f"{NAME} delivered nothing", where=self._id, found="a task that succeeded")
        taken = _credits(told)
        return Made(self._api.fetch(str(addresses[0]), self._id), cost=None if taken is None else taken * CENTS)

    def cancel(self, handle: str) -> None:
        """Stops the task; one that runs already is billed all the same. One that is gone needs no stopping."""
        answer = self._api.ask("DELETE", f"/v1/tasks/{handle}", self._id)
        if answer.status not in (200, 204, 404):
            raise refused(NAME, answer, self._id)


def _refused(answer: Answer, model: str) -> EaselError:
    told, found = answer.json(), f"HTTP {answer.status}"
    said, issues = str(told.get("error", "")), told.get("issues")
    paths = [each.get("path") for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []
    if answer.status == 400 and "enough credits" in said:
        return QuotaExhausted(f"the account at {NAME} has no credit left", where=model, found=found, fix="Add some")
    if ["model"] in paths or (answer.status == 403 and "is not available" in said):
        return ModelRetired(f"{NAME} serves no such model", where=model, found=found, fix="See docs/providers.md")
    if answer.status == 504:  # a gateway that did not wait: nobody says that the task was not begun
        return AmbiguousSubmit(
            "the answer was lost, and the task may have begun",
            where=model,
            found=found,
            fix="Look at the account's usage before the item is asked for again",
        )
    return refused(NAME, answer, model)


def _credits(told: Mapping[str, Any]) -> Decimal | None:
    """What a task that ended cost; None when it does not say."""
    cost = told.get("cost")
    taken = cost.get("credits") if isinstance(cost, dict) else None
    if isinstance(taken, bool) or not isinstance(taken, int | float) or not math.isfinite(taken) or taken < 0:
        return None
    return Decimal(str(taken))


def _failure(told: Mapping[str, Any], model: str) -> EaselError:
    """Why a task has no result; billed unless it says that it cost nothing."""
    code = str(told.get("failureCode") or told.get("status"))
    found = code if CODE.fullmatch(code) else "an unknown code"
    billed = _credits(told) != 0
    if "SAFETY" in code.split("."):
        blocked = PaidBlock if billed else ContentBlocked
        return blocked("a safety policy of the provider refused it", where=model, found=found)
    if billed:
        return BilledBadOutput(f"{NAME} ended the task without a result, and bills it", where=model, found=found)
    if code.startswith("ASSET."):
        return InvalidInput(f"{NAME} cannot use an input", where="spec.inputs", found=found)
    return BackendFault(f"{NAME} ended the task without a result", where=model, found=found)


def _percent(progress: object) -> int | None:
    return round(progress * 100) if isinstance(progress, int | float) and 0 <= progress <= 1 else None


def _text(request: GenerationRequest, *, needed: bool = True, longest: int | None = LONGEST_PROMPT) -> dict[str, str]:
    units = len(request.prompt.encode("utf-16-le")) // 2
    if longest is not None and units > longest:
        raise InvalidInput(
            f"the model takes {longest} UTF-16 code units", where="spec.prompts", found=f"{units} of them"
        )
    if not request.prompt and needed:
        raise InvalidInput("the model needs a prompt", where="spec.prompts", fix="Write one")
    return {"promptText": request.prompt} if request.prompt else {}


def _clip_of(request: GenerationRequest) -> None:
    if request.encoding != "mp4":
        raise Unsupported("the model makes MP4 alone", where="spec.output.format", found=request.encoding)


def _uri(data: bytes | None, name: str, kinds: tuple[str, ...], largest: int) -> str:
    """An input as a data URI."""
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    try:
        kind = read_header(data).media_type
    except BadOutput:
        kind = "something else"
    if kind not in kinds:
        raise Unsupported(f"{NAME} takes {' and '.join(kinds)}", where=f"spec.inputs.{name}", found=kind)
    uri = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if len(uri) > largest:
        raise Unsupported(
            f"{NAME} takes {largest // 1_000_000} MB in base64", where=f"spec.inputs.{name}", found=f"{len(uri)} bytes"
        )
    return uri


def _picture(inputs: Inputs) -> str:
    return _uri(inputs.image, "image", ("image/png", "image/jpeg", "image/webp"), LARGEST_PICTURE)


def _ratio(names: Mapping[str, str], resolved: Resolved, picture: bytes | None = None) -> str:
    """The size's name: by the ratio that the plan chose, else the one nearest the input's, else the first."""
    if resolved.aspect_ratio is not None:
        if resolved.aspect_ratio not in names:
            raise Unsupported(
                "the model makes no such shape", where="spec.parameters.width", found=resolved.aspect_ratio
            )
        return names[resolved.aspect_ratio]
    if picture is None:
        return next(iter(names.values()))
    header = read_header(picture)
    wanted = math.log(header.width / header.height)
    return min(names.values(), key=lambda each: abs(math.log(_value(each)) - wanted))


def _value(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _gen45(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    if request.task is Task.IMAGE_TO_VIDEO:
        return _animated(request, inputs, resolved, worded=True)
    _clip_of(request)
    seconds = {"duration": resolved.seconds or USUAL_SECONDS}
    return Asked("/v1/text_to_video", _text(request) | seconds | {"ratio": _ratio(PORTRAIT, resolved)})


def _animated(request: GenerationRequest, inputs: Inputs, resolved: Resolved, *, worded: bool = False) -> Asked:
    _clip_of(request)
    body: dict[str, Any] = {
        "promptImage": _picture(inputs),
        "ratio": _ratio(CLIPS, resolved, inputs.image),
        "duration": resolved.seconds or USUAL_SECONDS,
    }
    return Asked("/v1/image_to_video", body | _text(request, needed=worded))


def _image(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> Asked:
    names = PICTURES[resolved.tier or "720p"]
    if request.task is Task.TEXT_TO_IMAGE:
        return Asked("/v1/text_to_image", _text(request) | {"ratio": _ratio(names, resolved)})
    body: dict[str, Any] = {"referenceImages": [{"uri": _picture(inputs)}]}
    return Asked("/v1/text_to_image", body | _text(request) | {"ratio": _ratio(names, resolved, inputs.image)})


def _edited(request: GenerationRequest, inputs: Inputs, _: Resolved) -> Asked:
    """The clip keeps its size and length."""
    _clip_of(request)
    body = {"videoUri": _uri(inputs.clip, "clip", ("video/mp4",), LARGEST_CLIP)}
    return Asked("/v1/video_to_video", body | _text(request, needed=False, longest=None))


SHAPES: dict[str, Callable[[GenerationRequest, Inputs, Resolved], Asked]] = {
    "gen4.5": _gen45,
    "gen4_turbo": _animated,
    "gen4_image": _image,
    "aleph2": _edited,
}
"""How each model is asked."""
