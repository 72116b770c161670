"""Stability AI's own API over TLS, against an emulator that checks every request."""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.stability import KEY, PATHS, Answer, Stability, stability
from PIL import Image

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.tasks import Task
from easel_inference.backends.base import PaidBlock, Result
from easel_inference.backends.stability_models import SHAPES
from easel_inference.backends.stability_v2beta import PATHS as CLIENTS
from easel_inference.backends.stability_v2beta import StabilityV2Beta
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import Expand, GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png("black"), control=png("grey"))
TASKS: dict[str, tuple[Task, dict[str, Any]]] = {
    "core": (Task.TEXT_TO_IMAGE, {"negative_prompt": "blur"}),
    "ultra": (Task.TEXT_TO_IMAGE, {}),
    "sd3.5-large": (Task.IMAGE_TO_IMAGE, {"strength": 0.6}),
    "inpaint": (Task.INPAINT, {}),
    "outpaint": (Task.OUTPAINT, {"expand": Expand(left=64, bottom=32)}),
    "control/sketch": (Task.CONTROL_TO_IMAGE, {}),
    "control/structure": (Task.CONTROL_TO_IMAGE, {}),
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Stability]:
    with stability(tmp_path) as made:
        yield made


def client(
    service: Stability, model: str = "core", resolved: Resolved | None = None, key: str = KEY
) -> StabilityV2Beta:
    return StabilityV2Beta("stability", key, model, resolved or Resolved(), service.url, str(service.authority))


def make(service: Stability, model: str = "core", resolved: Resolved | None = None, **asks: Any) -> Result:
    request = GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))
    return client(service, model, resolved).generate(request, INPUTS, lambda _: None, threading.Event())


@pytest.mark.parametrize("model", TASKS)
def test_every_model_is_asked_in_its_own_words(service: Stability, model: str) -> None:
    task, asks = TASKS[model]
    result = make(service, model, task=task, **asks)
    assert service.refused == []
    assert service.paid == [CLIENTS[model]] if model != "sd3.5-large" else ["generate/sd3"]
    (sent,) = service.calls
    assert (sent["prompt"], sent["seed"]) == (PROMPT, 9)
    assert result.finished.seed == 9
    if "expand" in asks:
        assert (sent["left"], sent["right"], sent["up"], sent["down"]) == (64, 0, 0, 32)
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (result.finished.width, result.finished.height)


def test_the_shape_of_the_plan_is_asked_for(service: Stability) -> None:
    result = make(service, resolved=Resolved(aspect_ratio="16:9"))
    assert service.calls[0]["aspect_ratio"] == "16:9"
    assert (result.finished.width, result.finished.height) == (256, 144)


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
    ("too large", Answer(413, "payload_too_large"), "InvalidInput", 0),
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
    stranger = StabilityV2Beta("s", KEY, "core", Resolved(), service.url, None)
    with pytest.raises(EaselError) as caught:
        stranger.generate(request, INPUTS, lambda _: None, threading.Event())
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Stability) -> None:
    with pytest.raises(Unsupported):
        make(service, seed=4294967295)
    with pytest.raises(Unsupported):
        make(service, "search-and-replace")
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
