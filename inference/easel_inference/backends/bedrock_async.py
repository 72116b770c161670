"""Amazon Bedrock, StartAsyncInvoke: Luma AI's Ray2, a clip that Bedrock leaves in a bucket of the account.

What the model is asked is by docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html, read on 2026-11-28, which gives no schema;
the calls are botocore's. A call is announced by its token before it is made, so that one whose answer was lost is found again among the
account's calls and not given up. There is no way to cancel one.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    ContentBlocked,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    Transient,
    Unsupported,
)
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

from . import aws
from .aws import explained
from .base import Expired, PaidBlock, Setup
from .delivered import LARGEST_BYTES
from .polled import Ended, Made, Pace, Polled, Unfinished

MODEL = "luma.ray-v2:0"
TOKEN = "token:"  # noqa: S105 - how a handle begins
SETTLE_SECONDS = 60.0
"""How long a call is looked for among the account's before it counts as never made."""
SKEW_SECONDS = 300
"""By which clocks may differ: AWS refuses signatures that are further off."""
_OF_THE_RESULT = re.compile(r"\b(generated|output)\b", re.IGNORECASE)


def client(setup: Setup) -> Polled:
    """The client of a model; see `families.client_of`."""
    return bedrock_async(setup)


def bedrock_async(setup: Setup, pace: Pace | None = None, settle: float = SETTLE_SECONDS) -> Polled:
    """The same, for a pace of one's own."""
    return Polled(setup.name, Calls(setup, settle), pace)


class Calls:
    """The `Remote` of one model in one region; safe for many threads."""

    def __init__(self, setup: Setup, settle: float) -> None:
        """`settle` is in seconds, as `SETTLE_SECONDS`."""
        if setup.model != MODEL:
            raise Unsupported(
                "Bedrock's StartAsyncInvoke family does not know this model",
                where="spec.offers[].model",
                found=setup.model,
                fix="See docs/providers.md for those that it knows",
            )
        if setup.spec.bucket is None:
            raise EnvironmentFault("the clips of this family need a bucket", where="spec.bucket", fix="Name one")
        account = aws.account(setup)
        self.model, self.provider = f"bedrock/{setup.model}", f"Amazon Bedrock, {account.region}"
        self._model, self._resolved, self._settle = setup.model, setup.resolved, settle
        self._bucket, self._prefix = setup.spec.bucket.name, setup.spec.bucket.prefix
        self._bedrock = aws.client(account, "bedrock-runtime")
        self._s3 = aws.bucket_client(account, setup.spec.bucket.endpoint)
        self._missed: dict[str, float] = {}
        """When a token was first not found, by the monotonic clock."""

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """See `Remote`. A call whose answer was lost goes on under its token."""
        told = asked(request, inputs, self._resolved)
        handle = f"{TOKEN}{time.time():.0f}:{request.id}"
        announce(handle)
        try:
            answer = self._bedrock.start_async_invoke(
                clientRequestToken=request.id,
                modelId=self._model,
                modelInput=told,
                outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{self._bucket}/{self._prefix}"}},
            )
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            # Without the cause: what AWS says may repeat the prompt.
            found = explained(error, self._model)
            if isinstance(found, AmbiguousSubmit):
                return handle
            raise found from None
        return str(answer["invocationArn"])

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """See `Remote`."""
        try:
            call = self._by_token(handle) if handle.startswith(TOKEN) else self._call(handle)
            if call is None:
                return self._not_there(handle)
            match call.get("status"):
                case "Completed":
                    return Made(self._fetched(call["invocationArn"].rpartition("/")[2]))
                case "Failed":
                    return Ended(self._failed(call.get("failureMessage", "")))
                case _:
                    return Unfinished()
        except EaselError:
            raise
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise explained(error, self._model, free=True) from None

    def _call(self, arn: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._bedrock.get_async_invoke(invocationArn=arn)
        return found

    def _by_token(self, handle: str) -> Mapping[str, Any] | None:
        began, _, token = handle.removeprefix(TOKEN).partition(":")
        since = datetime.fromtimestamp(int(began) - SKEW_SECONDS, UTC)
        return next((each for each in self._since(since) if each.get("clientRequestToken") == token), None)

    def _since(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        pages = self._bedrock.get_paginator("list_async_invokes").paginate(submitTimeAfter=since)
        for page in pages:
            yield from page.get("asyncInvokeSummaries", [])

    def _not_there(self, handle: str) -> Unfinished | Ended:
        now = time.monotonic()
        first = self._missed.get(handle)
        if first is None or now - first < self._settle:
            self._missed.setdefault(handle, now)
            return Unfinished()
        return Ended(Transient("it was never submitted", where=self._model, found="no call with its token"))

    def _fetched(self, call: str) -> bytes:
        """What the call left below the prefix: `output.mp4`, and manifests beside it."""
        folder = f"{self._prefix}{call}/"
        objects = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=folder).get("Contents", [])
        key = next((each["Key"] for each in objects if each["Key"].endswith(".mp4")), None)
        if key is None:
            raise Expired("there is no clip in the bucket", where=self._model, found=f"s3://{self._bucket}/{folder}")
        with self._s3.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
            data: bytes = body.read(LARGEST_BYTES + 1)
        return data

    def _failed(self, message: str) -> EaselError:
        """The message is not shown, since it may repeat the prompt."""
        if not aws.blocked(message):
            return BackendFault("the model failed", where=self._model, found="Failed")
        kind = PaidBlock if _OF_THE_RESULT.search(message) else ContentBlocked
        return kind("a safety policy of the provider refused it", where=self._model, found="Failed")


def asked(request: GenerationRequest, inputs: Inputs, resolved: Resolved) -> dict[str, Any]:
    """What Ray2 is asked."""
    if not request.prompt:
        raise Unsupported("Ray2 needs a prompt", where="spec.prompts", fix="Add one")
    told: dict[str, Any] = {"prompt": request.prompt}
    if resolved.aspect_ratio:
        told["aspect_ratio"] = resolved.aspect_ratio
    if resolved.seconds:
        told["duration"] = f"{resolved.seconds}s"
    if resolved.tier:
        told["resolution"] = resolved.tier
    if request.task is Task.IMAGE_TO_VIDEO:
        told["keyframes"] = {"frame0": _keyframe(inputs.image)}
    return told


def _keyframe(image: bytes | None) -> dict[str, Any]:
    if image is None:
        raise InvalidInput("the task needs it", where="spec.inputs.image", fix="Add it")
    data = base64.b64encode(image).decode()
    source = {"type": "base64", "media_type": read_header(image).media_type, "data": data}
    return {"type": "image", "source": source}
