"""Google Vertex AI over TLS, with its tokens checked and its calls counted: pictures, clips, and endpoints of the account's own.

Requests and answers are validated by `vertex_schemas`; the official client, google-genai, drives the emulator in tests. Errors are of
google.rpc.Status' shape, and repeat the prompt where Google's may. Prices are those of the catalogue's sources, by tokens of a picture
(docs.cloud.google.com, model pages) and of a clip (57,920 for 10 s of 720p, by the model's page). Nobody says what an answer costs that a
policy held back: it counts as a picture, which is the most that it can be. An answer of Virtual Try-On that a filter held back counts, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority

from easel_emulators import vertex_clips, vertex_pictures
from easel_emulators.base import Draw, Emulator, drawn
from easel_emulators.google_bucket import API, GoogleBucket, google_bucket
from easel_emulators.google_tokens import PROJECT, Tokens
from easel_emulators.outstanding import Work
from easel_emulators.serving import Handling, served
from easel_emulators.vertex_schemas import TRY_ON, VEO, check, discovered, typed

REGION = "us-central1"
ENDPOINT = "4242424242424242424"
"""Of the account's own."""
WHERE = rf"projects/{PROJECT}/locations/[a-z0-9-]+"
CALL = re.compile(rf"/(v1|v1beta1)/{WHERE}/publishers/google/models/([^/:]+):([A-Za-z]+)")
CUSTOM = re.compile(rf"/v1/{WHERE}/endpoints/([^/:]+):predict")


@dataclass
class Answer:
    """What comes next in place of a result."""

    status: int
    said: str
    message: str = "as a test asked"
    details: list[dict[str, Any]] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """As Google writes it."""
        told = {"code": self.status, "message": self.message, "status": self.said}
        return {"error": told | ({"details": self.details} if self.details else {})}


POLICY = (
    "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI "
    "practices. Support codes: 58061214. Prompt: {prompt}"
)
ANSWERS = {
    "throttled": Answer(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
    "asks to wait": Answer(
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded.",
        [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}],
    ),
    "unavailable": Answer(503, "UNAVAILABLE", "The model is overloaded."),
    "internal": Answer(500, "INTERNAL", "Internal error encountered."),
    "denied": Answer(403, "PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied."),
    "no credit": Answer(
        403,
        "PERMISSION_DENIED",
        "This API method requires billing to be enabled.",
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BILLING_DISABLED", "domain": "googleapis.com"}],
    ),
    "retired": Answer(404, "NOT_FOUND", "Publisher Model was not found or your project has no access to it."),
    "invalid": Answer(400, "INVALID_ARGUMENT", "Request contains an invalid argument: {prompt}"),
    "blocked": Answer(400, "INVALID_ARGUMENT", POLICY),
}  # fmt: skip
STRANGER = Answer(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
GONE = Answer(404, "NOT_FOUND", "The requested entity was not found.")


class Vertex(Emulator):
    """What happens next, and what has happened: of `next` a word, or an `Answer`."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.tokens = Tokens()
        self.works: dict[str, Work] = {}
        self.cancelled: list[str] = []
        """Calls that the client asked to stop."""
        self.bucket: GoogleBucket | None = None
        """Of the account, for clips that are to lie there."""


class Served(Handling):
    """One connection."""

    state: Vertex

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        sent = self.sent()
        if self.path == "/token":
            self.send_json(*self.state.tokens.grant(sent))
        elif not self.state.tokens.knows(self.headers):
            self._refuse(STRANGER)
        elif (known := CALL.fullmatch(self.path)) and known[3] == "fetchPredictOperation":
            self._look(vertex_clips.operation(self.state, json.loads(sent)))
        elif cancelled := vertex_clips.CANCEL.fullmatch(self.path):
            self._look(vertex_clips.cancel(self.state, cancelled[1]))
        else:
            self._buy(sent)

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.path.startswith(API) and self.state.bucket:
            # fake-gcs-server takes whatever token it is shown, and Google its own alone.
            if self.state.tokens.knows(self.headers):
                self.state.bucket.passed_on(self)
            else:
                self._refuse(STRANGER)
            return
        asked = vertex_clips.INTERACTION.fullmatch(self.path)
        if not self.state.tokens.knows(self.headers) or asked is None:
            self._refuse(GONE if asked is None else STRANGER)
            return
        self._look(vertex_clips.interaction(self.state, asked[1]))

    def _buy(self, sent: bytes) -> None:
        call = read(self.state, self.path, sent)
        if isinstance(call, Answer):
            self._refuse(call)
            return
        then = self.state.next.popleft() if self.state.next else "done"
        answer = ANSWERS.get(then) if isinstance(then, str) else then
        if answer is not None and (call.kind, then) == ("custom", "blocked"):
            self.send_json(400, {"blocked": True, "reason": call.prompt})
            return
        if answer is not None:
            self._fail(answer, call.prompt)
            return
        body = call.made(self.state, then)
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        self.send_json(200, body)

    def _look(self, found: vertex_clips.Seen) -> None:
        match found:
            case "lost":
                self.reset()
            case "throttled" | "denied":
                self._fail(ANSWERS[found])
            case "gone":
                self._fail(GONE)
            case dict():
                self.send_json(200, found)

    def _refuse(self, answer: Answer) -> None:
        self.state.refused.append(f"{answer.status} {answer.message}"[:300])
        self._fail(answer)

    def _fail(self, answer: Answer, prompt: str = "") -> None:
        # What google-genai reads of an interaction that is refused as such.
        short = answer.status in (400, 404) and vertex_clips.INTERACTIONS in self.path
        told = {"error": {"code": answer.said.lower()}} if short else answer.body()
        told["error"]["message"] = answer.message.replace("{prompt}", prompt)
        self.send_json(answer.status, told)


@contextmanager
def vertex(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Vertex]:
    """The service at an address of this machine, until the block ends. Its URL is the token endpoint's too, at /token."""
    state = Vertex(draw=draw or drawn)
    authority = Authority(folder, "vertex-ca")
    state.authority = authority.certificate

    handler = type("Handler", (Served,), {"state": state})
    with served(handler, authority.server("vertex", "vertex", [address]), address) as state.url:
        yield state


@contextmanager
def vertex_with_bucket(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[Vertex]:
    """The same with a bucket of the account, whose API is at the same URL."""
    with google_bucket() as bucket, vertex(folder, address, draw) as state:
        state.bucket = bucket
        yield state


@dataclass
class Call:
    """A paid call that is well formed."""

    kind: str
    model: str
    body: dict[str, Any]
    prompt: str

    def made(self, state: Vertex, word: str) -> dict[str, Any]:
        """What it is answered, once it is counted."""
        match self.kind:
            case "generateContent":
                return vertex_pictures.picture(state, self, word)
            case "predictLongRunning":
                return vertex_clips.begun(state, self.model, self.body, word)
            case "interactions":
                return vertex_clips.created(state, self.model, self.body, word)
            case "predict":
                return vertex_pictures.tried_on(state, self, word)
            case _:
                return vertex_pictures.prediction(state, self, word)


def read(state: Vertex, path: str, sent: bytes) -> Call | Answer:
    """A paid call, or what is wrong with it."""
    try:
        call = _call(path, json.loads(sent))
        if isinstance(call, Call):
            vertex_clips.reachable(state, call.body)
    except (ValueError, KeyError, jsonschema.ValidationError) as error:
        return Answer(400, "INVALID_ARGUMENT", f"Invalid JSON payload received: {str(error)[:250]}")
    if isinstance(call, Call):
        state.calls.append(call.body)
    return call


def _call(path: str, body: dict[str, Any]) -> Call | Answer:
    if vertex_clips.CREATE.fullmatch(path):
        check(body, typed("CreateModelInteractionParam"))
        vertex_clips.bounded(body)
        return Call("interactions", body["model"], body, str(body["input"]))
    if own := CUSTOM.fullmatch(path):
        check(body, discovered(f"{vertex_pictures.V1}PredictRequest"))
        if len(json.dumps(body)) > 1_500_000:
            raise ValueError("request size exceeds 1.5 MB")
        if own[1] != ENDPOINT:
            return GONE
        return Call("custom", own[1], body, str(body["instances"]))
    known = CALL.fullmatch(path)
    kind, model = (known[3], known[2]) if known else ("", "")
    if kind == "generateContent" and model in vertex_pictures.TOKENS:
        check(body, discovered(f"{vertex_pictures.V1}GenerateContentRequest"))
        vertex_pictures.bounded(model, body)
        return Call(kind, model, body, str(body["contents"]))
    if kind == "predictLongRunning" and model in vertex_clips.SECOND:
        check(body, discovered(f"{vertex_pictures.V1}PredictLongRunningRequest"))
        check(body, VEO)
        return Call(kind, model, body, str(body["instances"]))
    if kind == "predict" and model == vertex_pictures.TRY_ON:
        check(body, discovered(f"{vertex_pictures.V1}PredictRequest"))
        check(body, TRY_ON)
        vertex_pictures.wearable(body)
        return Call(kind, model, body, str(body["instances"]))
    return ANSWERS["retired"] if known else GONE
