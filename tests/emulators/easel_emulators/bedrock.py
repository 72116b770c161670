"""Amazon Bedrock's InvokeModel over TLS, with its signatures checked and its calls counted."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import get_session
from easel_cluster.pki import Authority
from moto.core.model import ServiceModel
from moto.core.parse import RestJSONParser
from moto.core.serialize import RestJSONSerializer

from easel_emulators.base import NO_HANDLE, USUAL, Draw, Emulator, Ends, Row, Subject, drawn, spoiled
from easel_emulators.bedrock_bodies import BODIES
from easel_emulators.edits import check, made
from easel_emulators.serving import Handling, served

ACCESS_KEY, SECRET_KEY = "AKIDEASELTEST", "a-secret-of-tests"
REGION = "us-west-2"
SERVICE = ServiceModel(get_session().get_service_data("bedrock-runtime"), "bedrock-runtime")
"""botocore's description in moto's classes."""
INVOKE = SERVICE.operation_model("InvokeModel")
CORE = "stability.stable-image-core-v1:1"
RETIRED = {"amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"}


class Fault(Exception):
    """An error of the service; moto writes it as AWS does."""

    def __init__(self, code: str, message: str = "as a test asked", **headers: str) -> None:
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers


FAULTS = {
    "throttled": Fault("ThrottlingException"),
    "asks to wait": Fault("ThrottlingException", **{"Retry-After": "1"}),
    "unavailable": Fault("ServiceUnavailableException"),
    "internal": Fault("InternalServerException"),
    "denied": Fault("AccessDeniedException"),
    "no credit": Fault("ServiceQuotaExceededException"),
    "retired": Fault("ResourceNotFoundException"),
    "invalid": Fault("ValidationException"),
    "blocked": Fault("ValidationException", "This request has been blocked by our content filters"),
}
PRICES = {CORE: "0.04", "stability.stable-image-ultra-v1:1": "0.14", "stability.sd3-5-large-v1:0": "0.08",
          "us.stability.stable-outpaint-v1:0": "0.06", "us.stability.stable-style-transfer-v1:0": "0.08",
          "us.stability.stable-fast-upscale-v1:0": "0.03", "us.stability.stable-conservative-upscale-v1:0": "0.40",
          "us.stability.stable-creative-upscale-v1:0": "0.60"}  # fmt: skip
"""In US dollars for a picture, by litellm 1.109.1; the other services: 0.07."""


class Bedrock(Emulator):
    """What happens next, and what has happened: of `next` a word, a `Fault`, or one of `error`, `seedless`."""

    def answer(self, model: str, body: dict[str, Any], then: str) -> Any:
        """What InvokeModel gives for a body that is valid."""
        # What comes without a picture and without a reason may be billed; nobody says that it is not.
        if then not in ("blocked as 200", "error"):
            self.bill(model, Decimal(PRICES.get(model, "0.07")))
        match then:
            case "blocked as 200":
                return {"finish_reasons": ["Filter reason: prompt"]}
            case "error":
                return {"finish_reasons": ["Inference error"]}
            case "empty":
                return {"seeds": [1], "finish_reasons": [None], "images": []}
            case "words":
                return "I'm sorry"
            case "slow":
                time.sleep(2)
        self.gate.wait(60)
        return {
            "seeds": ["none" if then == "seedless" else body.get("seed")],
            "finish_reasons": [None],
            "images": [base64.b64encode(spoiled(then, made(model, body, self.draw))).decode()],
        }


@contextmanager
def bedrock(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Bedrock]:
    """The service at an address of this machine, until the block ends; `draw` makes its pictures."""
    state = Bedrock(draw=draw or drawn)
    authority = Authority(folder, "provider-ca")
    state.authority = authority.certificate
    pair = authority.server("bedrock", "bedrock", [address])

    class Handler(Handling):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            try:
                model, body = checked(self.command, self.path, dict(self.headers.items()), self.sent())
                state.calls.append(body)
                then = state.next.popleft() if state.next else "picture"
                then = FAULTS.get(then, then) if isinstance(then, str) else then
                if isinstance(then, Fault):
                    raise then
                answer = state.answer(model, body, then)
                if self.lost(then):
                    return
                result: Any = {"body": json.dumps(answer).encode(), "contentType": "application/json"}
                headers: dict[str, str] = {}
            except Fault as fault:
                result, headers = fault, fault.headers
                state.refused += [f"{fault.code}: {fault.message}"]
            written = RestJSONSerializer(INVOKE).serialize(result)
            payload = written["body"] if isinstance(written["body"], bytes) else written["body"].encode()
            self.send(written["status_code"], payload, written["headers"] | headers)

    with served(Handler, pair, address) as state.url:
        yield state


def checked(method: str, path: str, headers: dict[str, str], sent: bytes) -> tuple[str, dict[str, Any]]:
    """Model and body of a request that AWS would take; a `Fault` as AWS gives it for one that it would not."""
    if not signed(method, path, headers, sent):
        raise Fault(
            "AccessDeniedException", "The request signature we calculated does not match the signature you provided"
        )
    model = unquote(urlsplit(path).path.removeprefix("/model/").removesuffix("/invoke"))
    request = {
        "method": method,
        "url_path": path,
        "headers": headers,
        "body": sent,
        "query_string": {},
        "url_params": {},
    }
    parsed = RestJSONParser(INVOKE).parse(request | {"url_params": {"modelId": model}})
    if model in RETIRED or model not in BODIES:
        raise Fault("ResourceNotFoundException", "This model version has reached the end of its life.")
    try:
        body = json.loads(parsed["body"])
        jsonschema.validate(body, BODIES[model])
        check(model, body)
    except (ValueError, jsonschema.ValidationError) as error:
        raise Fault("ValidationException", f"Malformed input request: {str(error)[:200]}") from error
    return model, dict(body)


def signed(method: str, path: str, headers: dict[str, str], sent: bytes, service: str = "bedrock") -> bool:
    """Whether the signature is the one that the secret key gives for this very request (SigV4)."""
    given = {name.lower(): value for name, value in headers.items()}
    claim = given.get("authorization", "")
    if f"Credential={ACCESS_KEY}/" not in claim:
        return False
    names = claim.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(method, f"https://{given['host']}{path}", {name: given[name] for name in names}, sent)
    request.context["timestamp"] = given["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), service, REGION)
    canonical = auth.canonical_request(request)
    expected = auth.signature(auth.string_to_sign(request, canonical), request)
    return claim.endswith(f"Signature={expected}")


SUBJECTS = (
    Subject(
        family="BedrockInvoke",
        start=bedrock,
        secret={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
        spec={"region": REGION},
        offers=tuple({"model": model} for model in BODIES),
        rows={
            CORE: Row("text-to-image"),
            "stability.stable-image-ultra-v1:1": Row("text-to-image"),
            "stability.sd3-5-large-v1:0": Row("text-to-image"),
            "us.stability.stable-image-inpaint-v1:0": Row("inpaint"),
            "us.stability.stable-image-erase-object-v1:0": Row("erase"),
            "us.stability.stable-image-search-replace-v1:0": Row("search-and-replace"),
            "us.stability.stable-image-search-recolor-v1:0": Row("search-and-recolor"),
            "us.stability.stable-image-remove-background-v1:0": Row("remove-background"),
            "us.stability.stable-image-style-guide-v1:0": Row("style-to-image"),
            "us.stability.stable-style-transfer-v1:0": Row("style-transfer"),
            "us.stability.stable-fast-upscale-v1:0": Row("upscale", {"scale": 4}),
            "us.stability.stable-conservative-upscale-v1:0": Row("upscale"),
            "us.stability.stable-creative-upscale-v1:0": Row("upscale"),
            "us.stability.stable-outpaint-v1:0": Row("outpaint", {"expand": {"left": 64}}),
            "us.stability.stable-image-control-sketch-v1:0": Row("control-to-image"),
            "us.stability.stable-image-control-structure-v1:0": Row("control-to-image"),
        },
        ends={
            **USUAL,
            "no credit": Ends("QuotaExhausted", 0),
            "blocked": Ends("ContentBlocked", 0),
            "blocked as 200": Ends("ContentBlocked", 0),
        },
        never=NO_HANDLE,
    ),
)
