"""Google Vertex AI, predictLongRunning: Veo's clips.

The methods are those of Google's Discovery document (aiplatform v1, revision 20261106), which says nothing of instances and parameters:
they are those of docs.cloud.google.com (VideoGenerationModelParams) and of google-genai's converter. The clip lies in the Provider's bucket
where it names one, and else comes in base64. One that a filter holds back is an operation that succeeded without it; by ai.google.dev (Veo) it
is not charged. Operations of publishers' models are asked by `fetchPredictOperation` and cannot be cancelled.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BilledBadOutput,
    ContentBlocked,
    EaselError,
    InvalidInput,
    Throttled,
    Unsupported,
)
from easel_api.tasks import Task
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from . import google
from .base import Setup
from .google import GoogleAccount
from .polled import Ended, Made, Pace, Polled, Unfinished
from .rest import elsewhere

TASKS = (Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO)
OPERATION = re.compile(
    r"(projects/[^/\s?#]+/locations/[^/\s?#]+/publishers/google/models/[^/\s?#]+)/operations/[^/\s?#]+"
)
LONGEST_HANDLE = 1000


def client(setup: Setup) -> VertexLongRunning:
    """The client of a model; see `families.client_of`."""
    return VertexLongRunning(setup.name, google.account(setup), setup.model, setup.resolved)


class VertexLongRunning(Polled):
    """One model; safe to call from many threads."""

    def __init__(
        self, name: str, account: GoogleAccount, model: str, resolved: Resolved, pace: Pace | None = None
    ) -> None:
        """See `Setup` for what each is."""
        super().__init__(name, Veo(account, model, resolved), pace)


class Veo:
    """The three requests; see `Remote`."""

    def __init__(self, account: GoogleAccount, model: str, resolved: Resolved) -> None:
        self.model, self.provider = f"vertex/{model}", f"Google Vertex AI, {account.region}"
        self._account, self._id, self._resolved = account, model, resolved

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """Makes the paid call; see `Remote`."""
        store = self._account.bucket
        body = asked(request, inputs, self._resolved, store.uri if store else None)
        path = f"/v1/{self._account.place}/publishers/google/models/{self._id}:predictLongRunning"
        answer = self._account.api.post(path, body, self._id)
        if answer.status != 200:
            raise google.refused(answer, self._id)
        name = str(answer.json().get("name", ""))
        if not OPERATION.fullmatch(name) or len(name) > LONGEST_HANDLE:
            raise BilledBadOutput("Google took the call and names no operation", where=self._id)
        return name

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks how it is; see `Remote`."""
        known = OPERATION.fullmatch(handle)
        if known is None:
            raise BilledBadOutput("the call's handle is not one of Google's", where=self._id)
        answer = self._account.api.ask(
            "POST", f"/v1/{known[1]}:fetchPredictOperation", self._id, {"operationName": handle}
        )
        if answer.status != 200:
            raise google.refused(answer, self._id)
        told = answer.json()
        if not told.get("done"):
            return Unfinished()
        if told.get("error"):
            return Ended(_failed(told["error"], self._id))
        return self._read(told.get("response"))

    def _read(self, response: Any) -> Made | Ended:
        """The clip of an operation that succeeded, or what kept it back."""
        told = response if isinstance(response, dict) else {}
        videos = told.get("videos") or []
        if not videos and told.get("raiMediaFilteredCount"):
            return Ended(ContentBlocked("a safety policy of the provider refused it", where=self._id, found="filtered"))
        # By what is there and not by what was asked for: the Provider may have had another bucket, or none, when the call was made.
        match videos:
            case [{"gcsUri": str(place)}, *_]:
                return Made(self._fetched(place))
            case [{"bytesBase64Encoded": str(data)}, *_]:
                with contextlib.suppress(ValueError):
                    return Made(base64.b64decode(data, validate=True))
        return Ended(BilledBadOutput("the operation ended without a clip", where=self._id))

    def _fetched(self, place: str) -> bytes:
        if self._account.bucket is None:
            raise elsewhere(google.NAME, self._id, "a bucket, and the Provider names none")
        return self._account.bucket.fetch(place, self._id)


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved, store: str | None = None) -> dict[str, Any]:
    """What the model is asked, as Google takes it; `Unsupported` for what it has no words for. `store` is where the clip is to lie."""
    if request.task not in TASKS:
        raise Unsupported("this family has no such task", where="spec.task", found=request.task.value)
    if resolved.size is not None:
        raise Unsupported("this family knows no sizes in pixels", where="spec.offers[].sizes", found="free")
    instance: dict[str, Any] = {"prompt": request.prompt} if request.prompt else {}
    if request.task is Task.IMAGE_TO_VIDEO:
        kind = google.media_type(inputs.image, "image")
        instance["image"] = {"bytesBase64Encoded": base64.b64encode(inputs.image or b"").decode(), "mimeType": kind}
    parameters = {
        "sampleCount": 1,
        "durationSeconds": resolved.seconds,
        "aspectRatio": resolved.aspect_ratio,
        "resolution": resolved.tier,
        "seed": request.seed,
        "fps": request.fps,
        "negativePrompt": request.negative_prompt or None,
        # A job has no word for sound.
        "generateAudio": False,
        "storageUri": store,
    }
    return {
        "instances": [instance],
        "parameters": {name: value for name, value in parameters.items() if value is not None},
    }


def _failed(error: Any, model: str) -> EaselError:
    """What a google.rpc.Status says; its message, which may repeat the prompt, is not shown."""
    told: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code = told.get("code")
    found = f"code {code}" if isinstance(code, int) else ""
    if google.BLOCKED.search(str(told.get("message", ""))):
        return ContentBlocked("a safety policy of the provider refused it", where=model, found=found)
    match code:
        case 3:
            return InvalidInput("Google takes no such request", where=model, found=found)
        case 8:
            return Throttled("Google asks to slow down", where=model, found=found)
        case 4:
            return AmbiguousSubmit("the model took too long, and it may be billed", where=model, found=found)
        case _:
            return BackendFault("the model failed", where=model, found=found)
