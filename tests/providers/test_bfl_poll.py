"""Black Forest Labs' own API over TLS, against an emulator that checks every request."""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.base import WORDS
from easel_emulators.bfl import BFL, FIELDS, KEY, SUBJECTS, Answer, PollingUrl, bfl
from PIL import Image

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    BilledBadOutput,
    Cancelled,
    EaselError,
    InvalidInput,
    Throttled,
    Unsupported,
)
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.backends.base import Expired, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.bfl_poll import HOST, SHAPES, client, trusted
from easel_inference.backends.polled import Pace, Polled
from easel_inference.backends.rest import Rest
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import Expand, GenerationRequest, Handed, Inputs, Message, StepDone
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
(SUBJECT,) = SUBJECTS
FAST = Pace(first=0.02, longest=0.05)
SIZED = Resolved(size=(512, 256))
WIDE = Resolved(aspect_ratio="16:9")


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png("black"))
CASES: dict[str, tuple[Task, Resolved, dict[str, Any], set[str]]] = {
    "flux-2-max": (Task.TEXT_TO_IMAGE, SIZED, {}, {"width", "height"}),
    "flux-2-pro": (Task.IMAGE_TO_IMAGE, SIZED, {}, {"width", "height", "input_image"}),
    "flux-2-flex": (Task.TEXT_TO_IMAGE, SIZED, {"steps": 30}, {"width", "height", "steps", "guidance"}),
    "flux-2-klein-9b": (Task.TEXT_TO_IMAGE, Resolved(), {}, set()),
    "flux-2-klein-4b": (Task.IMAGE_TO_IMAGE, Resolved(), {}, {"input_image"}),
    "flux-pro-1.1": (Task.TEXT_TO_IMAGE, SIZED, {}, {"width", "height"}),
    "flux-pro-1.1-ultra": (Task.TEXT_TO_IMAGE, WIDE, {}, {"aspect_ratio"}),
    "flux-kontext-pro": (Task.IMAGE_TO_IMAGE, WIDE, {}, {"aspect_ratio", "input_image"}),
    "flux-kontext-max": (Task.TEXT_TO_IMAGE, WIDE, {}, {"aspect_ratio"}),
    "flux-pro-1.0-fill": (Task.INPAINT, Resolved(), {}, {"image", "mask"}),
    "flux-pro-1.0-expand": (
        Task.OUTPAINT,
        Resolved(),
        {"expand": Expand(left=64, bottom=32)},
        {"image", "left", "right", "top", "bottom"},
    ),
}
"""For each model a task, what the plan made of it, and the fields that it has beside those of all."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[BFL]:
    with bfl(tmp_path) as made:
        yield made


def setup(service: BFL, model: str = "flux-pro-1.1", resolved: Resolved | None = None, key: str = KEY) -> Setup:
    secret = service.authority.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "API_KEY").write_text(key)
    spec = {"family": "BFLPoll", "endpoint": service.url, "credentials": {"secretRef": {"name": "bfl"}}}
    offered = ProviderSpec.model_validate(spec | {"offers": [{"model": model, "tasks": ["text-to-image"]}]})
    return Setup(f"bfl/{model}", offered, model, resolved or Resolved(), secret, str(service.authority))


def wanted(**asks: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))


def make(service: BFL, model: str = "flux-pro-1.1", resolved: Resolved | None = None, **asks: Any) -> Result:
    made = client(setup(service, model, resolved), FAST)
    return made.generate(wanted(**asks), INPUTS, lambda _: None, threading.Event())


@pytest.mark.parametrize("model", CASES)
def test_every_model_is_asked_in_its_own_words(service: BFL, model: str) -> None:
    task, resolved, asks, fields = CASES[model]
    result = make(service, model, resolved, task=task, **asks)
    assert service.refused == []
    assert service.paid == [model]
    (sent,) = service.calls
    assert set(sent) == {"prompt", "seed", "output_format"} | fields
    assert (sent["prompt"], sent["seed"], result.finished.seed) == (PROMPT, 9, 9)
    assert result.billed == service.billed, "the call says what it costs"
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (result.finished.width, result.finished.height)
    if resolved.size:
        assert (result.finished.width, result.finished.height) == resolved.size
    if "expand" in asks:
        assert (result.finished.width, result.finished.height) == (128, 96)


def test_every_row_has_a_client_and_an_emulator() -> None:
    rows = {row.model: row for row in surfaces()["bfl"].offers}
    assert set(rows) == set(SHAPES) == set(FIELDS) == set(CASES) == set(SUBJECT.rows)
    assert all(CASES[model][0] in row.tasks for model, row in rows.items())
    assert set(SUBJECT.ends) | set(SUBJECT.never) == set(WORDS)


def test_the_format_is_asked_for_where_there_is_one(service: BFL) -> None:
    assert make(service, encoding="jpeg").finished.media_type == "image/jpeg"
    assert make(service, encoding="webp").finished.media_type == "image/webp"
    assert [call["output_format"] for call in service.calls] == ["jpeg", "png"]


@pytest.mark.parametrize("word", [word for word in SUBJECT.ends if word not in ("throttled", "asks to wait")])
def test_each_word_ends_as_it_is_said_and_is_asked_for_once(service: BFL, word: str) -> None:
    ends = SUBJECT.ends[word]
    service.next.append(word)
    if not ends.reason:
        assert make(service).billed == service.billed == Decimal("0.04")
    else:
        with pytest.raises(EaselError) as caught:
            make(service)
        assert caught.value.reason == ends.reason, str(caught.value)
        counts = isinstance(caught.value, AmbiguousSubmit | BilledBadOutput | PaidBlock)
        assert counts == bool(ends.paid), "the ledger counts what the provider bills"
        assert not isinstance(caught.value, Expired)
        assert not (ends.paid and caught.value.retryable)
        shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
        assert "zebra" not in shown
        assert KEY not in shown
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert service.paid == ["flux-pro-1.1"] * ends.paid
    assert service.polls >= {"slow poll": 4, "lost poll": 2, "throttled poll": 2, "expired": 2}.get(word, 0)


def test_how_long_to_wait_is_told(service: BFL) -> None:
    for headers, expected in (({"Retry-After": "17"}, 17.0), (None, None)):
        service.next.append(Answer(429, headers=headers))
        with pytest.raises(Throttled) as caught:
            make(service)
        assert caught.value.retry_after == expected
    assert service.paid == []


def test_a_gateway_that_gave_up_may_have_passed_the_call_on(service: BFL) -> None:
    service.next.append(Answer(504))
    with pytest.raises(AmbiguousSubmit):
        make(service)


URLS = {
    "https://api.bfl.ai/v1/get_result?id=1": True,
    "https://api.eu4.bfl.ai:443/v1/get_result?id=1": True,
    "http://api.eu.bfl.ai/v1/get_result?id=1": False,
    "https://api.eu.bfl.ai:8443/v1/get_result?id=1": False,
    "https://bfl.ai.example.org/v1/get_result?id=1": False,
    "https://evilbfl.ai/v1/get_result?id=1": False,
    "https://api.bfl.ai@example.org/": False,
    "https://example.org\\.bfl.ai/": False,
    "https://example.org#.bfl.ai/": False,
    "https://example.org/.bfl.ai/": False,
    "https://example.org:x.bfl.ai/": False,
    "https://[.bfl.ai/": False,
    "https://api.bfl.ai/" + "x" * 2000: False,
    "/v1/get_result?id=1": False,
    "": False,
}


def test_the_key_goes_to_the_companys_hosts_alone() -> None:
    api = Rest("it", HOST, {})
    assert {url: trusted(url, api) for url in URLS} == URLS
    own = Rest("it", "https://127.0.0.1:8443", {})
    assert trusted("https://127.0.0.1:8443/v1/get_result?id=1", own)
    assert not trusted("https://127.0.0.1:8444/v1/get_result?id=1", own)


@pytest.mark.parametrize("url", [url for url, good in URLS.items() if not good])
def test_an_address_where_the_key_must_not_go_is_never_asked(service: BFL, url: str) -> None:
    service.next.append(PollingUrl(url))
    heard: list[Message] = []
    with pytest.raises(AmbiguousSubmit, match="key must not go"):
        client(setup(service), FAST).generate(wanted(), INPUTS, heard.append, threading.Event())
    assert not any(isinstance(message.event, Handed) for message in heard)
    assert service.polls == 0
    with pytest.raises(AmbiguousSubmit):
        client(setup(service), FAST).resume(url, wanted(), heard.append, threading.Event())


def stopped(service: BFL) -> str:
    """The handle of a call that is left while it is under way."""
    service.gate.clear()
    stop = threading.Event()
    handles: list[str] = []

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
        if isinstance(message.event, StepDone):
            assert (message.event.step, message.event.steps) == (40, 100)
            stop.set()

    with pytest.raises(StillOut):
        client(setup(service), FAST).generate(wanted(), INPUTS, hear, stop)
    service.gate.set()
    return handles[-1]


def test_a_call_that_was_left_is_gone_on_with_and_never_made_again(service: BFL) -> None:
    handle = stopped(service)
    assert KEY not in handle
    assert len(handle) < 2000
    later = client(setup(service), FAST)
    assert isinstance(later, Resumable)
    result = later.resume(handle, wanted(), lambda _: None, threading.Event())
    assert len(service.calls) == 1
    assert result.billed == service.billed == Decimal("0.04")


def test_a_cost_that_no_answer_said_is_unknown(service: BFL) -> None:
    handle = stopped(service).partition("#")[0]
    for said in ("", "#", "#NaN", "#-1", "#1e99", "#None"):
        result = client(setup(service), FAST).resume(handle + said, wanted(), lambda _: None, threading.Event())
        assert result.billed is None, said


def test_a_call_that_the_provider_has_forgotten_may_be_billed(service: BFL) -> None:
    handle = stopped(service)
    service.tasks.clear()
    with pytest.raises(AmbiguousSubmit, match="knows the call no more"):
        client(setup(service), FAST).resume(handle, wanted(), lambda _: None, threading.Event())


def test_nothing_was_sent_where_nobody_listens(service: BFL) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(EaselError) as caught:
        make(service)
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_a_wrong_key_and_a_stranger_are_told_apart(service: BFL) -> None:
    with pytest.raises(AuthConfig) as refused:
        client(setup(service, key="another"), FAST).generate(wanted(), INPUTS, lambda _: None, threading.Event())
    assert "another" not in str(refused.value)
    keyless = setup(service, key="")
    with pytest.raises(AuthConfig, match="API_KEY is missing"):
        client(keyless)
    known = setup(service)
    stranger = Setup(known.name, known.spec, known.model, known.resolved, known.secret)
    with pytest.raises(EaselError) as caught:
        client(stranger, FAST).generate(wanted(), INPUTS, lambda _: None, threading.Event())
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: BFL) -> None:
    for model, resolved, asks in (
        ("flux-dev", Resolved(), {}),
        ("flux-pro-1.1", Resolved(size=(1024, 128)), {}),
        ("flux-2-flex", Resolved(), {"steps": 51}),
        ("flux-2-flex", Resolved(), {"guidance_scale": 1.0}),
        ("flux-2-flex", Resolved(), {"guidance_scale": 11.0}),
    ):
        with pytest.raises(Unsupported):
            make(service, model, resolved, **asks)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.mask"):
        client(setup(service, "flux-pro-1.0-fill"), FAST).generate(
            wanted(task=Task.INPAINT), Inputs(image=png()), lambda _: None, threading.Event()
        )
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(setup(service), FAST).generate(wanted(), INPUTS, lambda _: None, stop)
    assert (service.calls, service.refused) == ([], [])


def test_the_emulator_refuses_what_the_service_would(service: BFL) -> None:
    api = Rest("it", service.url, {"x-key": KEY}, str(service.authority))
    for model, body in (
        ("flux-pro-1.1", {"prompt": PROMPT, "width": 1000, "height": 1000}),
        ("flux-2-pro", {"prompt": PROMPT, "width": 2048, "height": 4096}),
        ("flux-2-pro", {"prompt": PROMPT, "aspect_ratio": "16:9"}),
        ("flux-2-pro", {"seed": 1}),
        ("flux-2-pro", {"prompt": PROMPT, "output_format": "gif"}),
        ("flux-kontext-pro", {"prompt": PROMPT, "input_image": "no base64"}),
        ("flux-pro-1.0-fill", {"prompt": PROMPT}),
    ):
        assert api.post(f"/v1/{model}", body, model).status == 422
    assert api.post("/v1/flux-9", {"prompt": PROMPT}, "flux-9").status == 404
    assert service.paid == []
    assert isinstance(client(setup(service)), Polled)
