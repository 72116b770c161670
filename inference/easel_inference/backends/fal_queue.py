"""fal's queue: any of its endpoints, by the id of the call.

The queue is that of fal.ai/docs (Queue API, errors, request errors, data retention, FAQ; read on 2026-11-28) and of fal-client 1.0.3, which its
tests drive the emulator with. What a person must know of it:

- There are hundreds of endpoints, each with a schema of its own, and none is in the catalogue: the Provider says what one does, heeds and costs.
  The client asks in the names that most share (`image_size`, `num_inference_steps`, `guidance_scale`, `image_url`, `mask_url`, `aspect_ratio`,
  `resolution`, `duration` in digits). An endpoint drops a name that it does not know, and nobody is told: an offer must honour no more than its
  endpoint's schema has.
- The addresses in answers are not followed: they are built from the id, as fal's own client does it, so that the key goes to one host.
- fal bills no server errors (5xx), and may bill what is refused behind the submission (422): that counts as billed. Nothing says beforehand
  which it will be, so that inputs that are wrong end as `BilledBadOutput`.
- A picture that the endpoint's own safety check found something in is held back, and was made and billed.
- Results lie at public addresses, for good unless told otherwise: each call asks for a day. `X-Fal-Store-IO: 0` would also keep the answer from
  being kept, and with it a call from being gone on with by another worker; it is not sent.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BadOutput,
    BilledBadOutput,
    EaselError,
    InvalidInput,
    QuotaExhausted,
    Transient,
    Unsupported,
)
from easel_api.offers import Honours
from easel_api.tasks import TAKES
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs

from .base import PaidBlock, Setup
from .polled import CancellablePolled, Ended, Made, Pace, Unfinished
from .rest import Answer, Rest, refused, renewed

HOST = "https://queue.fal.run"
NAME = "fal"
KEPT_SECONDS = 86_400
"""How long results stay at their public addresses."""
SPOKEN = frozenset(
    {
        Honours.NEGATIVE,
        Honours.SEED,
        Honours.STRENGTH,
        Honours.STEPS,
        Honours.GUIDANCE_SCALE,
        Honours.FRAMES,
    }
)
"""What endpoints share a name for."""
NAMESPACES = frozenset({"workflows", "comfy"})
"""What may stand before an endpoint's owner."""
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TYPE = re.compile(r"[a-z_.]{1,64}")
"""Of errors; nothing else of their bodies is shown."""
POLICY, STOPPED = "content_policy_violation", "client_cancelled"


def client(setup: Setup, pace: Pace | None = None) -> CancellablePolled:
    """The client of an endpoint; see `families.client_of`."""
    calls = FalQueue(setup)
    return CancellablePolled(setup.name, calls, calls.cancel, pace)


class FalQueue:
    """One endpoint; safe for many threads. See `Remote`."""

    provider = NAME

    def __init__(self, setup: Setup) -> None:
        wordless = sorted(set(setup.offer.honours) - SPOKEN)
        if wordless:
            raise Unsupported(
                "fal's endpoints share no name for it",
                where="spec.offers[].honours",
                found=", ".join(wordless),
                fix="Take it out of the Provider's offer",
            )
        self._id, self._setup, self.model = setup.model, setup, f"fal/{setup.model}"
        self._path = f"/{setup.deployment}"
        self._requests = f"{app(setup.deployment)}/requests"
        lifecycle = json.dumps({"expiration_duration_seconds": KEPT_SECONDS})
        self._submitting = {"X-Fal-Object-Lifecycle-Preference": lifecycle}
        headers = renewed(lambda: {"Authorization": f"Key {setup.key('API_KEY')}", "Accept": "application/json"})
        self._api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """The handle is the request's id."""
        answer = self._api.post(self._path, asked(request, inputs, self._setup), self._id, self._submitting)
        if answer.status not in (200, 201, 202):
            raise _refused(answer, self._id)
        handle = answer.json().get("request_id")
        if not isinstance(handle, str) or not ID.fullmatch(handle):
            raise AmbiguousSubmit(
                "the call was taken, and its answer has no id to ask by",
                where=self._id,
                found=f"HTTP {answer.status}",
                fix="Look at the account's requests before the item is asked for again",
            )
        return handle

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks for the state, and behind its end for the answer."""
        answer = self._api.ask("GET", f"{self._requests}/{handle}/status", self._id)
        if answer.status not in (200, 202):
            raise refused(NAME, answer, self._id)
        if answer.json().get("status") != "COMPLETED":
            return Unfinished()
        answer = self._api.ask("GET", f"{self._requests}/{handle}", self._id)
        return self._made(answer.json()) if answer.status == 200 else ended(answer, self._id)

    def cancel(self, handle: str) -> None:
        """Takes it out of the queue, or asks its machine to stop; one that is over (400) or gone (404) has nothing to stop."""
        answer = self._api.ask("PUT", f"{self._requests}/{handle}/cancel", self._id)
        if answer.status not in (200, 202, 400, 404):
            raise refused(NAME, answer, self._id)

    def _made(self, told: dict[str, Any]) -> Made | Ended:
        found = told.get("has_nsfw_concepts")
        if isinstance(found, list) and any(found):
            return Ended(
                PaidBlock("the endpoint's own safety check held it back", where=self._id, found="has_nsfw_concepts")
            )
        for kind in ("images", "image", "video", "videos"):
            result = told.get(kind)
            first = result[0] if isinstance(result, list) and result else result
            if isinstance(first, dict) and isinstance(first.get("url"), str):
                seed = told.get("seed")
                return Made(self._api.fetch(first["url"], self._id), seed if isinstance(seed, int) else None)
        raise BilledBadOutput("the endpoint says that it is done, and names no result", where=self._id)


def app(endpoint: str) -> str:
    """`/fal-ai/flux` of `fal-ai/flux/dev`: where an endpoint's requests are asked for, as fal-client has it."""
    parts = endpoint.split("/")
    count = 3 if parts[0] in NAMESPACES else 2
    if len(parts) < count or any(part in ("", ".", "..") for part in parts):
        raise Unsupported("an endpoint has an owner and a name", where="spec.offers[].model", found=endpoint)
    return "/" + "/".join(parts[:count])


def asked(request: GenerationRequest, inputs: Inputs, setup: Setup) -> dict[str, Any]:
    """What the endpoint is asked, in the names that most share."""
    takes = TAKES[request.task]
    if takes.expand or takes.scale or takes.end or takes.truncation or takes.is_named_apart:
        raise Unsupported("fal's endpoints share no names for this task", where="spec.task", found=request.task.value)
    told: dict[str, Any] = {"prompt": request.prompt} if request.prompt else {}
    if not takes.video:
        told |= {"num_images": 1, "output_format": "jpeg" if request.encoding == "jpeg" else "png"}
    return told | dict(_numbers(request, setup)) | dict(_size(setup)) | dict(_files(request, inputs))


def _numbers(request: GenerationRequest, setup: Setup) -> Iterator[tuple[str, str | int | float]]:
    for honour, name, value in (
        (Honours.NEGATIVE, "negative_prompt", request.negative_prompt or None),
        (Honours.SEED, "seed", request.seed),
        (Honours.STEPS, "num_inference_steps", request.steps),
        (Honours.GUIDANCE_SCALE, "guidance_scale", request.guidance_scale),
        (Honours.STRENGTH, "strength", request.strength),
        (Honours.FRAMES, "num_frames", request.frames),
    ):
        if honour in setup.offer.honours and value is not None:
            yield name, value


def _size(setup: Setup) -> Iterator[tuple[str, Any]]:
    resolved = setup.resolved
    if resolved.size is not None:
        yield "image_size", {"width": resolved.size[0], "height": resolved.size[1]}
    if resolved.aspect_ratio is not None:
        yield "aspect_ratio", resolved.aspect_ratio
    if resolved.tier is not None:
        yield "resolution", resolved.tier
    if resolved.seconds is not None:
        # Digits are what choices are written in, and what fields of numbers take as well.
        yield "duration", str(resolved.seconds)


def _files(request: GenerationRequest, inputs: Inputs) -> Iterator[tuple[str, str]]:
    takes = TAKES[request.task]
    for part, name, needed in (
        ("image", "image_url", takes.image),
        ("mask", "mask_url", takes.mask),
        ("control", "control_image_url", takes.control),
        ("clip", "video_url", takes.clip),
    ):
        if needed:
            yield name, _address(inputs.named()[part], part)


def _address(data: bytes | None, part: str) -> str:
    """A file as a data URI, so that it is uploaded nowhere."""
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{part}", fix="Add it")
    try:
        media_type = read_header(data).media_type
    except BadOutput as error:
        raise InvalidInput(error.what, where=f"spec.inputs.{part}", found=error.found) from None
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def ended(answer: Answer, model: str) -> Ended:
    """What it means that the answer of a call that is over is an error; raises when it is the asking that failed."""
    told = answer.json()
    detail = told.get("detail")
    types = [each.get("type") for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    types += [told.get("error_type"), answer.headers.get("x-fal-error-type")]
    found = next((each for each in types if isinstance(each, str) and TYPE.fullmatch(each)), "")
    shown = f"HTTP {answer.status} {found}".strip()
    match answer.status:
        case _ if STOPPED in types or answer.status == 499:
            return Ended(AmbiguousSubmit("it was stopped, and may be billed in part", where=model, found=shown))
        # Without a type it is a gateway that fails by itself, and knows nothing of the call.
        case status if status >= 500 and found:
            return Ended(Transient("the endpoint failed", where=model, found=shown))
        case 400 | 413 | 422 if POLICY in types:
            return Ended(PaidBlock("a safety policy of the provider refused it", where=model, found=shown))
        case 400 | 413 | 422:
            return Ended(
                BilledBadOutput(
                    "the endpoint refused the request behind its submission, and may bill it",
                    where=model,
                    found=shown,
                    fix="Compare the Provider's offer with the endpoint's schema",
                )
            )
    raise refused(NAME, answer, model)


def _refused(answer: Answer, model: str) -> EaselError:
    """Of the submission. An account without a balance is refused as a wrong key is, by another word."""
    if answer.status == 403 and b"balance" in answer.body.lower():
        return QuotaExhausted(
            "the account at fal has no balance left, and is locked", where=model, found="HTTP 403", fix="Top it up"
        )
    return refused(NAME, answer, model)
