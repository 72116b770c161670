"""Stability AI's own API, v2beta: a picture for a call, as a form with files; two services give a handle in place of the picture.

It has no machine-readable schema and no current SDK. Paths, fields and answers are those of platform.stability.ai's reference as a
mirror of it (apifox) had them on 2026-11-23. A picture that a filter holds back may come as HTTP 403, or as HTTP 200 with a finish reason:
then work was done, and it counts as billed. Results of the two that give a handle are asked for at /v2beta/results/ID, which answers 202 until
there is one; they are kept for 24 hours, and no such call can be stopped. An id that could lead to another path is asked for nowhere.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from easel_api.errors import AmbiguousSubmit, BilledBadOutput, Cancelled, ContentBlocked, EaselError, Unsupported
from easel_inference.generation import Accepted, GenerationRequest, Inputs, Message

from .base import Backend, OnEvent, PaidBlock, Result, Setup
from .delivered import check_format, delivered
from .polled import Ended, Made, Pace, Polled, Unfinished, forgotten
from .rest import Answer, Rest, refused, renewed
from .stability_models import SHAPES, asked

HOST = "https://api.stability.ai"
PATHS = {
    "core": "generate/core",
    "ultra": "generate/ultra",
    "sd3.5-large": "generate/sd3",
    **{
        name: f"edit/{name}"
        for name in (
            "inpaint",
            "outpaint",
            "erase",
            "search-and-replace",
            "search-and-recolor",
            "remove-background",
            "replace-background-and-relight",
        )
    },
    **{
        name: name
        for name in (
            "control/sketch",
            "control/structure",
            "control/style",
            "control/style-transfer",
            "upscale/fast",
            "upscale/conservative",
            "upscale/creative",
        )
    },
}
HANDED = frozenset({"replace-background-and-relight", "upscale/creative"})
"""Services that give a handle."""
ID = re.compile(r"[0-9A-Za-z_-]{1,200}")
NAME = "Stability AI"
DONE = "SUCCESS"


def client(setup: Setup, pace: Pace | None = None) -> Backend:
    """The client of a model; see `families.client_of`."""
    if setup.model in HANDED:
        return Polled(setup.name, StabilityResults(setup), pace)
    return StabilityV2Beta(setup)


class _Service:
    """One model's requests; safe to call from many threads."""

    def __init__(self, setup: Setup, accept: str) -> None:
        if setup.model not in PATHS:
            raise Unsupported("this client does not know the model", where="spec.offers[].model", found=setup.model)
        self.id, self._resolved = setup.model, setup.resolved
        headers = renewed(lambda: {"Authorization": f"Bearer {setup.key('API_KEY')}", "Accept": accept})
        self.api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)

    def fields(self, request: GenerationRequest, inputs: Inputs) -> dict[str, Any]:
        """The form of the paid call."""
        found = asked(SHAPES[self.id], request, inputs, self._resolved)
        fields: dict[str, Any] = {name: str(value) for name, value in found.fields.items()}
        if self.id == "sd3.5-large":
            fields["model"] = self.id
        return fields | {name: (name, data, "application/octet-stream") for name, data in found.pictures.items()}

    def call(self, fields: dict[str, Any]) -> Answer:
        """Sends it; raises what kept it from its end."""
        answer = self.api.form(f"/v2beta/stable-image/{PATHS[self.id]}", fields, self.id)
        if answer.status not in (200, 202):
            raise _refused(answer, self.id)
        return answer


class StabilityV2Beta:
    """One model; safe to call from many threads."""

    def __init__(self, setup: Setup) -> None:
        self._service, self._setup = _Service(setup, "image/*"), setup

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        fields = self._service.fields(request, inputs)
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        answer = self._service.call(fields)
        return delivered(
            self._setup.name,
            request,
            _whole(answer, self._setup.model),
            model=f"stability/{self._setup.model}",
            provider=NAME,
            seconds=time.monotonic() - began,
            seed=_seed(answer),
        )


class StabilityResults:
    """One model whose calls give a handle; safe for many threads. See `Remote`."""

    provider = NAME

    def __init__(self, setup: Setup) -> None:
        # Of pictures and of words: what is unfinished is told in JSON.
        self._service, self.model = _Service(setup, "*/*"), f"stability/{setup.model}"

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """The handle is the id of the result."""
        answer = self._service.call(self._service.fields(request, inputs))
        found = answer.json().get("id")
        if not isinstance(found, str) or not ID.fullmatch(found):
            raise AmbiguousSubmit(
                "the call was taken, and its result is not named",
                where=self._service.id,
                found="id",
                fix="Look at the account's usage before the item is asked for again",
            )
        return found

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks for the result of an id."""
        where = self._service.id
        if not ID.fullmatch(handle):
            return Ended(AmbiguousSubmit("the handle is none of this provider's", where=where))
        answer = self._service.api.ask("GET", f"/v2beta/results/{handle}", where)
        match answer.status:
            case 200:
                return _finished(answer, where)
            case 202:
                return Unfinished()
            case 404:
                return forgotten(where, "HTTP 404")
        error = _refused(answer, where, free=True)
        if isinstance(error, ContentBlocked):
            # The call was taken, and nobody says that what was held back behind it is not billed.
            return Ended(PaidBlock(error.what, where=error.where, found=error.found))
        raise error


def _finished(answer: Answer, model: str) -> Made | Ended:
    try:
        return Made(_whole(answer, model), _seed(answer))
    except PaidBlock as error:
        return Ended(error)


def _seed(answer: Answer) -> int | None:
    seed = answer.headers.get("seed", "")
    return int(seed) if seed.isdigit() else None


def _whole(answer: Answer, model: str) -> bytes:
    reason = answer.headers.get("finish-reason", DONE)
    if reason == "CONTENT_FILTERED":
        raise PaidBlock("a safety policy of the provider refused it", where=model, found=reason)
    if reason != DONE:
        raise BilledBadOutput("the model did not finish", where=model, found=reason[:80])
    return answer.body


def _refused(answer: Answer, model: str, *, free: bool = False) -> EaselError:
    if answer.status == 403 and answer.json().get("name") == "content_moderation":
        return ContentBlocked("a safety policy of the provider refused it", where=model, found="content_moderation")
    return refused(NAME, answer, model, free=free)
