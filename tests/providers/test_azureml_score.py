"""Azure Machine Learning's endpoints over TLS, with keys and with tokens of Entra ID, against emulators of both."""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.azureml import CLIPS, KEY, PICTURES, PRICES, SUBJECTS, Answer, AzureML, azureml
from easel_emulators.base import WORDS, Subject
from easel_emulators.entra import CLIENT, SECRET, TENANT, entra
from easel_emulators.outstanding import ELSEWHERE
from PIL import Image

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    Cancelled,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    Throttled,
    Transient,
    Unsupported,
)
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.backends.azureml_score import polled
from easel_inference.backends.base import PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.polled import Pace, Polled
from easel_inference.backends.rest import Rest
from easel_inference.generation import Accepted, GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
PACE = Pace(first=0.02, longest=0.05)
SYNC, LATER, _ = SUBJECTS
OFFERS = {str(offer["model"]): dict(offer) for subject in SUBJECTS for offer in subject.offers}
MUGS, TURNING, _ = OFFERS
CLIP: dict[str, Any] = {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4", "frames": 8, "fps": 8}


def png() -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[AzureML]:
    (tmp_path / "API_KEY").write_text(KEY)
    with azureml(tmp_path) as made:
        yield made


def client(
    service: AzureML,
    model: str = MUGS,
    resolved: Resolved | None = None,
    trusted: bool = True,
    pace: Pace = PACE,
    path: str = "",
    **offer: Any,
) -> Polled:
    spec = ProviderSpec.model_validate(
        {
            "family": "AzureMLScore",
            "endpoint": service.url + path,
            "credentials": {"secretRef": {"name": "azure"}},
            "offers": [OFFERS[model] | offer],
        }
    )
    authority = str(service.authority) if trusted else None
    folder = service.authority.parent
    return polled(Setup(f"azureml/{model}", spec, model, resolved or Resolved(), folder, authority), pace)


def asked(**told: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | told))


def make(service: AzureML, model: str = MUGS, resolved: Resolved | None = None, **told: Any) -> Result:
    made = client(service, model, resolved)
    return made.generate(asked(**told), INPUTS, lambda _: None, threading.Event())


def test_a_picture_comes_at_once(service: AzureML) -> None:
    events: list[Message] = []
    made = client(service, resolved=Resolved(size=(128, 64)), path="/score")
    result = made.generate(asked(task=Task.INPAINT, steps=30, strength=0.5), INPUTS, events.append, threading.Event())
    (sent,) = service.calls
    assert sent["inputs"] == PROMPT
    assert set(sent["parameters"]) == {
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "strength",
        "width",
        "height",
        "image",
        "mask_image",
    }
    assert (result.finished.width, result.finished.height) == (128, 64)
    assert (result.finished.model_digest, result.finished.device) == (f"azureml/{MUGS}", "Azure Machine Learning")
    assert [type(each.event) for each in events] == [Accepted], "there is nothing to ask for later"
    assert (service.paid, service.billed) == ([PICTURES], PRICES[PICTURES])


def test_a_clip_is_asked_for_where_the_model_says(service: AzureML) -> None:
    service.next.append("slow poll")
    events: list[Message] = []
    made = client(service, TURNING, Resolved(size=(64, 64), seconds=1))
    result = made.generate(asked(**CLIP), INPUTS, events.append, threading.Event())
    assert service.calls[0]["parameters"] == {"seed": 9, "num_frames": 8, "fps": 8, "width": 64, "height": 64}
    assert read_header(result.payload).seconds == 1
    (work,) = service.work.values()
    assert [each.event.handle for each in events if isinstance(each.event, Handed)] == [
        f"{service.url}/jobs/{work.name}"
    ]
    assert (service.paid, work.asked) == ([CLIPS], 4)


@pytest.mark.parametrize(
    ("subject", "word"),
    [pytest.param(each, word, id=f"{each.offers[0]['model']} {word}") for each in (SYNC, LATER) for word in each.ends],
)
def test_each_word_ends_as_it_says_and_is_asked_for_once(service: AzureML, subject: Subject, word: str) -> None:
    ends, caught = subject.ends[word], None
    service.next.append(word)
    try:
        make(service, str(subject.offers[0]["model"]), **(CLIP if subject is LATER else {}))
    except EaselError as error:
        caught = error
    if isinstance(caught, Throttled):
        assert (word, caught.retry_after) in (("throttled", None), ("asks to wait", 1.0))
        assert service.paid == []
        return
    assert (caught.reason if caught else "") == ends.reason, caught
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == ends.paid
    assert service.refused == []
    assert isinstance(caught, PaidBlock) == (word in ("blocked as 200", "blocked late"))
    if caught is not None:
        assert not (ends.paid and caught.retryable), "what was paid for is not asked for again by itself"
        said, shown = str(caught), "".join(traceback.format_exception(caught))
        for secret in ("zebra", KEY, ELSEWHERE):
            assert secret not in said
            assert secret not in shown


def test_every_word_is_spoken_for() -> None:
    for subject in SUBJECTS:
        assert set(subject.ends) | set(subject.never) == set(WORDS)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(408), "AmbiguousSubmit"),
        (Answer(504), "AmbiguousSubmit"),
        (Answer(424, {"error": PROMPT}, model=500), "BackendFault"),
        (Answer(424, {}, model=504), "AmbiguousSubmit"),
        (Answer(424, {}, model=202), "AmbiguousSubmit"),
        (Answer(424, {}), "BackendFault"),
        (Answer(403), "AuthConfig"),
        (Answer(413), "Unsupported"),
        (Answer(424, {}, model=413), "Unsupported"),
        (Answer(424, {}, model=422), "InvalidInput"),
        (Answer(502, {"error": "not that", "blocked": True}), "ContentBlocked"),
        (Answer(302, headers={"Location": "http://169.254.169.254/"}), "BackendFault"),
        (Answer(202), "AmbiguousSubmit"),
        (Answer(202, headers={"Location": "//example.org/jobs/1"}), "AmbiguousSubmit"),
        (Answer(202, headers={"Location": "/" + "a" * 2000}), "AmbiguousSubmit"),
        (Answer(200, {"error": PROMPT}), "BilledBadOutput"),
    ],
)
def test_other_answers_have_their_names(service: AzureML, answer: Answer, reason: str) -> None:
    service.next.append(answer)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason
    assert len(service.calls) == 1
    assert "zebra" not in "".join(traceback.format_exception(caught.value))


def test_a_call_goes_on_by_its_handle_in_another_process(service: AzureML) -> None:
    service.gate.clear()
    stop, handles = threading.Event(), []

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    with pytest.raises(StillOut):
        client(service, TURNING).generate(asked(**CLIP), INPUTS, hear, stop)
    service.gate.set()
    fresh = client(service, TURNING)
    assert isinstance(fresh, Resumable)
    result = fresh.resume(handles[0], asked(**CLIP), lambda _: None, threading.Event())
    assert result.finished.media_type == "video/mp4"
    assert len(service.calls) == len(service.paid) == 1
    with pytest.raises(AmbiguousSubmit):  # the key goes to no other host, whatever a manifest says
        fresh.resume("https://example.org/jobs/1", asked(**CLIP), lambda _: None, threading.Event())


def test_a_call_that_never_ends_is_given_up(service: AzureML) -> None:
    service.gate.clear()
    with pytest.raises(AmbiguousSubmit):
        client(service, TURNING, pace=Pace(0.02, 0.05, patience=0.1)).generate(
            asked(**CLIP), INPUTS, lambda _: None, threading.Event()
        )
    assert len(service.calls) == 1


def test_tokens_of_entra_are_taken_in_place_of_a_key(
    service: AzureML, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = service.authority.parent
    (folder / "API_KEY").unlink()
    for name, value in (
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_CLIENT_SECRET", SECRET),
    ):
        (folder / name).write_text(value)
    (tmp_path / "entra").mkdir()
    with entra(tmp_path / "entra") as tokens:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", tokens.url)
        both = service.authority.read_text() + tokens.authority.read_text()
        service.authority = folder / "both.crt"
        service.authority.write_text(both)
        service.entra = tokens
        assert make(service).finished.media_type == "image/png"
        assert set(tokens.given.values()) == {"https://ml.azure.com/.default"}
        (folder / "AZURE_CLIENT_SECRET").write_text("another")
        with pytest.raises(AuthConfig):
            make(service)
    assert len(service.calls) == 1


def test_a_wrong_key_and_a_stranger_are_told_apart(service: AzureML) -> None:
    (service.authority.parent / "API_KEY").write_text("another")
    with pytest.raises(AuthConfig) as caught:
        make(service)
    assert "another" not in str(caught.value)
    with pytest.raises(EnvironmentFault, match="not trusted"):
        client(service, trusted=False).generate(asked(), INPUTS, lambda _: None, threading.Event())
    assert service.calls == []


def test_nothing_was_sent_where_nobody_listens(service: AzureML) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(Transient) as caught:
        make(service)
    assert caught.value.retryable


def test_what_cannot_be_said_is_refused_before_the_call(service: AzureML) -> None:
    with pytest.raises(Unsupported):
        make(service, TURNING, **(CLIP | {"encoding": "gif"}))
    with pytest.raises(Unsupported):
        make(service, resolved=Resolved(aspect_ratio="16:9"))
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        client(service).generate(asked(task=Task.IMAGE_TO_IMAGE), Inputs(), lambda _: None, threading.Event())
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(service).generate(asked(), INPUTS, lambda _: None, stop)
    assert (service.calls, service.refused) == ([], [])


def test_the_emulator_refuses_what_the_model_would(service: AzureML) -> None:
    api = Rest("it", service.url, {"Authorization": f"Bearer {KEY}"}, str(service.authority))
    for body in (
        {"inputs": PROMPT},
        {"inputs": PROMPT, "parameters": {"num_frames": 8}},
        {"inputs": PROMPT, "parameters": {"seed": "9"}},
        {"inputs": PROMPT, "parameters": {"image": "%%%"}},
        {"inputs": PROMPT, "parameters": {}, "seed": 9},
    ):
        assert api.post("/score", body, "it").status == 424, body
    good = {"inputs": PROMPT, "parameters": {}}
    assert api.post("/score", good, "it", {"azureml-model-deployment": "green"}).status == 404
    assert api.post("/predict", good, "it").status == 404
    assert service.paid == []
    assert api.post("/score", good, "it").status == 200
