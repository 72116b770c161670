"""Google Vertex AI, Interactions: Gemini Omni's clips, made in the background.

Spoken as docs.cloud.google.com and Google's own client (google-genai 3.6.1) do: `…/locations/L/interactions`, its fields in snake case, which
the Discovery document (aiplatform v1beta1, revision 20261106) calls interactionsHttp and gives no schema for. Its typed twin
(`interactions:create`) asks for a call by an id without a project. The clip comes in base64, since no bucket is named. What is made in the
background Google stores, so that it can be asked for.

What a blocked or failed interaction costs nobody says. Where tokens of a result are counted it was paid for; a policy's block is taken to be.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from easel_api.errors import AmbiguousSubmit, BackendFault, BilledBadOutput, EaselError, Unsupported
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from . import google
from .base import PaidBlock, Setup
from .google import GoogleAccount, Tariff, Usage
from .polled import CancellablePolled, Ended, Made, Pace, Unfinished

TASKS = {Task.TEXT_TO_VIDEO: "text_to_video", Task.IMAGE_TO_VIDEO: "image_to_video", Task.VIDEO_TO_VIDEO: "edit"}
"""With what the API calls each."""
ENDED = frozenset({"failed", "cancelled", "incomplete", "budget_exceeded", "requires_action", "requires_continuation"})
"""How an interaction ends without success, by google-genai's type of it; the last two wait for an answer that nobody here will give."""
INTERACTION = re.compile(r"projects/[^/\s?#]+/locations/[^/\s?#]+/interactions/[^/\s?#]+")
LONGEST_HANDLE = 1500
LONGEST_WORD = 40


def client(setup: Setup) -> VertexInteractions:
    """The client of a model; see `families.client_of`."""
    return VertexInteractions(setup.name, google.account(setup), setup.model, setup.resolved, google.tariff(setup))


class VertexInteractions(CancellablePolled):
    """One model; safe to call from many threads."""

    def __init__(
        self,
        name: str,
        account: GoogleAccount,
        model: str,
        resolved: Resolved,
        tariff: Tariff | None = None,
        pace: Pace | None = None,
    ) -> None:
        """See `Setup` for what each is; without a `tariff` nobody knows what a clip cost."""
        omni = Omni(account, model, resolved, tariff)
        super().__init__(name, omni, omni.cancel, pace)


class Omni:
    """The four requests; see `Remote`."""

    def __init__(self, account: GoogleAccount, model: str, resolved: Resolved, tariff: Tariff | None) -> None:
        self.model, self.provider = f"vertex/{model}", f"Google Vertex AI, {account.region}"
        self._account, self._id, self._resolved, self._tariff = account, model, resolved, tariff

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """Makes the paid call; see `Remote`."""
        body = {"model": self._id, **asked(request, inputs, self._resolved)}
        answer = self._account.api.post(f"/v1beta1/{self._account.place}/interactions", body, self._id)
        if answer.status != 200:
            raise google.refused(answer, self._id)
        name = quote(str(answer.json().get("id") or ""), safe="")
        if not name or len(name) > LONGEST_HANDLE:
            raise BilledBadOutput("Google took the call and names no interaction", where=self._id)
        return f"{self._account.place}/interactions/{name}"

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks how it is; see `Remote`."""
        answer = self._account.api.ask("GET", f"/v1beta1/{self._known(handle)}", self._id)
        if answer.status != 200:
            raise google.refused(answer, self._id)
        told = answer.json()
        status = str(told.get("status", ""))
        try:
            if status == "completed":
                return self._read(told)
            if status in ENDED:
                return Ended(_failed(status, told, self._id))
        except (TypeError, AttributeError, ValueError, binascii.Error) as error:
            return Ended(
                BilledBadOutput("the model answered in another shape", where=self._id, found=type(error).__name__)
            )
        # What is not known to be an end may be a state that Google added, or a page in place of the answer: the clip is paid for.
        return Unfinished()

    def cancel(self, handle: str) -> None:
        """Asks Google to stop a call; see `Cancellable`."""
        answer = self._account.api.ask("POST", f"/v1beta1/{self._known(handle)}/cancel", self._id)
        if answer.status != 200:
            raise google.refused(answer, self._id)

    def _known(self, handle: str) -> str:
        if not INTERACTION.fullmatch(handle):
            raise BilledBadOutput("the call's handle is not one of Google's", where=self._id)
        return handle

    def _read(self, told: Mapping[str, Any]) -> Made | Ended:
        clip = next((each["data"] for each in _contents(told) if each.get("type") == "video" and each.get("data")), "")
        if not clip:
            return Ended(BilledBadOutput("the model answered without a clip", where=self._id))
        return Made(
            base64.b64decode(clip, validate=True), cost=self._tariff.cost(_usage(told)) if self._tariff else None
        )


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """What a model is asked, as Google takes it; `Unsupported` for what it has no words for."""
    if request.task not in TASKS:
        raise Unsupported("this family has no such task", where="spec.task", found=request.task.value)
    if resolved.size is not None:
        raise Unsupported("this family knows no sizes in pixels", where="spec.offers[].sizes", found="free")
    if request.seed > google.INT32:
        raise Unsupported("seeds end at 2147483647 here", where="spec.parameters.seeds", found=str(request.seed))
    shape = {
        "type": "video",
        "delivery": "inline",
        "aspect_ratio": resolved.aspect_ratio,
        "resolution": resolved.tier,
        "duration": None if resolved.seconds is None else f"{resolved.seconds}s",
    }
    return {
        "input": [{"type": "user_input", "content": list(_inputs(request, inputs))}],
        "response_format": {name: value for name, value in shape.items() if value is not None},
        "generation_config": {"seed": request.seed, "video_config": {"task": TASKS[request.task]}},
        "background": True,
        "store": True,
    }


def _inputs(request: GenerationRequest, inputs: Inputs) -> Iterator[dict[str, str]]:
    if request.prompt:
        yield {"type": "text", "text": request.prompt}
    for task, part, kind, data in (
        (Task.IMAGE_TO_VIDEO, "image", "image", inputs.image),
        (Task.VIDEO_TO_VIDEO, "clip", "video", inputs.clip),
    ):
        if request.task is task:
            media_type = google.media_type(data, part)
            yield {"type": kind, "mime_type": media_type, "data": base64.b64encode(data or b"").decode()}


def _contents(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the model put out, the last first."""
    for step in reversed(told.get("steps") or ()):
        if step.get("type") == "model_output":
            yield from step.get("content") or ()


def _failed(status: str, told: Mapping[str, Any], model: str) -> EaselError:
    """What an end without success means; messages, which may repeat the prompt, are not shown."""
    outputs = [step.get("error") or {} for step in told.get("steps") or () if step.get("type") == "model_output"]
    messages = [str(each.get("message", "")) for each in (*(told.get("errors") or ()), *outputs)]
    found = status[:LONGEST_WORD]
    if any(google.BLOCKED.search(each) for each in messages):
        return PaidBlock("a safety policy of the provider refused it", where=model, found=found)
    if status == "cancelled":
        return AmbiguousSubmit(
            "the call was stopped at the provider, and what was made may be billed",
            where=model,
            found=found,
            fix="Look at the account's usage before the item is asked for again",
        )
    usage = _usage(told)
    if status == "failed" and (usage is None or not usage.made):
        return BackendFault("the model failed", where=model, found=found)
    return BilledBadOutput("the model did not finish", where=model, found=found)


def _usage(told: Mapping[str, Any]) -> Usage | None:
    """By the counts of the answer, of which those of thoughts and of what the model's own tools read stand beside the rest."""
    found = told.get("usage")
    usage = found if isinstance(found, dict) else {}
    made = google.by_modality(usage.get("output_tokens_by_modality"), "video", "tokens")
    read = google.counted(usage.get("total_input_tokens"), usage.get("total_tool_use_tokens"))
    thought = google.counted(usage.get("total_thought_tokens"))
    return google.usage(made, read, thought)
