"""Azure Machine Learning's online endpoints over TLS, with three deployments: one answers at once, one says where to ask, and one says there where
in Azure Blob Storage the result lies.

An endpoint has no schema but its owner's: bodies are checked against docs/custom-models.md, statuses and headers are those of
learn.microsoft.com (how-to-troubleshoot-online-endpoints, concept-endpoints-online-auth, read on 2026-11-29). Whatever the container answers
but 200 and 202 comes as 424. It takes its own key, or a token that an emulator of Entra gave for Azure ML.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
from easel_cluster.pki import Authority

from easel_emulators.azure_container import AzureContainer, azure_container
from easel_emulators.base import ASKED_ON, USUAL, Draw, Emulator, Ends, Row, Start, Subject, drawn, spoiled
from easel_emulators.entra import Entra
from easel_emulators.outstanding import ELSEWHERE, Work
from easel_emulators.serving import Handling, served

KEY = "an+endpoint/key=of.tests"
SCOPE = "https://ml.azure.com/.default"
PICTURES, CLIPS, STORED = "pictures-blue", "clips-blue", "clips-green"
"""Deployments. Traffic without a name goes to the first; the last one leaves its clips in a container."""
PRICES = {PICTURES: Decimal("0.004"), CLIPS: Decimal("0.02"), STORED: Decimal("0.02")}
"""In US dollars for a result: what the account's owner says that it costs."""
FILE = {"type": "string", "contentEncoding": "base64", "minLength": 1}
COMMON: dict[str, Any] = {
    "seed": {"type": "integer", "minimum": 0},
    "negative_prompt": {"type": "string"},
    "num_inference_steps": {"type": "integer", "minimum": 1},
    "width": {"type": "integer", "multipleOf": 8},
    "height": {"type": "integer", "multipleOf": 8},
    "image": FILE,
}
LENGTH = {"num_frames": {"type": "integer", "minimum": 2}, "fps": {"type": "integer", "minimum": 1}}
PARAMETERS = {
    PICTURES: COMMON | {"guidance_scale": {"type": "number"}, "strength": {"type": "number"}, "mask_image": FILE},
    CLIPS: COMMON | LENGTH,
    STORED: COMMON | LENGTH,
}


@dataclass
class Answer:
    """What comes next in place of a result: by Azure, or by the container where `model` is a status of its own."""

    status: int
    body: Any = field(default_factory=lambda: {"error": {"code": "as a test asked"}})
    headers: dict[str, str] = field(default_factory=dict)
    model: int = 0


BLOCKED = {"error": "not that", "blocked": True}
ANSWERS = {
    "throttled": Answer(429, "Too many pending requests"),
    "asks to wait": Answer(429, "Too many pending requests", {"Retry-After": "1"}),
    "unavailable": Answer(503),
    "internal": Answer(500),
    "denied": Answer(401, {"error": {"code": "key_auth_access_denied"}}),
    "retired": Answer(404),
    "invalid": Answer(424, {"error": "a number too large"}, model=422),
    "blocked": Answer(424, BLOCKED, model=400),
}


class AzureML(Emulator):
    """What happens next, and what has happened: of `next` a word, or an `Answer`. `paid` is by deployment."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.work: dict[str, Work] = {}
        self.entra: Entra | None = None
        """Whose tokens are taken."""
        self.container: AzureContainer | None = None
        """Where the last deployment leaves its clips."""


class Scoring(Handling):
    """One connection."""

    state: AzureML

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        state, deployment, sent = self.state, self.headers.get("azureml-model-deployment", PICTURES), self.sent()
        problem = self._stranger() or checked(state, self.path, deployment, sent)
        if problem is not None:
            state.refused.append(f"{problem.status} {problem.body}")
            self._fail(problem)
            return
        then = state.next.popleft() if state.next else "done"
        answer = ANSWERS.get(then) if isinstance(then, str) else then
        if answer is not None:
            self._fail(answer)
            return
        work = begun(state, deployment, state.calls[-1], then)
        if self.lost(then):
            return
        if then == "slow":
            time.sleep(2)
        if deployment != PICTURES:
            place = ELSEWHERE if (deployment, then) == (CLIPS, "elsewhere") else f"/jobs/{work.name}"
            self.send(202, b"", {"Location": place})
        else:
            state.gate.wait(60)
            self._result(work)

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.state.container and self.state.container.has(self.path):
            # Behind this very URL: a client fetches from the API's own host and from public ones, and Azurite is neither.
            if "Authorization" in self.headers:  # Azure looks at a key first, and knows none of an endpoint
                self._fail(ANSWERS["denied"])
            else:
                self.state.container.passed_on(self)
            return
        deployment = self.headers.get("azureml-model-deployment", PICTURES)
        work = self.state.work.get(self.path.removeprefix("/jobs/"))
        if problem := self._stranger():
            self._fail(problem)
        elif work is None or deployment != work.model:
            self._fail(ANSWERS["retired"])
        else:
            self._tell(work)

    def _tell(self, work: Work) -> None:
        match found := work.found(self.state):
            case "lost":
                self.reset()
            case "throttled" | "denied":
                self._fail(ANSWERS[found])
            case "unfinished":
                self.send(202, b"", {"Location": self.path})
            case "failed":
                self._fail(Answer(424, {"error": "out of memory"}, model=500))
            case "blocked late":
                self.send_json(200, BLOCKED)
            case _ if self.state.container and work.model == STORED and work.word != "blocked as 200":
                work.named += 1
                self.send_json(200, {"url": self.state.container.told(self.state.url, work)})
            case _ if work.word == "expired for good":
                self._fail(ANSWERS["retired"])
            case _:
                self._result(work)

    def _result(self, work: Work) -> None:
        """A picture as JSON, a clip as it is."""
        data = spoiled(work.word, work.data)
        if work.word == "blocked as 200":
            self.send_json(200, BLOCKED)
        elif work.word == "words":
            self.send(200, data, {"Content-Type": "text/plain"})
        elif work.model == PICTURES and work.word != "huge":
            self.send_json(200, {"image": base64.b64encode(data).decode()})
        else:
            self.send(200, data, {"Content-Type": "image/png" if work.model == PICTURES else "video/mp4"})

    def _stranger(self) -> Answer | None:
        header, entra = self.headers.get("Authorization", ""), self.state.entra
        good = entra.accepts(header, SCOPE) if entra else header == f"Bearer {KEY}"
        return None if good else ANSWERS["denied"]

    def _fail(self, answer: Answer) -> None:
        model = {"ms-azureml-model-error-statuscode": str(answer.model)} if answer.model else {}
        self.send_json(answer.status, answer.body, model | answer.headers)


@contextmanager
def azureml(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[AzureML]:
    """The endpoint at an address of this machine, until the block ends."""
    authority = Authority(folder, "azureml-ca")

    class Handler(Scoring):
        state = AzureML(draw=draw or drawn, authority=authority.certificate)

    with served(Handler, authority.server("azureml", "azureml", [address]), address) as Handler.state.url:
        yield Handler.state


@contextmanager
def azureml_with_container(folder: Path, address: str = "127.0.0.1", draw: Draw | None = None) -> Iterator[AzureML]:
    """The same with a container of Azure Blob Storage, whose API is at the same URL."""
    with azure_container() as container, azureml(folder, address, draw) as state:
        state.container = container
        yield state


def checked(state: AzureML, path: str, deployment: str, sent: bytes) -> Answer | None:
    """What is wrong with a request; None when it is taken."""
    if path != "/score" or deployment not in PARAMETERS:
        return ANSWERS["retired"]
    schema = {
        "type": "object",
        "required": ["inputs", "parameters"],
        "additionalProperties": False,
        "properties": {
            "inputs": {"type": "string"},
            "parameters": {
                "type": "object",
                "properties": PARAMETERS[deployment],
                "additionalProperties": False,
            },
        },
    }
    try:
        body = json.loads(sent)
        jsonschema.validate(body, schema)
        for name in {"image", "mask_image"} & set(body["parameters"]):
            base64.b64decode(body["parameters"][name], validate=True)
    except (ValueError, jsonschema.ValidationError) as error:
        return Answer(424, {"error": str(error)[:200]}, model=422)
    state.calls.append(body)
    return None


def begun(state: AzureML, deployment: str, body: Mapping[str, Any], word: str) -> Work:
    """A call that the model works at; it is paid for unless the model fails."""
    told = body["parameters"]
    clip = {"output_format": "mp4", "seconds": round(told.get("num_frames", 16) / told.get("fps", 8))}
    size = {} if deployment == PICTURES else {"width": 64, "height": 64}
    asked = size | told | {"prompt": body["inputs"]} | ({} if deployment == PICTURES else clip)
    work = Work(secrets.token_hex(8), deployment, word, state.draw(asked), dict(body))
    state.work[work.name] = work
    if word != "failed":
        state.bill(deployment, PRICES[deployment])
        if state.container and deployment == STORED:
            state.container.put(work.name, spoiled(word, work.data))
    return work


AT_ONCE = {
    **USUAL,
    "blocked": Ends("ContentBlocked", 0),
    "blocked as 200": Ends("ContentBlocked"),
}
HANDLES = ("failed", "blocked late", "expired for good", "elsewhere", "slow poll", "lost poll", "throttled poll")
NEVER = {
    "no credit": "an endpoint of one's own has none to use up",
    "expired": "the address that is asked is that of the call, and there is no other",
}


LATER = {
    "failed": Ends("BackendFault", 0),
    "blocked late": Ends("ContentBlocked"),
    **ASKED_ON,
}


def _subject(
    offer: Mapping[str, Any],
    row: Row,
    ends: Mapping[str, Ends],
    never: Mapping[str, str],
    start: Start = azureml,
    left: str = "",
) -> Subject:
    return Subject(
        family="AzureMLScore",
        start=start,
        secret={"API_KEY": KEY},
        spec={"endpoint": "{url}"},
        offers=(offer,),
        rows={str(offer["model"]): row},
        ends=ends,
        never=never,
        left=left,
    )


def _clips(name: str, deployment: str) -> dict[str, Any]:
    return {
        "model": name,
        "deployment": deployment,
        "tasks": ["text-to-video", "image-to-video"],
        "honours": ["seed", "frames", "fps"],
        "sizes": {"free": {"multipleOf": 8, "minPixels": 4096, "maxPixels": 1048576}},
        "seconds": [1, 2],
        "prices": [{"amount": str(PRICES[deployment]), "per": "Image"}],
    }


SUBJECTS = (
    _subject(
        {
            "model": "mugs",
            "deployment": PICTURES,
            "tasks": ["text-to-image", "image-to-image", "inpaint"],
            "honours": ["seed", "negative", "steps", "guidanceScale", "strength"],
            "sizes": {"free": {"multipleOf": 8, "minPixels": 4096, "maxPixels": 1048576}},
            "prices": [{"amount": str(PRICES[PICTURES]), "per": "Image"}],
        },
        Row("text-to-image"),
        AT_ONCE,
        NEVER | dict.fromkeys((*HANDLES, "denied poll"), "the answer comes at once"),
    ),
    _subject(
        _clips("mugs-turning", CLIPS),
        Row("text-to-video", {"frames": 8, "fps": 8}),
        AT_ONCE | LATER | dict.fromkeys(("expired for good", "elsewhere"), Ends("AmbiguousSubmit")),
        NEVER,
    ),
    _subject(
        _clips("mugs-turning-stored", STORED),
        Row("text-to-video", {"frames": 8, "fps": 8}),
        AT_ONCE
        | LATER
        | {"expired": Ends(), "expired for good": Ends("BilledBadOutput"), "elsewhere": Ends("BilledBadOutput")},
        {"no credit": NEVER["no credit"]},
        azureml_with_container,
        "container",
    ),
)
