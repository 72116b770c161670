"""Google Vertex AI, generateContent: Gemini's pictures, one for a call.

The shapes are those of Google's Discovery document (aiplatform v1, revision 20261106). There are no sizes in pixels, no mask and no negative
prompt; an edit is a picture beside the prompt. A policy that holds a picture back answers HTTP 200. What the model read and thought is
billed even then, and nobody says how much, so that such an answer counts as a picture. Answers may hold pictures of what the model thought
on the way.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from easel_api.errors import BilledBadOutput, Unsupported
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from . import google
from .base import OnEvent, PaidBlock, Result, Setup
from .delivered import check_format, delivered
from .google import GoogleAccount, Tariff, Usage

TASKS = (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE)
BLOCKS = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)  # fmt: skip
"""Reasons of a candidate's end that a policy had."""
LONGEST_WORD = 40


def client(setup: Setup) -> VertexGenerateContent:
    """The client of a model; see `families.client_of`."""
    return VertexGenerateContent(setup.name, google.account(setup), setup.model, setup.resolved, google.tariff(setup))


class VertexGenerateContent:
    """One model; safe to call from many threads."""

    def __init__(
        self, name: str, account: GoogleAccount, model: str, resolved: Resolved, tariff: Tariff | None = None
    ) -> None:
        """See `Setup` for what each is; without a `tariff` nobody knows what an answer cost."""
        self._name, self._account, self._model, self._resolved, self._tariff = name, account, model, resolved, tariff

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        body = asked(request, inputs, self._resolved)
        path = f"/v1/{self._account.place}/publishers/google/models/{self._model}:generateContent"
        answer, began = google.called(self._account, path, body, self._model, on_event, stop)
        if answer.status != 200:
            raise google.refused(answer, self._model)
        made = read(answer.json(), self._model)
        result = delivered(
            self._name,
            request,
            made.data,
            model=f"vertex/{self._model}",
            provider=f"Google Vertex AI, {self._account.region}",
            seconds=time.monotonic() - began,
        )
        return replace(result, billed=self._tariff.cost(made.usage) if self._tariff else None)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a model made."""

    data: bytes
    usage: Usage | None
    """What it took; None: nobody says."""


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """What the model is asked, as Google takes it; `Unsupported` for what it has no words for."""
    if request.task not in TASKS:
        raise Unsupported("this family has no such task", where="spec.task", found=request.task.value)
    if resolved.size is not None:
        raise Unsupported("this family knows no sizes in pixels", where="spec.offers[].sizes", found="free")
    if request.seed > google.INT32:
        raise Unsupported("seeds end at 2147483647 here", where="spec.parameters.seeds", found=str(request.seed))
    parts: list[dict[str, Any]] = [{"text": request.prompt}]
    if request.task is Task.IMAGE_TO_IMAGE:
        kind = google.media_type(inputs.image, "image")
        parts.append({"inlineData": {"mimeType": kind, "data": base64.b64encode(inputs.image or b"").decode()}})
    shape = {"aspectRatio": resolved.aspect_ratio, "imageSize": resolved.tier}
    settings: dict[str, Any] = {"responseModalities": ["IMAGE"], "candidateCount": 1, "seed": request.seed}
    settings["imageConfig"] = {name: value for name, value in shape.items() if value is not None}
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": settings}


def read(told: Mapping[str, Any], model: str) -> Picture:
    """The picture of an answer that looks well; raises what kept it back."""
    try:
        held = (told.get("promptFeedback") or {}).get("blockReason")
        if held:
            raise _blocked(str(held), model)
        candidate: Mapping[str, Any] = next(iter(told.get("candidates") or ()), {})
        reason = str(candidate.get("finishReason", ""))
        if reason in BLOCKS:
            raise _blocked(reason, model)
        found = next(_pictures(candidate), None)
        if not found:
            raise BilledBadOutput("the model answered without a picture", where=model, found=reason[:LONGEST_WORD])
        return Picture(base64.b64decode(found, validate=True), _usage(told.get("usageMetadata")))
    except (TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise BilledBadOutput("the model answered in another shape", where=model, found=type(error).__name__) from None


def _pictures(candidate: Mapping[str, Any]) -> Iterator[str]:
    for part in (candidate.get("content") or {}).get("parts") or ():
        if "inlineData" in part and not part.get("thought"):
            yield str(part["inlineData"].get("data", ""))


def _blocked(reason: str, model: str) -> PaidBlock:
    return PaidBlock("a safety policy of the provider refused it", where=model, found=reason[:LONGEST_WORD])


def _usage(told: object) -> Usage | None:
    """By the counts of the answer, of which those of thoughts and of the model's own tools stand beside the candidates'."""
    usage = told if isinstance(told, dict) else {}
    made = google.by_modality(usage.get("candidatesTokensDetails"), "IMAGE", "tokenCount")
    read = google.counted(usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount"))
    thought = google.counted(usage.get("thoughtsTokenCount"))
    return google.usage(made, read, thought)
