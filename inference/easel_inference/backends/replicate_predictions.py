"""Replicate's API: a prediction for a call, asked for until it ends.

By its OpenAPI description (api.replicate.com/openapi.json), its official SDK, replicate 1.0.7, and replicate.com/docs (lifecycle, billing,
input files, error codes), read on 2026-11-29. A model is OWNER/NAME, or OWNER/NAME:VERSION where it is the community's. What ran is billed
by its time, whether it ended well or not; what never began is not. A filter speaks as an error of the prediction.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping
from decimal import ROUND_UP, Decimal
from typing import Any
from urllib.parse import quote

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BadOutput,
    BilledBadOutput,
    ContentBlocked,
    EaselError,
    ModelRetired,
    Transient,
    Unsupported,
)
from easel_api.offers import MILLIONTH, Unit
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs

from .base import PaidBlock, Setup
from .polled import CancellablePolled, Ended, Made, Pace, Unfinished
from .replicate_inputs import Schema, files, worded
from .rest import Answer, Rest, refused, renewed

HOST = "https://api.replicate.com"
NAME = "Replicate"
MODEL = re.compile(r"(?P<owner>[^/:]+)/(?P<name>[^/:]+)(:(?P<version>[0-9a-f]{64}))?")
PREDICTION = re.compile(r"[a-z0-9]{1,64}")
LARGEST_INLINE = 256_000
"""Bytes of a file that goes as a data URI; a larger one is uploaded, which costs nothing."""
BLOCKED = ("nsfw", "e005", "flagged as sensitive", "safety", "moderation", "content policy")
"""Words by which models and the service say that a filter held something back."""
CODE = re.compile(r"\b(E[0-9]{4})\b|\(code: ([A-Z]{2})\)")
PROGRESS = re.compile(r"(\d{1,3})%\s*\|")


def client(setup: Setup) -> CancellablePolled:
    """The client of a model; see `families.client_of`."""
    return polled(setup, Pace())


def polled(setup: Setup, pace: Pace) -> CancellablePolled:
    """The same at another pace."""
    remote = ReplicatePredictions(setup)
    return CancellablePolled(setup.name, remote, remote.cancel, pace)


class ReplicatePredictions:
    """One model; see `polled.Remote`."""

    def __init__(self, setup: Setup) -> None:
        named = MODEL.fullmatch(setup.deployment)
        if named is None:
            raise Unsupported(
                "a model of Replicate is OWNER/NAME or OWNER/NAME:VERSION",
                where="spec.offers[].model",
                found=setup.deployment,
            )
        self.model, self.provider = f"replicate/{setup.deployment}", NAME
        self._id, self._setup = setup.deployment, setup
        self._path, self._version = f"/v1/models/{quote(named['owner'])}/{quote(named['name'])}", named["version"]
        headers = renewed(lambda: {"Authorization": f"Bearer {setup.key('API_KEY')}"})
        self._api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)
        self._schema: Schema | None = None
        self._lock = threading.Lock()
        self._rate = next((row.amount for row in setup.offer.prices if row.per is Unit.COMPUTE_SECOND), None)

    def submit(self, request: GenerationRequest, inputs: Inputs, _: Callable[[str], None]) -> str:
        """Starts the prediction; its id is the handle. What the model takes is asked once, and costs nothing."""
        schema = self._known()
        asked: dict[str, Any] = dict(worded(schema, request, self._setup))
        for name, data, in_list in files(schema, request, inputs):
            address = self._address(name, data)
            asked[name] = [address] if in_list else address
        if self._version is None:
            answer = self._api.post(f"{self._path}/predictions", {"input": asked}, self._id)
        else:
            answer = self._api.post("/v1/predictions", {"version": self._version, "input": asked}, self._id)
        if answer.status not in (200, 201, 202):
            raise _refused(answer, self._id)
        named = str(answer.json().get("id", ""))
        if not PREDICTION.fullmatch(named):
            raise AmbiguousSubmit(
                "the prediction was taken, and its name is not told",
                where=self._id,
                found=f"HTTP {answer.status}",
                fix="Look at the account's predictions before the item is asked for again",
            )
        return named

    def _known(self) -> Schema:
        with self._lock:
            if self._schema is None:
                path = self._path if self._version is None else f"{self._path}/versions/{self._version}"
                answer = self._api.ask("GET", path, self._id)
                if answer.status != 200:
                    raise refused(NAME, answer, self._id, free=True)
                told = answer.json() if self._version is not None else answer.json().get("latest_version")
                described = told.get("openapi_schema") if isinstance(told, dict) else None
                self._schema = Schema(described if isinstance(described, dict) else {}, self._id)
            return self._schema

    def _address(self, name: str, data: bytes) -> str:
        """Where the model finds an input file."""
        try:
            kind = read_header(data).media_type
        except BadOutput:
            raise Unsupported("the input is no picture or clip", where=f"spec.inputs, for {name}") from None
        if len(data) <= LARGEST_INLINE:
            return f"data:{kind};base64,{base64.b64encode(data).decode()}"
        try:
            answer = self._api.form("/v1/files", {"content": (name, data, kind)}, self._id)
        except AmbiguousSubmit as error:
            raise Transient("an input could not be uploaded", where=self._id, found=error.found) from None
        if answer.status not in (200, 201):
            raise refused(NAME, answer, self._id, free=True)
        urls = answer.json().get("urls")
        address = urls.get("get") if isinstance(urls, dict) else None
        if not isinstance(address, str) or not self._api.owns(address):
            raise Transient("an upload was not confirmed", where=self._id, found=f"HTTP {answer.status}")
        return address

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """How the prediction is; see `polled.Remote`."""
        answer = self._api.ask("GET", f"/v1/predictions/{handle}", self._id)
        if answer.status != 200:
            raise refused(NAME, answer, self._id)
        told = answer.json()
        match told.get("status"):
            case "starting":
                return Unfinished()
            case "processing":
                seen = PROGRESS.findall(str(told.get("logs") or ""))
                return Unfinished(int(seen[-1]) if seen else None)
            case "succeeded":
                return Made(self._api.fetch(_address_of(told, self._id), self._id), cost=self._cost(told))
            case "failed" | "canceled" | "aborted":
                return Ended(_failure(told, self._id))
            case _:
                raise Transient(f"{NAME} says nothing that is known of the prediction", where=self._id)

    def _cost(self, told: Mapping[str, Any]) -> Decimal | None:
        """By the time that it ran, where the offer has a price for that."""
        seconds = _ran(told)
        if self._rate is None or not isinstance(seconds, int | float):
            return None
        return (self._rate * Decimal(str(seconds))).quantize(MILLIONTH, rounding=ROUND_UP)

    def cancel(self, handle: str) -> None:
        """Stops the prediction; the time that it ran is billed."""
        answer = self._api.ask("POST", f"/v1/predictions/{handle}/cancel", self._id)
        if answer.status not in (200, 202):
            raise refused(NAME, answer, self._id)


def _refused(answer: Answer, model: str) -> EaselError:
    if answer.status == 422 and "version" in str(answer.json().get("title", "")).lower():
        return ModelRetired(
            f"{NAME} has no such version of the model", where=model, found="HTTP 422", fix="Name one that there is"
        )
    return refused(NAME, answer, model)


def _address_of(told: Mapping[str, Any], model: str) -> str:
    output = told.get("output")
    first = output[0] if isinstance(output, list) and output else output
    if not isinstance(first, str):
        found = "its data was removed" if told.get("data_removed") else "a prediction that succeeded"
        raise BilledBadOutput(f"{NAME} delivered nothing", where=model, found=found)
    return first


def _ran(told: Mapping[str, Any]) -> object:
    """Seconds that the model ran; something true when it began, and nobody says for how long."""
    metrics = told.get("metrics")
    if isinstance(metrics, dict) and "predict_time" in metrics:
        return metrics["predict_time"]
    return told.get("started_at")


def _failure(told: Mapping[str, Any], model: str) -> EaselError:
    """Why a prediction has no result; billed when the model ran. The error's text, which may repeat the prompt, is not shown."""
    said, billed = str(told.get("error") or ""), bool(_ran(told))
    code = CODE.search(said)
    found = next(filter(None, code.groups())) if code else str(told.get("status"))
    if any(word in said.lower() for word in BLOCKED):
        blocked = PaidBlock if billed else ContentBlocked
        return blocked("a safety policy of the provider refused it", where=model, found=found)
    if billed:
        return BilledBadOutput("the model ended without a result, and its time is billed", where=model, found=found)
    return BackendFault("the model never ran", where=model, found=found)
