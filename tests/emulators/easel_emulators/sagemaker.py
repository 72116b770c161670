"""Amazon SageMaker's endpoints over TLS, with their signatures checked and counted; asynchronous results lie in a real S3 server.

Requests and answers have the shapes of botocore's service model. Behind the endpoints are containers that take what docs/custom-models.md
says, and nothing else. What they cost is what their Provider says.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
from botocore.session import get_session
from easel_cluster.pki import Authority
from moto.core.model import ServiceModel
from moto.core.parse import RestJSONParser
from moto.core.serialize import RestJSONSerializer

from easel_emulators.account_bucket import NAME, AccountBucket, account_bucket
from easel_emulators.base import USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Fault, signed
from easel_emulators.outstanding import ELSEWHERE
from easel_emulators.serving import Handling, served

SERVICE = ServiceModel(get_session().get_service_data("sagemaker-runtime"), "sagemaker-runtime")
PICTURES, CLIPS = "sdxl-prod", "clips-prod"
"""Endpoints: the first one answers at once, the second one asynchronously."""
PREFIX = "easel/"
LARGEST, LARGEST_INLINE = 6_291_456, 128_000
PRICE, SECOND = Decimal("0.004"), Decimal("0.02")
"""In US dollars, of a picture and of a second of a clip."""
FILE = {"type": "string", "contentEncoding": "base64", "minLength": 4}
NUMBERS = {
    "seed": {"type": "integer", "minimum": 0},
    "num_inference_steps": {"type": "integer", "minimum": 1},
    "negative_prompt": {"type": "string"},
}
CONTAINERS: dict[str, dict[str, Any]] = {
    PICTURES: NUMBERS
    | {
        "guidance_scale": {"type": "number"},
        "strength": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "width": {"type": "integer", "multipleOf": 8},
        "height": {"type": "integer", "multipleOf": 8},
        "image": FILE,
        "mask_image": FILE,
        "control_image": FILE,
    },
    CLIPS: NUMBERS
    | {
        "num_frames": {"type": "integer", "minimum": 2},
        "fps": {"type": "integer", "minimum": 1},
        "image": FILE,
    },
}
"""The parameters that each takes."""
BLOCKED = {"error": "the prompt showed what it must not", "blocked": True}


class ModelError(Fault):
    """What the container said is in the error."""

    def __init__(self, status: int, told: str, message: str = "Received client error from primary") -> None:
        super().__init__("ModelError", message)
        self.OriginalStatusCode, self.OriginalMessage = status, told


FAULTS = {
    "throttled": Fault("ThrottlingException", "Rate exceeded"),
    "unavailable": Fault("ServiceUnavailable"),
    "internal": Fault("InternalFailure"),
    "dependency": Fault("InternalDependencyException"),
    "not ready": Fault("ModelNotReadyException"),
    "denied": Fault("AccessDeniedException"),
    "retired": Fault("ValidationError", "Endpoint it of account 123456789012 not found."),
    "invalid": Fault("ValidationError"),
    "blocked": ModelError(400, json.dumps(BLOCKED)),
    "model error": ModelError(500, "a zebra-striped prompt was too much"),
    "timed out": ModelError(0, "", "Your invocation timed out while waiting for a response from container primary."),
}
"""Throttling and refusals of keys are errors that all services of AWS have, and in no service's own model."""


@dataclass(kw_only=True)
class SageMaker(Emulator):
    """What happens next, and what has happened: of `next` a word, or a key of `FAULTS`. `paid` is by endpoint."""

    bucket: AccountBucket
    form: str = "image"
    """How a picture is answered: raw, bare (base64 as JSON), or by one of the keys."""
    names: list[str] = field(default_factory=list)
    """Of calls, in their order."""
    work: list[threading.Thread] = field(default_factory=list)

    @property
    def places(self) -> Mapping[str, str]:
        """What else a Provider names."""
        return {"s3": self.bucket.endpoint}

    def made(self, endpoint: str, body: dict[str, Any], then: str) -> bytes:
        """The picture or clip."""
        told = body["parameters"]
        asked = {"width": 256, "height": 256} | told | {"prompt": body["inputs"]}
        if endpoint == CLIPS:
            asked |= {"output_format": "mp4", "seconds": seconds(body)}
        return spoiled(then, self.draw(asked))

    def answer(self, endpoint: str, body: dict[str, Any], then: str) -> tuple[str, bytes]:
        """What InvokeEndpoint gives: a media type and a body."""
        self.gate.wait(60)
        data = self.made(endpoint, body, then)
        text = base64.b64encode(data).decode()
        forms: dict[str, Any] = {"bare": text, "generated_image": [{"generated_image": text}]}
        match then:
            case "words":
                return "text/plain", data
            case "blocked as 200":
                return "application/json", json.dumps(BLOCKED).encode()
            case "told":
                return "application/json", b'{"error": "a zebra-striped mistake"}'
        if self.form == "raw":
            return "image/png", data
        return "application/json", json.dumps(forms.get(self.form, {self.form: text})).encode()

    def leave(self, endpoint: str, body: dict[str, Any], then: str, name: str) -> None:
        """Works, and leaves the end of an asynchronous call where it was said to lie."""
        self.gate.wait(60)
        if then == "slow poll":
            time.sleep(1)
        match then:
            case "failed":
                self.bucket.put(failure(name), b'{"error": "a zebra-striped mistake"}', "application/json")
            case "blocked late":
                self.bucket.put(failure(name), json.dumps(BLOCKED).encode(), "application/json")
            case "blocked as 200":
                self.bucket.put(output(name), json.dumps(BLOCKED).encode(), "application/json")
            case _:
                media_type = "video/mp4" if endpoint == CLIPS else "image/png"
                self.bucket.put(output(name), self.made(endpoint, body, then), media_type)


def output(name: str) -> str:
    """Key of a result."""
    return f"results/{name}.out"


def failure(name: str) -> str:
    """Key of a failure."""
    return f"failures/{name}-error.out"


def seconds(body: Mapping[str, Any]) -> int:
    """Of a clip; two when nobody says."""
    told = body["parameters"]
    return int(told["num_frames"] / told["fps"]) if {"num_frames", "fps"} <= set(told) else 2


@contextmanager
def sagemaker(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[SageMaker]:
    """The service at an address of this machine, until the block ends."""
    with account_bucket(address) as bucket:
        state = SageMaker(bucket=bucket, draw=draw or drawn)
        authority = Authority(folder, "sagemaker-ca")
        state.authority = authority.certificate
        pair = authority.server("sagemaker", "sagemaker", [address])

        class Handler(Handling):
            def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
                sent, headers = self.sent(), dict(self.headers.items())
                late = self.path.endswith("/async-invocations")
                operation = SERVICE.operation_model("InvokeEndpointAsync" if late else "InvokeEndpoint")
                result: Any
                try:
                    if not signed(self.command, self.path, headers, sent, "sagemaker"):
                        raise Fault("AccessDeniedException", "The request signature does not match")
                    result = called(state, parsed(operation, self.path, headers, sent), late=late)
                except Fault as fault:
                    result = fault
                    state.refused.append(f"{fault.code}: {fault.message}")
                if self.lost(result):
                    return
                written = RestJSONSerializer(operation).serialize(result)
                data = written["body"] if isinstance(written["body"], bytes) else written["body"].encode()
                denied = getattr(result, "code", "") == "AccessDeniedException"
                self.send(403 if denied else written["status_code"], data, written["headers"])

        with served(Handler, pair, address) as state.url:
            yield state
        state.gate.set()
        for thread in state.work:
            thread.join()


def parsed(operation: Any, path: str, headers: Mapping[str, str], sent: bytes) -> dict[str, Any]:
    """The parameters of a call that SageMaker would take."""
    known = {shape.serialization.get("name", "").lower() for shape in operation.input_shape.members.values()}
    for name in headers:
        if name.lower().startswith("x-amzn-sagemaker-") and name.lower() not in known:
            raise Fault("ValidationError", f"unknown header {name}")
    request = {"method": "POST", "url_path": path, "headers": headers, "body": sent, "query_string": {}}
    found = dict(
        RestJSONParser(operation).parse(request | {"url_params": {"EndpointName": unquote(path.split("/")[2])}})
    )
    if not re.fullmatch(r"\S[ -~]{0,63}", found.get("InferenceId", "it")):
        raise Fault("ValidationError", "InferenceId is malformed")
    return found


def called(state: SageMaker, told: Mapping[str, Any], *, late: bool) -> dict[str, Any] | str:
    """The answer of a call, or the word by which it never comes."""
    endpoint = told["EndpointName"]
    body = taken(endpoint, told.get("ContentType", ""), given(state, told, late=late))
    state.calls.append(body)
    then = state.next.popleft() if state.next else "result"
    if then in FAULTS:
        raise FAULTS[then]
    if then not in ("failed", "blocked late"):
        state.bill(endpoint, SECOND * seconds(body) if endpoint == CLIPS else PRICE)
    name = told.get("InferenceId") or f"call-{len(state.names)}"
    state.names.append(name)
    if late:
        thread = threading.Thread(target=state.leave, args=(endpoint, body, then, name))
        thread.start()
        state.work.append(thread)
    if then == "slow":
        time.sleep(2)
    if then in ("reset", "gateway"):
        return str(then)
    if late:
        there = ELSEWHERE if then == "elsewhere" else f"s3://{NAME}/{output(name)}"
        return {"InferenceId": name, "OutputLocation": there, "FailureLocation": f"s3://{NAME}/{failure(name)}"}
    media_type, data = state.answer(endpoint, body, then)
    return {"Body": data, "ContentType": media_type, "InvokedProductionVariant": "AllTraffic"}


def given(state: SageMaker, told: Mapping[str, Any], *, late: bool) -> bytes:
    """The body of a call, from the call or from the bucket; a `Fault` when SageMaker would not take it."""
    endpoint, sent, place = told["EndpointName"], told.get("Body") or b"", told.get("InputLocation", "")
    if endpoint not in CONTAINERS or late != (endpoint == CLIPS or bool(place)):
        raise Fault("ValidationError", f"Endpoint {endpoint} of account 123456789012 not found.")
    if bool(sent) == bool(place) or len(sent) > (LARGEST_INLINE if late else LARGEST):
        raise Fault("ValidationError", "Provide exactly one of Body and InputLocation, within its limit")
    waits, works = told.get("RequestTTLSeconds", 60), told.get("InvocationTimeoutSeconds", 1)
    if not (60 <= waits <= 21600 and 1 <= works <= 3600):
        raise Fault("ValidationError", "RequestTTLSeconds or InvocationTimeoutSeconds is out of range")
    if not place:
        return bytes(sent)
    bucket, _, key = place.removeprefix("s3://").partition("/")
    if bucket != NAME or key not in state.bucket.listed():
        raise Fault("ValidationError", "Invalid InputLocation")
    return state.bucket.get(key)


def taken(endpoint: str, media_type: str, sent: bytes) -> dict[str, Any]:
    """What the container reads; `ModelError` for what it does not take."""
    schema = {
        "type": "object",
        "required": ["inputs", "parameters"],
        "additionalProperties": False,
        "properties": {
            "inputs": {"type": "string"},
            "parameters": {"type": "object", "additionalProperties": False, "properties": CONTAINERS[endpoint]},
        },
    }
    try:
        if media_type != "application/json":
            raise ValueError(media_type)
        body: dict[str, Any] = json.loads(sent)
        jsonschema.validate(body, schema)
    except (ValueError, jsonschema.ValidationError) as error:
        raise ModelError(400, str(error)[:200]) from error
    return body


SUBJECTS = (
    Subject(
        family="SageMaker",
        start=sagemaker,
        secret={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
        spec={"region": REGION, "bucket": {"name": NAME, "prefix": PREFIX, "endpoint": "{s3}"}},
        offers=(
            {
                "model": "team/clips",
                "deployment": CLIPS,
                "tasks": ["text-to-video", "image-to-video"],
                "honours": ["seed", "negative", "steps", "frames", "fps"],
                "seconds": [2, 4],
                "prices": [{"amount": str(SECOND), "per": "Second"}],
            },
            {
                "model": "team/sdxl",
                "deployment": PICTURES,
                "tasks": ["text-to-image", "image-to-image", "inpaint", "control-to-image"],
                "honours": ["seed", "negative", "steps", "guidanceScale", "strength"],
                "sizes": {"free": {"multipleOf": 8, "minPixels": 16384, "maxPixels": 2097152}},
                "prices": [{"amount": str(PRICE), "per": "Image"}],
            },
        ),
        rows={
            "team/clips": Row("text-to-video", {"frames": 32, "fps": 8}),
            "team/sdxl": Row("text-to-image", {"width": 256, "height": 256}),
        },
        ends={
            **{word: each for word, each in USUAL.items() if word != "asks to wait"},
            "blocked as 200": Ends("ContentBlocked"),
            "failed": Ends("BackendFault", 0),
            "blocked late": Ends("ContentBlocked", 0),
            "elsewhere": Ends("BilledBadOutput"),
            "slow poll": Ends(),
        },
        never={
            "asks to wait": "SageMaker does not say how long",
            "no credit": "an endpoint is paid by the hour, and has no quota of calls",
            "blocked": "an asynchronous call is taken before the model sees it; one that is answered at once is in the family's own tests",
            "expired": "a result has no address: it lies in the account's own bucket",
            "expired for good": "a result has no address: it lies in the account's own bucket",
            "lost poll": "questions go to S3, here a real server that loses none",
            "throttled poll": "questions go to S3, here a real server that throttles none",
            "denied poll": "questions go to S3 here a real server that takes no key back",
        },
    ),
)
