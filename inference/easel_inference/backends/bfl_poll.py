"""Black Forest Labs' own API: a call gives the address at which its result is asked for.

Paths, fields and states are those of api.bfl.ai/openapi.json as docs.bfl.ai has it, read on 2026-11-28; there is no current SDK. What a
person must know of it:

- The address may be of another region's host, so that the key goes to hosts below bfl.ai beside the API's own, and nowhere else.
- States that nobody knows (there are more than the schema names) count as unfinished.
- "Request Moderated" and "Content Moderated" are not billed: help.bfl.ai says that only what is Ready takes credits.
- The answer to the call says what it costs, in credits of a cent. It goes into the handle, behind a #, since no later answer says it.
- A result's address is good for ten minutes. No call can be stopped.
- FLUX.2 pro, max and flex rewrite prompts unless they are told not to; that, and how strict the moderation is, stay as BFL has them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BilledBadOutput,
    ContentBlocked,
    InvalidInput,
    Unsupported,
)
from easel_api.tasks import TAKES
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.price import CENT_OF_A_CENT
from easel_inference.routing.request import Resolved

from .base import Setup
from .polled import Ended, Made, Pace, Polled, Unfinished, forgotten
from .rest import Rest, refused, renewed

HOST = "https://api.bfl.ai"
DOMAIN = ".bfl.ai"
"""Hosts below it are the company's: regions, and where results are delivered."""
NAME = "Black Forest Labs"
CREDIT = Decimal("0.01")
"""US dollars."""
MOST_CREDITS = 100_000
"""What says that it took more is no price."""
LONGEST_URL = 1900
"""Characters; a handle has 2000."""
LEAST_SIDE = 256
"""Pixels, of FLUX1.1."""
MOST_STEPS, LEAST_GUIDANCE, MOST_GUIDANCE = 50, 1.5, 10.0
"""Of FLUX.2 flex."""

Shape = Callable[[GenerationRequest, Inputs, Resolved], dict[str, Any]]
"""How a model is asked, beside what all are."""


def client(setup: Setup, pace: Pace | None = None) -> Polled:
    """The client of a model; see `families.client_of`."""
    return Polled(setup.name, BFLPoll(setup), pace)


class BFLPoll:
    """One model; safe for many threads. See `Remote`."""

    provider = NAME

    def __init__(self, setup: Setup) -> None:
        if setup.model not in SHAPES:
            raise Unsupported("this client does not know the model", where="spec.offers[].model", found=setup.model)
        self._id, self.model, self._resolved = setup.model, f"bfl/{setup.model}", setup.resolved
        headers = renewed(lambda: {"x-key": setup.key("API_KEY"), "Accept": "application/json"})
        self._api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """The handle is the address to ask at, and `#` with the cost where it is known."""
        asked: dict[str, Any] = {
            "prompt": request.prompt,
            "seed": request.seed,
            "output_format": "jpeg" if request.encoding == "jpeg" else "png",
        }
        asked |= SHAPES[self._id](request, inputs, self._resolved)
        answer = self._api.post(f"/v1/{self._id}", asked, self._id)
        if answer.status != 200:
            raise refused(NAME, answer, self._id)
        told = answer.json()
        url = told.get("polling_url")
        if not isinstance(url, str) or not trusted(url, self._api):
            raise AmbiguousSubmit(
                "the call was taken, and its result is to be asked for where the key must not go",
                where=self._id,
                found="polling_url",
                fix="Look at the account's usage before the item is asked for again",
            )
        cost = told.get("cost")
        return f"{url}#{cost}" if isinstance(cost, int | float) else url

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """Asks exactly at the address that the call gave."""
        url = handle.partition("#")[0]
        if not trusted(url, self._api):
            return Ended(AmbiguousSubmit("the handle is of another host than the Provider's", where=self._id))
        answer = self._api.ask("GET", url, self._id)
        told = answer.json()
        match told.get("status"):
            case "Ready":
                return self._made(told, _cost(handle))
            case "Request Moderated" | "Content Moderated" as state:
                return Ended(
                    ContentBlocked("a safety policy of the provider refused it", where=self._id, found=str(state))
                )
            case "Error" | "Failed" as state:
                return Ended(BackendFault(f"{NAME} could not make it", where=self._id, found=str(state)))
            case "Task not found" as state:
                return forgotten(self._id, str(state))
        if answer.status != 200:
            raise refused(NAME, answer, self._id)
        share = told.get("progress")
        return Unfinished(round(share * 100) if isinstance(share, float) and 0 <= share <= 1 else None)

    def _made(self, told: dict[str, Any], cost: Decimal | None) -> Made:
        result = told.get("result")
        sample = result.get("sample") if isinstance(result, dict) else None
        if not isinstance(sample, str):
            raise BilledBadOutput("the provider says that it is done, and names no picture", where=self._id)
        seed = result.get("seed") if isinstance(result, dict) else None
        return Made(self._api.fetch(sample, self._id), seed if isinstance(seed, int) and seed >= 0 else None, cost)


def trusted(url: str, api: Rest) -> bool:
    """Whether the key may go there; a URL that two readers may read differently is refused."""
    if len(url) > LONGEST_URL or not (url.isascii() and url.isprintable()) or set(url) & set("\\@# "):
        return False
    try:
        there = urlsplit(url)
        below = (there.hostname or "").endswith(DOMAIN) and there.port in (None, 443)
        return there.scheme == "https" and (below or api.owns(url))
    except ValueError:
        return False


def _cost(handle: str) -> Decimal | None:
    """In US dollars; None when the call did not say it."""
    try:
        taken = Decimal(handle.partition("#")[2])
        return (taken * CREDIT).quantize(CENT_OF_A_CENT, ROUND_UP) if 0 <= taken < MOST_CREDITS else None
    except InvalidOperation:  # empty, or NaN
        return None


def _flux2(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    size = {} if resolved.size is None else {"width": resolved.size[0], "height": resolved.size[1]}
    return size | _input(request, inputs)


def _flex(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    if request.steps > MOST_STEPS:
        raise Unsupported(
            f"FLUX.2 flex takes up to {MOST_STEPS} steps", where="spec.parameters.steps", found=str(request.steps)
        )
    if not LEAST_GUIDANCE <= request.guidance_scale <= MOST_GUIDANCE:
        raise Unsupported(
            f"FLUX.2 flex takes {LEAST_GUIDANCE} to {MOST_GUIDANCE:g}",
            where="spec.parameters.guidanceScale",
            found=f"{request.guidance_scale:g}",
        )
    told = _flux2(request, inputs, resolved)
    return told | {"steps": request.steps, "guidance": request.guidance_scale}


def _flux11(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    if resolved.size is not None and min(resolved.size) < LEAST_SIDE:
        raise Unsupported(
            f"FLUX1.1 makes no side of less than {LEAST_SIDE} pixels",
            where="spec.parameters.width",
            found="{}x{}".format(*resolved.size),
        )
    return _flux2(request, inputs, resolved)


def _shaped(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    ratio = {} if resolved.aspect_ratio is None else {"aspect_ratio": resolved.aspect_ratio}
    return ratio | _input(request, inputs)


def _filled(_: GenerationRequest, inputs: Inputs, __: Resolved) -> dict[str, Any]:
    return {"image": _encoded(inputs.image, "image"), "mask": _encoded(inputs.mask, "mask")}


def _expanded(request: GenerationRequest, inputs: Inputs, _: Resolved) -> dict[str, Any]:
    sides = {} if request.expand is None else request.expand.model_dump()
    return {"image": _encoded(inputs.image, "image")} | sides


def _input(request: GenerationRequest, inputs: Inputs) -> dict[str, Any]:
    return {"input_image": _encoded(inputs.image, "image")} if TAKES[request.task].image else {}


def _encoded(data: bytes | None, name: str) -> str:
    if data is None:
        raise InvalidInput("the task needs it", where=f"spec.inputs.{name}", fix="Add it")
    return base64.b64encode(data).decode()


SHAPES: dict[str, Shape] = {
    "flux-2-max": _flux2,
    "flux-2-pro": _flux2,
    "flux-2-flex": _flex,
    "flux-2-klein-9b": _flux2,
    "flux-2-klein-4b": _flux2,
    "flux-pro-1.1": _flux11,
    "flux-pro-1.1-ultra": _shaped,
    "flux-kontext-pro": _shaped,
    "flux-kontext-max": _shaped,
    "flux-pro-1.0-fill": _filled,
    "flux-pro-1.0-expand": _expanded,
}
"""White of a mask is drawn anew, as a job has it."""
