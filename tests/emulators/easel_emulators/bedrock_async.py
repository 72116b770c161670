"""Amazon Bedrock's asynchronous calls over TLS, with their signatures checked and counted; results lie in a real S3 server.

Requests and answers have the shapes of botocore's service model. What Luma AI's Ray2 is asked has no machine-readable schema: its fields are
by hand from docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html, read on 2026-11-28, and unknown ones fail. What it
costs no source says: the offer's prices are examples.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
from botocore.model import ServiceModel as Described
from botocore.session import get_session
from botocore.validate import ParamValidator
from easel_cluster.pki import Authority
from moto.core.parse import RestJSONParser
from moto.core.serialize import RestJSONSerializer

from easel_emulators.account_bucket import NAME, AccountBucket, account_bucket
from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.bedrock import ACCESS_KEY, FAULTS, REGION, SECRET_KEY, SERVICE, Fault, signed
from easel_emulators.outstanding import Work
from easel_emulators.serving import Handling, served

RAY = "luma.ray-v2:0"
PREFIX = "made/"
DATA = get_session().get_service_data("bedrock-runtime")
START_SHAPE = Described(DATA, "bedrock-runtime").operation_model("StartAsyncInvoke").input_shape
PAGE = 2
"""Calls on a page of the list; few, so that a client must turn it."""
LINES = 128
"""Pixels of a clip's shorter side here."""
PICTURE = {
    "type": "object",
    "required": ["type", "source"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "image"},
        "source": {
            "type": "object",
            "required": ["type", "media_type", "data"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "base64"},
                "media_type": {"enum": ["image/jpeg", "image/png"]},
                "data": {"type": "string", "contentEncoding": "base64"},
            },
        },
    },
}
MODEL_INPUT = {
    "type": "object",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 5000},
        "aspect_ratio": {"enum": ["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]},
        "loop": {"type": "boolean"},
        "duration": {"enum": ["5s", "9s"]},
        "resolution": {"enum": ["540p", "720p"]},
        "keyframes": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {"frame0": PICTURE, "frame1": PICTURE},
        },
    },
}
PRICES = {"540p": Decimal("0.75"), "720p": Decimal("1.50")}
"""In US dollars for a second."""
BLOCKED_LATE = "This request has been blocked by our content filters. Please adjust the prompt and try again."
BLOCKED_RESULT = "The generated video has been blocked by our content filters."


def size_of(body: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of a clip, in pixels: of the shape that was asked for, and smaller."""
    wide, high = (int(side) for side in body.get("aspect_ratio", "16:9").split(":"))
    return 2 * round(LINES * wide / min(wide, high) / 2), 2 * round(LINES * high / min(wide, high) / 2)


@dataclass
class Call(Work):
    """One call, with what AWS says of it."""

    token: str = ""
    submitted: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(kw_only=True)
class BedrockAsync(Emulator):
    """What happens next, and what has happened: of `next` a word, a `Fault`, or `blocked result`."""

    bucket: AccountBucket
    made: dict[str, Call] = field(default_factory=dict)
    """By ARN, in the order of their submission."""
    questions: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """Of calls, each once."""

    @property
    def places(self) -> Mapping[str, str]:
        """What else a Provider names."""
        return {"s3": self.bucket.endpoint}

    def start(self, told: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The answer of StartAsyncInvoke, and what then becomes of the connection."""
        token, body = told["clientRequestToken"], told["modelInput"]
        known = next((call for call in self.made.values() if call.token == token), None)
        if known is not None:
            if known.body != body:
                raise Fault("ConflictException", "The token is in use")
            return {"invocationArn": known.name}, ""
        self.calls.append(body)
        then = self.next.popleft() if self.next else "clip"
        then = FAULTS.get(then, then) if isinstance(then, str) else then
        if isinstance(then, Fault):
            raise then
        seconds = int(body.get("duration", "5s").removesuffix("s"))
        arn = f"arn:aws:bedrock:{REGION}:123456789012:async-invoke/{next(self.numbers):012d}"
        call = Call(arn, told["modelId"], then, b"", body, token=token)
        if then not in ("failed", "blocked late"):
            self.bill(call.model, PRICES[body.get("resolution", "540p")] * seconds)
            if then != "empty":
                width, height = size_of(body)
                asked = body | {"output_format": "mp4", "seconds": seconds, "width": width, "height": height}
                self.bucket.put(self.key(call), spoiled(then, self.draw(asked)), "video/mp4")
        self.made[arn] = call
        if then == "slow":
            time.sleep(2)
        return {"invocationArn": arn}, then

    def key(self, call: Call) -> str:
        """Where its clip lies."""
        return f"{PREFIX}{call.name.rpartition('/')[2]}/output.mp4"

    def look(self, arn: str) -> dict[str, Any] | None:
        """The answer of GetAsyncInvoke; None: there is none."""
        if arn not in self.made:
            raise Fault("ValidationException", "The provided ARN is not valid")
        return self.summary(self.made[arn])

    def summary(self, call: Call) -> dict[str, Any] | None:
        """What a question finds of a call; None: its answer never comes."""
        found = call.found(self)
        if found == "lost":
            return None
        if found in ("throttled", "denied"):
            raise FAULTS[found]
        status = {"unfinished": "InProgress", "failed": "Failed", "blocked late": "Failed"}.get(found, "Completed")
        messages = {"failed": "Internal error while generating", "blocked late": BLOCKED_LATE}
        if call.word == "blocked result":
            status, messages = "Failed", {found: BLOCKED_RESULT}
        failure = {"failureMessage": messages[found]} if status == "Failed" else {}
        return failure | {
            "invocationArn": call.name,
            "modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{call.model}",
            "clientRequestToken": call.token,
            "status": status,
            "submitTime": call.submitted,
            "lastModifiedTime": call.submitted,
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{NAME}/{PREFIX}"}},
        }

    def listed(self, query: Mapping[str, list[str]]) -> dict[str, Any] | None:
        """The answer of ListAsyncInvokes, newest first."""
        if unknown := set(query) - {"submitTimeAfter", "nextToken", "maxResults"}:
            raise Fault("ValidationException", f"unknown: {', '.join(sorted(unknown))}")
        after = datetime.fromisoformat(query["submitTimeAfter"][0]) if "submitTimeAfter" in query else None
        calls = [call for call in reversed(self.made.values()) if after is None or call.submitted >= after]
        start = int(query.get("nextToken", ["0"])[0])
        page = [self.summary(call) for call in calls[start : start + PAGE]]
        if any(each is None for each in page):
            return None
        more = {"nextToken": str(start + PAGE)} if start + PAGE < len(calls) else {}
        return {"asyncInvokeSummaries": page, **more}


@contextmanager
def bedrock_async(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[BedrockAsync]:
    """The service at an address of this machine, until the block ends; `draw` makes its clips."""
    with account_bucket(address) as bucket:
        state = BedrockAsync(bucket=bucket, draw=draw or drawn)
        authority = Authority(folder, "provider-ca")
        state.authority = authority.certificate
        pair = authority.server("bedrock", "bedrock", [address])

        class Handler(Handling):
            def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
                sent = self.sent()

                def start() -> dict[str, Any] | str:
                    answer, then = state.start(started(sent))
                    return then if then in ("reset", "gateway") else answer

                self._answer("StartAsyncInvoke", sent, start)

            def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
                parts = urlsplit(self.path)
                arn = unquote(parts.path.removeprefix("/async-invoke")).removeprefix("/")
                state.questions += 1
                if arn:
                    self._answer("GetAsyncInvoke", b"", lambda: state.look(arn))
                else:
                    self._answer("ListAsyncInvokes", b"", lambda: state.listed(parse_qs(parts.query)))

            def _answer(self, operation: str, sent: bytes, found: Any) -> None:
                headers: dict[str, str] = {}
                try:
                    if not signed(self.command, self.path, dict(self.headers.items()), sent):
                        raise Fault("AccessDeniedException", "The request signature does not match")
                    result = found()
                except Fault as fault:
                    result, headers = fault, fault.headers
                    state.refused += [f"{fault.code}: {fault.message}"]
                if self.lost("reset" if result is None else result):
                    return
                written = RestJSONSerializer(SERVICE.operation_model(operation)).serialize(result)
                self.send(written["status_code"], written["body"].encode(), written["headers"] | headers)

        with served(Handler, pair, address) as state.url:
            yield state


def started(sent: bytes) -> dict[str, Any]:
    """The parameters of a StartAsyncInvoke that AWS would take; a `Fault` as AWS gives it for one that it would not."""
    told = json.loads(sent)
    report = ParamValidator().validate(told, START_SHAPE)
    if report.has_errors():
        raise Fault("ValidationException", report.generate_report()[:200])
    request = {"method": "POST", "url_path": "/async-invoke", "headers": {}, "body": sent, "query_string": {}}
    parsed = RestJSONParser(SERVICE.operation_model("StartAsyncInvoke")).parse(request | {"url_params": {}})
    place = parsed["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    token = parsed.get("clientRequestToken", "")
    for value, shape in ((place, "S3Uri"), (token, "AsyncInvokeIdempotencyToken")):
        if (
            not re.fullmatch(DATA["shapes"][shape]["pattern"], value)
            or not 0 < len(value) <= DATA["shapes"][shape]["max"]
        ):
            raise Fault("ValidationException", f"{shape} is malformed")
    if place != f"s3://{NAME}/{PREFIX}":
        raise Fault("ValidationException", "Invalid Output Config/Credentials")
    if parsed["modelId"] != RAY:
        raise Fault("ResourceNotFoundException", "This model version has reached the end of its life.")
    try:
        jsonschema.validate(told["modelInput"], MODEL_INPUT)
    except jsonschema.ValidationError as error:
        raise Fault("ValidationException", f"Malformed input request: {str(error)[:200]}") from error
    return {"clientRequestToken": token, "modelId": RAY, "modelInput": told["modelInput"]}


SUBJECTS = (
    Subject(
        family="BedrockAsync",
        start=bedrock_async,
        secret={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
        spec={"region": REGION, "bucket": {"name": NAME, "prefix": PREFIX, "endpoint": "{s3}"}},
        offers=(
            {
                "model": RAY,
                "prices": [
                    {"amount": str(amount), "per": "Second", "resolution": lines} for lines, amount in PRICES.items()
                ],
            },
        ),
        rows={RAY: Row("text-to-video", {"frames": 40, "fps": 8})},
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "blocked": Ends("ContentBlocked", 0),
            "reset": Ends(),
            "gateway": Ends(),
            "failed": Ends("BackendFault", 0),
            "blocked late": Ends("ContentBlocked", 0),
            **ASKED_ON,
        },
        never={
            "blocked as 200": "the answer is a handle, and a call that is blocked has Failed",
            "expired": "a result has no address: it lies in the account's own bucket",
            "expired for good": "a result has no address: it lies in the account's own bucket",
            "elsewhere": "the result is looked for in the account's own bucket, whatever the answer says",
        },
    ),
)
