"""Stability AI's own API over TLS, against an emulator that checks every request."""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.edits import TIMES
from easel_emulators.stability import KEY, PATHS, Answer, Stability, stability
from PIL import Image

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.backends.base import Backend, OnEvent, PaidBlock, Result, Resumable, Setup
from easel_inference.backends.polled import Pace
from easel_inference.backends.stability_models import SHAPES
from easel_inference.backends.stability_v2beta import PATHS as CLIENTS
from easel_inference.backends.stability_v2beta import client as made
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import Expand, GenerationRequest, Handed, Inputs
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png("black"), control=png("grey"), style=png("navy"))
TASKS: dict[str, tuple[Task, dict[str, Any]]] = {
    "core": (Task.TEXT_TO_IMAGE, {"negative_prompt": "blur"}),
    "ultra": (Task.IMAGE_TO_IMAGE, {"strength": 0.6}),
    "sd3.5-large": (Task.IMAGE_TO_IMAGE, {"strength": 0.6}),
    "inpaint": (Task.INPAINT, {}),
    "outpaint": (Task.OUTPAINT, {"expand": Expand(left=64, bottom=32)}),
    "control/sketch": (Task.CONTROL_TO_IMAGE, {}),
    "control/structure": (Task.CONTROL_TO_IMAGE, {}),
    "control/style": (Task.STYLE_TO_IMAGE, {}),
    "control/style-transfer": (Task.STYLE_TRANSFER, {}),
    "erase": (Task.ERASE, {"prompt": ""}),
    "search-and-replace": (Task.SEARCH_AND_REPLACE, {"search_prompt": "the cup"}),
    "search-and-recolor": (Task.SEARCH_AND_RECOLOR, {"search_prompt": "the cup"}),
    "remove-background": (Task.REMOVE_BACKGROUND, {"prompt": ""}),
    "replace-background-and-relight": (Task.REPLACE_BACKGROUND, {}),
    "upscale/fast": (Task.UPSCALE, {"prompt": ""}),
    "upscale/conservative": (Task.UPSCALE, {}),
    "upscale/creative": (Task.UPSCALE, {}),
}
MUTE = {"remove-background", "upscale/fast"}
"""They are told nothing but the picture."""
CREATIVE = "upscale/creative"
FAST = Pace(first=0.01, longest=0.01, patience=5)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Stability]:
    with stability(tmp_path) as made:
        yield made


def client(
    service: Stability,
    model: str = "core",
    resolved: Resolved | None = None,
    key: str = KEY,
    *,
    trusts: bool = True,
) -> Backend:
    folder = service.authority.parent / "secret"
    folder.mkdir(exist_ok=True)
    (folder / "API_KEY").write_text(key)
    told = {
        "family": "StabilityV2Beta",
        "endpoint": service.url,
        "credentials": {"secretRef": {"name": "key"}},
        "offers": [{"model": model}],
    }
    spec, authority = ProviderSpec.model_validate(told), str(service.authority) if trusts else None
    return made(Setup("stability", spec, model, resolved or Resolved(), folder, authority), FAST)


def make(
    service: Stability,
    model: str = "core",
    resolved: Resolved | None = None,
    on_event: OnEvent = lambda _: None,
    inputs: Inputs = INPUTS,
    **asks: Any,
) -> Result:
    request = GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))
    return client(service, model, resolved).generate(request, inputs, on_event, threading.Event())


@pytest.mark.parametrize("model", TASKS)
def test_every_model_is_asked_in_its_own_words(service: Stability, model: str) -> None:
    task, asks = TASKS[model]
    result = make(service, model, task=task, **asks)
    assert service.refused == []
    assert service.paid == [CLIENTS[model]] if model != "sd3.5-large" else ["generate/sd3"]
    (sent,) = service.calls
    assert (sent.get("background_prompt") or sent.get("prompt", "")) == asks.get("prompt", PROMPT)
    assert sent.get("seed") == (None if model in MUTE else 9)
    assert {sent.get(name, "the cup") for name in ("search_prompt", "select_prompt")} == {"the cup"}
    assert sent.get("strength") == asks.get("strength")
    if "expand" in asks:
        assert (sent["left"], sent["right"], sent["up"], sent["down"]) == (64, 0, 0, 32)
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (result.finished.width, result.finished.height)


def test_the_shape_of_the_plan_is_asked_for(service: Stability) -> None:
    result = make(service, resolved=Resolved(aspect_ratio="16:9"))
    assert service.calls[0]["aspect_ratio"] == "16:9"
    assert (result.finished.width, result.finished.height) == (256, 144)


def test_ultra_is_sent_a_picture_with_its_strength_and_shape(service: Stability) -> None:
    make(service, "ultra", Resolved(aspect_ratio="16:9"), task=Task.IMAGE_TO_IMAGE)
    make(service, "ultra")
    edit, drawing = service.calls
    assert edit["image"] > 0
    assert (edit["strength"], edit["aspect_ratio"]) == (0.8, "16:9")
    assert not {"image", "strength"} & set(drawing)


def test_every_row_that_does_a_task_has_a_client_and_an_emulator() -> None:
    rows = {row.model: row.tasks for row in surfaces()["stability"].offers if row.tasks}
    assert set(rows) == set(CLIENTS) == set(SHAPES) == set(TASKS)
    assert set(PATHS) == set(CLIENTS.values())
    assert all(TASKS[model][0] in tasks for model, tasks in rows.items())


FAULTS: list[tuple[str, Any, str, int]] = [
    ("throttled", Answer(429, "rate_limit_exceeded"), "Throttled", 0),
    ("no credit", Answer(402, "payment_required"), "QuotaExhausted", 0),
    ("denied", Answer(403, "forbidden"), "AuthConfig", 0),
    ("blocked", Answer(403, "content_moderation"), "ContentBlocked", 0),
    ("gone", Answer(404, "not_found"), "ModelRetired", 0),
    ("too large", Answer(413, "payload_too_large"), "Unsupported", 0),
    ("invalid", Answer(422, "invalid"), "InvalidInput", 0),
    ("internal", Answer(500, "internal_error"), "Transient", 0),
    ("elsewhere", Answer(302, "found", {"Location": "http://169.254.169.254/"}), "BackendFault", 0),
    ("blocked as 200", "blocked as 200", "ContentBlocked", 1),
    ("200 without a picture", "empty", "BilledBadOutput", 1),
    ("200 with words", "words", "BilledBadOutput", 1),
    ("truncated", "cut", "BilledBadOutput", 1),
    ("100 MB", "huge", "BilledBadOutput", 1),
    ("reset behind the request", "reset", "AmbiguousSubmit", 1),
]


@pytest.mark.parametrize(("fault", "reason", "paid"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_each_fault_has_its_name_and_is_asked_for_once(service: Stability, fault: Any, reason: str, paid: int) -> None:
    service.next.append(fault)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == paid
    assert isinstance(caught.value, PaidBlock) == (fault == "blocked as 200")
    assert not (paid and caught.value.retryable), "what was paid for is not asked for again by itself"
    said = str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("zebra", KEY):
        assert secret not in said
        assert secret not in shown


def test_how_long_to_wait_is_told(service: Stability) -> None:
    dated = {"Retry-After": "Sat, 28 Nov 2026 12:00:17 GMT", "Date": "Sat, 28 Nov 2026 12:00:00 GMT"}
    for headers, expected in (
        ({"Retry-After": "17"}, 17.0),
        (dated, 17.0),
        ({}, None),
        ({"Retry-After": "soon"}, None),
    ):
        service.next.append(Answer(429, headers=headers))
        with pytest.raises(Throttled) as caught:
            make(service)
        # The server writes a Date of its own first; only a date that can be compared is.
        assert caught.value.retry_after == expected or "Date" in headers


def test_nothing_was_sent_where_nobody_listens(service: Stability) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(EaselError) as caught:
        make(service)
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_a_wrong_key_and_a_stranger_are_told_apart(service: Stability) -> None:
    request = GenerationRequest(id="i", task=Task.TEXT_TO_IMAGE, prompt=PROMPT)
    with pytest.raises(EaselError) as caught:
        client(service, key="another").generate(request, INPUTS, lambda _: None, threading.Event())
    assert caught.value.reason == "AuthConfig"
    assert "another" not in str(caught.value)
    with pytest.raises(EaselError) as caught:
        client(service, trusts=False).generate(request, INPUTS, lambda _: None, threading.Event())
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Stability) -> None:
    with pytest.raises(Unsupported):
        make(service, seed=4294967295)
    with pytest.raises(Unsupported):
        make(service, "no-such-service")
    with pytest.raises(InvalidInput, match=r"spec\.prompts\[\]\.search"):
        make(service, "search-and-replace", task=Task.SEARCH_AND_REPLACE)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.mask"):
        client(service, "inpaint").generate(
            GenerationRequest(id="i", task=Task.INPAINT, prompt=PROMPT),
            Inputs(image=png()),
            lambda _: None,
            threading.Event(),
        )
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(service).generate(
            GenerationRequest(id="i", task=Task.TEXT_TO_IMAGE, prompt=PROMPT), Inputs(), lambda _: None, stop
        )
    assert (service.calls, service.refused) == ([], [])


def test_the_emulator_refuses_what_the_service_would(service: Stability) -> None:
    from easel_inference.backends.rest import Rest

    api = Rest("it", service.url, {"Authorization": f"Bearer {KEY}", "Accept": "image/*"}, str(service.authority))
    for fields in ({"prompt": PROMPT, "width": "1024"}, {"prompt": PROMPT, "seed": "-1"}, {"seed": "1"}):
        assert api.form("/v2beta/stable-image/generate/core", fields, "core").status == 400
    assert service.paid == []


def test_a_removed_background_stays_transparent(service: Stability) -> None:
    shown = Image.new("RGB", (64, 64), "white")
    shown.paste("red", (16, 16, 48, 48))
    target = io.BytesIO()
    shown.save(target, "PNG")
    result = make(
        service, "remove-background", task=Task.REMOVE_BACKGROUND, prompt="", inputs=Inputs(image=target.getvalue())
    )
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert (picture.mode, picture.format) == ("RGBA", "PNG")
        alpha = picture.getchannel("A")
        assert [alpha.getpixel(place) for place in ((0, 0), (32, 32))] == [0, 255]
    for encoding in ("jpeg", "webp"):
        with pytest.raises(Unsupported, match="png"):
            make(service, "remove-background", task=Task.REMOVE_BACKGROUND, prompt="", encoding=encoding)
    assert len(service.paid) == 1


def test_an_upscaled_picture_is_as_large_as_its_service_makes_it(service: Stability) -> None:
    result = make(service, "upscale/fast", task=Task.UPSCALE, prompt="", scale=4)
    assert (result.finished.width, result.finished.height) == (64 * TIMES, 64 * TIMES)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        *((model, size) for model in ("upscale/fast", CREATIVE) for size in ((63, 400), (1100, 1000))),
        ("upscale/fast", (2100, 400)),  # its result would be thrown away
    ],
)
def test_a_picture_that_cannot_be_upscaled_here_may_be_elsewhere(
    service: Stability, model: str, size: tuple[int, int]
) -> None:
    target = io.BytesIO()
    Image.new("RGB", size).save(target, "PNG")
    with pytest.raises(Unsupported, match="megapixel") as caught:
        make(service, model, task=Task.UPSCALE, inputs=Inputs(image=target.getvalue()))
    assert (caught.value.where, caught.value.found) == ("spec.inputs.image", "{}x{}".format(*size))
    assert (service.calls, service.refused) == ([], [])


def handles(service: Stability, *words: str, **asks: Any) -> tuple[list[str], Result]:
    """The handle that was kept, and what came of it."""
    heard: list[str] = []
    service.next.extend(words)

    def hears(message: Any) -> None:
        if isinstance(message.event, Handed):
            heard.append(message.event.handle)

    return heard, make(service, CREATIVE, task=Task.UPSCALE, on_event=hears, **asks)


def test_a_handle_is_kept_before_the_first_question_and_asked_on_by_another_process(service: Stability) -> None:
    (handle,), result = handles(service)
    assert list(service.work) == [handle]
    assert result.finished.seed == 9
    another, request = client(service, CREATIVE), GenerationRequest(id="i", task=Task.UPSCALE, prompt=PROMPT)
    assert isinstance(another, Resumable)
    assert another.resume(handle, request, lambda _: None, threading.Event()).payload == result.payload
    assert (len(service.paid), service.work[handle].asked) == (1, 2)


@pytest.mark.parametrize("word", ["slow poll", "lost poll", "throttled poll"])
def test_a_question_is_asked_again_and_the_call_never(service: Stability, word: str) -> None:
    (handle,), _ = handles(service, word)
    assert (len(service.paid), service.work[handle].asked > 1) == (1, True)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("blocked late", "ContentBlocked"),
        ("blocked late by an error", "ContentBlocked"),
        ("expired for good", "AmbiguousSubmit"),
        ("words", "BilledBadOutput"),
        ("empty", "BilledBadOutput"),
    ],
)
def test_how_a_call_with_a_handle_ends(service: Stability, word: str, reason: str) -> None:
    with pytest.raises(EaselError) as caught:
        handles(service, word)
    assert caught.value.reason == reason, str(caught.value)
    assert (len(service.paid), caught.value.retryable) == (1, False)
    assert isinstance(caught.value, PaidBlock) == (reason == "ContentBlocked")


@pytest.mark.parametrize("handle", ["../user/balance", "a/b", "", "x" * 201])
def test_the_key_goes_to_no_other_path_by_a_handle(service: Stability, handle: str) -> None:
    request = GenerationRequest(id="i", task=Task.UPSCALE, prompt=PROMPT)
    another = client(service, CREATIVE)
    assert isinstance(another, Resumable)
    with pytest.raises(EaselError) as caught:
        another.resume(handle, request, lambda _: None, threading.Event())
    assert caught.value.reason == "AmbiguousSubmit"
    assert service.refused == []
