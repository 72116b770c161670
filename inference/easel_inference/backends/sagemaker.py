"""Amazon SageMaker: a model of the team's own on an endpoint of its own; what it is asked and answers is in `custom_models`.

A picture comes in the answer of InvokeEndpoint. A clip, or a picture whose inputs are too large for that, is asked for by
InvokeEndpointAsync, which says where in S3 the result or the failure will lie: there is no status to ask for, and no way to cancel. Limits
are those of botocore's service model and of docs.aws.amazon.com/sagemaker (60 seconds for InvokeEndpoint).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BilledBadOutput,
    Cancelled,
    EaselError,
    Unsupported,
)
from easel_api.tasks import TAKES
from easel_inference.generation import Accepted, GenerationRequest, Inputs, Message

from . import aws
from .aws import explained
from .base import OnEvent, Result, Setup
from .custom_models import asked, read, refused
from .delivered import LARGEST_BYTES, check_format, delivered
from .polled import Ended, Made, Pace, Polled, Unfinished

LARGEST_BODY = 6_291_456
"""Bytes of a request to InvokeEndpoint, or of its answer."""
LARGEST_INLINE = 128_000
"""Bytes that InvokeEndpointAsync takes in the call itself."""
LARGEST_RESULT = LARGEST_BYTES * 4 // 3 + 2**20
"""Bytes of an object: the largest file in base64, and the JSON around it."""
LONGEST_ID = 64
WAIT_SECONDS = 3600
"""In SageMaker's queue, and at work; nobody asks for the result much later."""
_TIMED_OUT = re.compile(r"timed?[ -]?out", re.IGNORECASE)


def client(setup: Setup) -> SageMaker:
    """The client of a model; see `families.client_of`."""
    return SageMaker(setup)


class SageMaker:
    """One endpoint; safe to call from many threads. `Resumable`, for what it asks for asynchronously."""

    def __init__(self, setup: Setup, pace: Pace | None = None) -> None:
        """`pace` is that of asking for clips."""
        self._setup, self._calls = setup, AsyncCalls(setup)
        self._polled = Polled(setup.name, self._calls, pace)

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped."""
        check_format(request)
        sent = body(request, inputs, self._setup)
        if TAKES[request.task].video or len(sent) > LARGEST_BODY:
            return self._polled.generate(request, inputs, on_event, stop)
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        made = self._calls.invoke(sent, request)
        return delivered(
            self._setup.name,
            request,
            made,
            model=self._calls.model,
            provider=self._calls.provider,
            seconds=time.monotonic() - began,
        )

    def resume(self, handle: str, request: GenerationRequest, on_event: OnEvent, stop: threading.Event) -> Result:
        """Waits for the result of a call; see `Resumable`."""
        return self._polled.resume(handle, request, on_event, stop)


class AsyncCalls:
    """The `Remote` of one endpoint, and its calls that are answered at once."""

    def __init__(self, setup: Setup) -> None:
        """Makes its clients; see `Setup`."""
        account = aws.account(setup)
        self.model, self.provider = f"sagemaker/{setup.model}", f"Amazon SageMaker, {account.region}"
        self._model, self._setup = setup.model, setup
        self._runtime = aws.client(account, "sagemaker-runtime")
        self._s3 = aws.bucket_client(account, setup.spec.bucket.endpoint if setup.spec.bucket else None)

    def invoke(self, sent: bytes, request: GenerationRequest) -> bytes:
        """The picture that InvokeEndpoint answers with."""
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._setup.deployment,
                Body=sent,
                ContentType="application/json",
                Accept="*/*",
                InferenceId=_named(request),
            )
            told = answer["Body"].read(LARGEST_BODY + 1)
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            # Without the cause: what the model says may repeat the prompt.
            raise self._meant(error) from None
        if len(told) > LARGEST_BODY:
            raise BilledBadOutput(
                "SageMaker's answer is too large", where=self._model, found=f"over {LARGEST_BODY} bytes"
            )
        return read(answer.get("ContentType", ""), told, self._model)

    def submit(self, request: GenerationRequest, inputs: Inputs, announce: Callable[[str], None]) -> str:
        """See `Remote`. The handle is both places where S3 will have the end of the call."""
        given = self._given(body(request, inputs, self._setup), _named(request))
        try:
            answer = self._runtime.invoke_endpoint_async(
                EndpointName=self._setup.deployment,
                ContentType="application/json",
                Accept="*/*",
                InferenceId=_named(request),
                RequestTTLSeconds=WAIT_SECONDS,
                InvocationTimeoutSeconds=WAIT_SECONDS,
                **given,
            )
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise explained(error, self._model) from None
        output, failure = answer.get("OutputLocation", ""), answer.get("FailureLocation", "")
        _object(output, self._model)
        if failure:
            _object(failure, self._model)
        return json.dumps({"output": output, "failure": failure})

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """See `Remote`."""
        places = json.loads(handle)
        found = self._fetched(places["output"])
        if found is not None:
            media_type, data = found
            if len(data) > LARGEST_RESULT:
                raise BilledBadOutput(
                    "the model's result is too large", where=self._model, found=f"over {LARGEST_RESULT} bytes"
                )
            try:
                return Made(read(media_type, data, self._model))
            except EaselError as error:
                return Ended(error)
        failed = self._fetched(places["failure"]) if places["failure"] else None
        if failed is None:
            return Unfinished()
        return Ended(refused(failed[1], self._model) or BackendFault("the model failed", where=self._model))

    def _given(self, sent: bytes, name: str) -> dict[str, Any]:
        """The body in the call, or where in the Provider's bucket it was put for it."""
        if len(sent) <= LARGEST_INLINE:
            return {"Body": sent}
        bucket = self._setup.spec.bucket
        if bucket is None:
            raise Unsupported(
                "the inputs are too large for a call without a bucket",
                where="spec.inputs",
                found=f"{len(sent)} bytes",
                fix="Have the Provider name a bucket",
            )
        key = f"{bucket.prefix}inputs/{name}.json"
        try:
            self._s3.put_object(Bucket=bucket.name, Key=key, Body=sent, ContentType="application/json")
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise explained(error, self._model, free=True) from None
        return {"InputLocation": f"s3://{bucket.name}/{key}"}

    def _fetched(self, place: str) -> tuple[str, bytes] | None:
        """Media type and bytes of an object; None when it is not there."""
        bucket, key = _object(place, self._model)
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key)
            with answer["Body"] as told:
                return answer.get("ContentType", ""), told.read(LARGEST_RESULT + 1)
        except self._s3.exceptions.NoSuchKey:
            return None
        except Exception as error:  # noqa: BLE001 - what is no error of a call is raised again
            raise explained(error, self._model, free=True) from None

    def _meant(self, error: Exception) -> EaselError:
        """What InvokeEndpoint raised: the model's own refusal, and an answer that it was not waited for, lie within a ModelError."""
        from botocore.exceptions import ClientError

        told: Mapping[str, Any] = error.response if isinstance(error, ClientError) else {}
        if told.get("Error", {}).get("Code") != "ModelError":
            return explained(error, self._model)
        blocked = refused(str(told.get("OriginalMessage", "")), self._model)
        if blocked is None and _TIMED_OUT.search(str(told.get("Error", {}).get("Message", ""))):
            return AmbiguousSubmit(
                "the model took too long, and it may be billed", where=self._model, found="ModelError"
            )
        return blocked or explained(error, self._model)


def body(request: GenerationRequest, inputs: Inputs, setup: Setup) -> bytes:
    """What the model is asked."""
    return json.dumps(asked(request, inputs, setup)).encode()


def _named(request: GenerationRequest) -> str:
    """The call's name, no longer than SageMaker takes."""
    name = request.id
    return name if len(name) <= LONGEST_ID else hashlib.sha256(name.encode()).hexdigest()


def _object(place: str, model: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    bucket, _, key = place.removeprefix("s3://").partition("/")
    if not place.startswith("s3://") or not bucket or not key:
        raise BilledBadOutput("SageMaker names a result where none can be", where=model, found="no object of S3")
    return bucket, key
