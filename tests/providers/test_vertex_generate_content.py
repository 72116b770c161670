"""Gemini's pictures over TLS, against an emulator that checks every request and answer by Google's own document."""

from __future__ import annotations

import base64
import io
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.vertex import Answer, Vertex, vertex
from easel_emulators.vertex_pictures import TOKENS, beside
from easel_emulators.vertex_subjects import SUBJECTS
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PROMPT, Inputs, official, png, request, row, setup, shows_nothing

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.tasks import Task
from easel_inference.backends import google
from easel_inference.backends.base import PaidBlock, Result
from easel_inference.backends.families import client_of
from easel_inference.backends.vertex_generate_content import asked, read
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

FAMILY, MODEL = "VertexGenerateContent", "gemini-2.5-flash-image"
SUBJECT = next(each for each in SUBJECTS if each.family == FAMILY)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Vertex]:
    with vertex(tmp_path) as made:
        yield made


def make(
    service: Vertex,
    folder: Path,
    model: str = MODEL,
    resolved: Resolved | None = None,
    inputs: Inputs | None = None,
    stop: threading.Event = NEVER,
    **asks: Any,
) -> Result:
    client = client_of(setup(service, folder, FAMILY, model, resolved))
    return client.generate(request(**asks), inputs or Inputs(), lambda _: None, stop)


@pytest.mark.parametrize("model", TOKENS)
def test_every_model_is_asked_in_its_own_words(service: Vertex, tmp_path: Path, model: str) -> None:
    tier = next(iter(row(model).sizes.tiers), None)
    result = make(service, tmp_path, model, Resolved(aspect_ratio="16:9", tier=tier))
    assert (service.refused, service.paid) == ([], [model])
    (sent,) = service.calls
    assert sent["contents"] == [{"role": "user", "parts": [{"text": PROMPT}]}]
    assert sent["generationConfig"]["responseModalities"] == ["IMAGE"]
    assert sent["generationConfig"]["seed"] == 9
    shape = {"aspectRatio": "16:9"} | ({"imageSize": tier} if tier else {})
    assert sent["generationConfig"]["imageConfig"] == shape
    assert (result.finished.width, result.finished.height) == (256, 144)
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (256, 144), "what was thought on the way is no result"


@pytest.mark.parametrize("model", TOKENS)
def test_what_google_counts_is_what_was_known_before_and_what_it_read_and_thought(
    service: Vertex, tmp_path: Path, model: str
) -> None:
    tier = next(iter(row(model).sizes.tiers), None)
    made = setup(service, tmp_path, FAMILY, model, Resolved(tier=tier))
    offer = offer_of(made.spec, model)
    assert offer is not None
    before = estimate(offer, Request(Task.TEXT_TO_IMAGE), made.resolved)
    result = client_of(made).generate(request(), Inputs(), lambda _: None, NEVER)
    assert before is not None
    assert before + beside(model) == result.billed == service.billed


def test_a_size_of_its_own_price_is_billed_as_google_counts(service: Vertex, tmp_path: Path) -> None:
    result = make(service, tmp_path, "gemini-3-pro-image", Resolved(tier="4K"))
    assert result.billed == service.billed == Decimal("0.24") + Decimal("0.003854")  # 25 tokens at 2, 317 at 12


@pytest.mark.parametrize(
    ("usage", "billed"),
    [
        ({"promptTokenCount": 9, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}, "0.038703"),
        ({"thoughtsTokenCount": 400, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}, "0.0397"),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 400}, None),
        ({"promptTokenCount": "9", "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}, None),
        ({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": -1290}]}, None),
        ({"candidatesTokensDetails": ["zebra"]}, None),
        (None, None),
    ],
)
def test_an_answer_that_does_not_say_what_it_took_costs_what_was_known(
    service: Vertex, tmp_path: Path, usage: Any, billed: str | None
) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    told = {"candidates": [{"content": {"parts": [part]}}], "usageMetadata": usage}
    tariff = google.tariff(setup(service, tmp_path, FAMILY, MODEL))
    assert tariff is not None
    assert tariff.cost(read(told, MODEL).usage) == (None if billed is None else Decimal(billed))


def test_a_picture_is_edited_by_words(service: Vertex, tmp_path: Path) -> None:
    make(service, tmp_path, task=Task.IMAGE_TO_IMAGE, inputs=Inputs(image=png("red")))
    words, picture = service.calls[0]["contents"][0]["parts"]
    assert words == {"text": PROMPT}
    assert picture["inlineData"]["mimeType"] == "image/png"
    assert base64.b64decode(picture["inlineData"]["data"]) == png("red")


def test_every_row_of_the_family_is_emulated() -> None:
    rows = {each.model for each in surfaces()["vertex"].offers if each.family == FAMILY and each.tasks}
    assert rows == set(TOKENS) == set(SUBJECT.rows)
    for model, sizes in TOKENS.items():
        assert list(row(model).sizes.tiers) == [size for size in sizes if size]


FAULTS = {word: ends for word, ends in SUBJECT.ends.items() if ends.reason} | {
    "prompt blocked": SUBJECT.ends["blocked as 200"]
}


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == FAULTS[word].paid
    assert isinstance(caught.value, PaidBlock) == (word in ("blocked as 200", "prompt blocked"))
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value)


def test_a_model_that_takes_too_long_may_be_billed(service: Vertex, tmp_path: Path) -> None:
    service.next.append(Answer(504, "DEADLINE_EXCEEDED"))
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == "AmbiguousSubmit"


@pytest.mark.parametrize(("word", "wait"), [("throttled", None), ("asks to wait", 1.0)])
def test_how_long_to_wait_is_told(service: Vertex, tmp_path: Path, word: str, wait: float | None) -> None:
    service.next.append(word)
    with pytest.raises(Throttled) as caught:
        make(service, tmp_path)
    assert caught.value.retry_after == wait
    assert service.paid == []


def test_a_slow_answer_is_waited_for(service: Vertex, tmp_path: Path) -> None:
    service.next.append("slow")
    assert make(service, tmp_path).billed == service.billed


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"candidates": []},
        {"candidates": "words"},
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "not base64!"}}]}}]},
        {"candidates": [{"content": {"parts": [{"inlineData": 7}]}}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "AAAA"}, "thought": True}]}}]},
        {"candidates": [{"finishReason": "NO_IMAGE", "content": {"parts": [{"text": "zebra"}]}}]},
        {"candidates": [{"finishReason": "IMAGE_OTHER"}]},
        {"promptFeedback": 7},
    ],
)
def test_an_answer_without_a_picture_counts_as_paid(told: Any) -> None:
    with pytest.raises(EaselError) as caught:
        read(told, MODEL)
    assert caught.value.reason == "BilledBadOutput"
    shows_nothing(caught.value)


def test_nothing_was_sent_where_nobody_listens(service: Vertex, tmp_path: Path) -> None:
    made = setup(service, tmp_path, FAMILY, MODEL, endpoint="https://127.0.0.1:9")
    with pytest.raises(EaselError) as caught:
        client_of(made).generate(request(), Inputs(), lambda _: None, NEVER)
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)
    assert service.calls == []


def test_a_token_that_google_does_not_know_and_a_stranger(service: Vertex, tmp_path: Path) -> None:
    service.tokens.next.append((200, {"access_token": "ya29.unknown", "expires_in": 3600, "token_type": "Bearer"}))
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == "AuthConfig"
    shows_nothing(caught.value)
    found = google.account(setup(service, tmp_path, FAMILY, MODEL))
    stranger = type(found.api)("Google", service.url, {"Authorization": "Bearer ya29.x"})
    with pytest.raises(EaselError) as caught:
        stranger.post("/v1/x", {}, MODEL)
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Vertex, tmp_path: Path) -> None:
    for asks in (
        {"seed": 2**31},
        {"task": Task.INPAINT},
        {"resolved": Resolved(size=(512, 512))},
    ):
        with pytest.raises(Unsupported):
            make(service, tmp_path, **asks)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        make(service, tmp_path, task=Task.IMAGE_TO_IMAGE)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        make(service, tmp_path, task=Task.IMAGE_TO_IMAGE, inputs=Inputs(image=b"words"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        make(service, tmp_path, stop=stop)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


def test_the_emulator_refuses_what_google_would(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, MODEL))
    path = f"/v1/{found.place}/publishers/google/models/{MODEL}:generateContent"
    good = asked(request(), Inputs(), Resolved())
    settings = good["generationConfig"]
    for body in (
        good | {"prompt": PROMPT},
        good | {"generationConfig": settings | {"seed": 2**31}},
        good | {"generationConfig": settings | {"seed": "9"}},
        good | {"generationConfig": settings | {"imageConfig": {"aspect_ratio": "1:1"}}},
        good | {"generationConfig": settings | {"imageConfig": {"aspectRatio": "2:1"}}},
        good | {"generationConfig": settings | {"imageConfig": {"imageSize": "2K"}}},
        good | {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "not base64!"}}]}]},
    ):
        assert found.api.post(path, body, MODEL).status == 400, body
    assert found.api.post(path.replace("flash", "slow"), good, MODEL).status == 404
    assert found.api.post(path.replace(found.project, "another"), good, MODEL).status == 404
    assert service.paid == []
    assert found.api.post(path, good, MODEL).status == 200


def test_googles_own_client_is_understood_and_understands(service: Vertex, tmp_path: Path) -> None:
    client = official(service)
    told = client.models.generate_content(
        model=MODEL,
        contents=PROMPT,
        config={"response_modalities": ["IMAGE"], "seed": 9, "image_config": {"aspect_ratio": "16:9"}},
    )
    assert service.refused == []
    (candidate,) = told.candidates
    assert candidate.finish_reason == "STOP"
    pictures = [part.inline_data.data for part in candidate.content.parts if part.inline_data and not part.thought]
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert picture.size == (256, 144)
    assert told.usage_metadata.candidates_tokens_details[0].token_count == 1290
    ours = asked(request(), Inputs(), Resolved(aspect_ratio="16:9"))
    (theirs,) = service.calls
    assert theirs["contents"] == ours["contents"]
    assert theirs["generationConfig"] == {
        name: value for name, value in ours["generationConfig"].items() if name != "candidateCount"
    }
