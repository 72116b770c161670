"""Stability AI's own API, v2beta: a picture for a call, as a form with files.

It has no machine-readable schema and no current SDK. Paths, fields and answers are those of platform.stability.ai's reference as a
mirror of it (apifox) had them on 2026-11-23. A picture that a filter holds back may come as HTTP 403, or as HTTP 200 with a finish reason:
then work was done, and it counts as billed.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from easel_api.errors import BilledBadOutput, Cancelled, ContentBlocked, EaselError, Unsupported
from easel_inference.generation import Accepted, GenerationRequest, Inputs, Message
from easel_inference.routing.request import Resolved

from .base import OnEvent, PaidBlock, Result, Setup
from .delivered import delivered
from .rest import Answer, Rest, refused
from .stability_models import SHAPES, asked

HOST = "https://api.stability.ai"
PATHS = {
    "core": "generate/core",
    "ultra": "generate/ultra",
    "sd3.5-large": "generate/sd3",
    "inpaint": "edit/inpaint",
    "outpaint": "edit/outpaint",
    "control/sketch": "control/sketch",
    "control/structure": "control/structure",
}
NAME = "Stability AI"
DONE = "SUCCESS"


def client(setup: Setup) -> StabilityV2Beta:
    """The client of a model; see `families.client_of`."""
    return StabilityV2Beta(
        setup.name, setup.key("API_KEY"), setup.model, setup.resolved, setup.spec.endpoint, setup.authority
    )


class StabilityV2Beta:
    """One model; safe to call from many threads."""

    def __init__(
        self, name: str, key: str, model: str, resolved: Resolved, endpoint: str | None, authority: str | None
    ) -> None:
        """See `Setup` for what each is."""
        if model not in PATHS:
            raise Unsupported("this client does not know the model", where="spec.offers[].model", found=model)
        self._name, self._model, self._resolved = name, model, resolved
        headers = {"Authorization": f"Bearer {key}", "Accept": "image/*"}
        self._api = Rest(NAME, endpoint or HOST, headers, authority)

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        found = asked(SHAPES[self._model], request, inputs, self._resolved)
        fields: dict[str, Any] = {name: str(value) for name, value in found.fields.items()}
        if self._model == "sd3.5-large":
            fields["model"] = self._model
        fields |= {name: (name, data, "application/octet-stream") for name, data in found.pictures.items()}
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        answer = self._api.form(f"/v2beta/stable-image/{PATHS[self._model]}", fields, self._model)
        if answer.status != 200:
            raise _refused(answer, self._model)
        seed = answer.headers.get("seed", "")
        return delivered(
            self._name,
            request,
            _whole(answer, self._model),
            model=f"stability/{self._model}",
            provider=NAME,
            seconds=time.monotonic() - began,
            seed=int(seed) if seed.isdigit() else None,
        )


def _whole(answer: Answer, model: str) -> bytes:
    reason = answer.headers.get("finish-reason", DONE)
    if reason == "CONTENT_FILTERED":
        raise PaidBlock("a safety policy of the provider refused it", where=model, found=reason)
    if reason != DONE:
        raise BilledBadOutput("the model did not finish", where=model, found=reason[:80])
    return answer.body


def _refused(answer: Answer, model: str) -> EaselError:
    if answer.status == 403 and answer.json().get("name") == "content_moderation":
        return ContentBlocked("a safety policy of the provider refused it", where=model, found="content_moderation")
    return refused(NAME, answer, model)
