"""Amazon Bedrock's InvokeModel over TLS, with its signatures checked and its calls counted."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from PIL import Image

from easel_emulators.bedrock_bodies import BODIES
from easel_emulators.serving import Handling, served

ACCESS_KEY, SECRET_KEY = "AKIDEASELTEST", "a-secret-of-tests"
REGION = "us-west-2"
SERVICE = ServiceModel(get_session().get_service_data("bedrock-runtime"), "bedrock-runtime")
"""botocore's description in moto's classes."""
INVOKE = SERVICE.operation_model("InvokeModel")
RETIRED = {"amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"}


class Fault(Exception):
    """An error of the service; moto writes it as AWS does."""

    def __init__(self, code: str, message: str = "as a test asked", **headers: str) -> None:
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers


@dataclass
class Bedrock:
    """What happens next, and what has happened. `paid` counts pictures that an account would be billed for, by model."""

    next: deque[Any] = field(default_factory=deque)
    """For each call a `Fault`, or one of `close` (behind the whole request), `block`, `empty`, `error`, `cut`, `text`, `seedless`, `huge`; then pictures."""
    paid: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Bodies that were accepted."""
    refused: list[str] = field(default_factory=list)
    """Why requests were not even looked at."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Pictures are handed out while it is set, as it is at first."""
    draw: Draw = field(default=lambda body: drawn(body))
    url: str = ""
    authority: Path = Path()

    def answer(self, model: str, body: dict[str, Any]) -> Any:
        """What InvokeModel gives for a body that is valid."""
        then = self.next.popleft() if self.next else "picture"
        if isinstance(then, Fault):
            raise then
        # What comes without a picture and without a reason may be billed; nobody says that it is not.
        if then in ("picture", "cut", "close", "huge", "empty", "text", "seedless"):
            self.paid.append(model)
        match then:
            case "block":
                return {"finish_reasons": ["Filter reason: prompt"]}
            case "error":
                return {"finish_reasons": ["Inference error"]}
            case "empty":
                return {"seeds": [1], "finish_reasons": [None], "images": []}
            case "text":
                return "I'm sorry"
            case "seedless":
                return {
                    "seeds": ["none"],
                    "finish_reasons": [None],
                    "images": [base64.b64encode(self.draw(body)).decode()],
                }
            case _:
                self.gate.wait(60)
                data = self.draw(body)
                data = data[: len(data) // 2] if then == "cut" else data
                data = data + b"\0" * (101 * 2**20) if then == "huge" else data
                return {
                    "seeds": [body.get("seed", 7)],
                    "finish_reasons": [None],
                    "images": [base64.b64encode(data).decode()],
                }


Draw = Callable[[dict[str, Any]], bytes]


def drawn(body: dict[str, Any]) -> bytes:
    """A picture of the shape that was asked for, in the format that was asked for."""
    wide, high = (int(side) for side in body.get("aspect_ratio", "1:1").split(":"))
    picture = Image.new("RGB", (wide * 16, high * 16), (200, 30, 30))
    target = io.BytesIO()
    picture.save(target, "JPEG" if body.get("output_format") == "jpeg" else "PNG")
    return target.getvalue()


@contextmanager
def bedrock(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Bedrock]:
    """The service at an address of this machine, until the block ends; `draw` makes its pictures."""
    state = Bedrock(draw=draw or drawn)
    state.gate.set()
    authority = Authority(folder, "provider-ca")
    state.authority = authority.certificate
    pair = authority.server("bedrock", "bedrock", [address])

    class Handler(Handling):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            try:
                model, body = checked(self.command, self.path, dict(self.headers.items()), sent)
                state.calls.append(body)
                closes = bool(state.next) and state.next[0] == "close"
                answer = state.answer(model, body)
                if closes:
                    self.reset()
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
    except (ValueError, jsonschema.ValidationError) as error:
        raise Fault("ValidationException", f"Malformed input request: {str(error)[:200]}") from error
    return model, dict(body)


def signed(method: str, path: str, headers: dict[str, str], sent: bytes) -> bool:
    """Whether the signature is the one that the secret key gives for this very request (SigV4)."""
    given = {name.lower(): value for name, value in headers.items()}
    claim = given.get("authorization", "")
    if f"Credential={ACCESS_KEY}/" not in claim:
        return False
    names = claim.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(method, f"https://{given['host']}{path}", {name: given[name] for name in names}, sent)
    request.context["timestamp"] = given["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "bedrock", REGION)
    canonical = auth.canonical_request(request)
    expected = auth.signature(auth.string_to_sign(request, canonical), request)
    return claim.endswith(f"Signature={expected}")
