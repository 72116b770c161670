"""A model of the team's own on an endpoint of Vertex AI, over TLS, against an emulator that checks every request and answer."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.vertex import ENDPOINT, Answer, Vertex, vertex
from easel_emulators.vertex_subjects import SUBJECTS

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PROMPT, Inputs, png, request, row, setup, shows_nothing

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.tasks import Task
from easel_inference.backends import google
from easel_inference.backends.base import PaidBlock, Result
from easel_inference.backends.families import client_of
from easel_inference.catalog.merging import offer_of
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

FAMILY, MODEL = "VertexPredict", "studio-sdxl"
SUBJECT = next(each for each in SUBJECTS if each.family == FAMILY)
OFFER: dict[str, Any] = {name: value for name, value in SUBJECT.offers[0].items() if name != "model"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Vertex]:
    with vertex(tmp_path) as made:
        yield made


def make(
    service: Vertex,
    folder: Path,
    inputs: Inputs | None = None,
    resolved: Resolved | None = None,
    stop: threading.Event = NEVER,
    offer: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    **asks: Any,
) -> Result:
    made = setup(service, folder, FAMILY, MODEL, resolved, offer=OFFER | (offer or {}), **(spec or {}))
    return client_of(made).generate(request(**asks), inputs or Inputs(), lambda _: None, stop)


def test_the_endpoint_is_asked_as_a_custom_model_is(service: Vertex, tmp_path: Path) -> None:
    result = make(service, tmp_path, resolved=Resolved(size=(96, 64)), offer={"sizes": {"free": FREE}})
    assert (service.refused, service.paid) == ([], [ENDPOINT])
    parameters = {"seed": 9, "width": 96, "height": 64}
    assert service.calls == [{"instances": [{"inputs": PROMPT, "parameters": parameters}]}]
    assert (result.finished.width, result.finished.height) == (96, 64)


FREE = {"multipleOf": 8, "minPixels": 64, "maxPixels": 1048576}


def test_a_picture_goes_with_the_words(service: Vertex, tmp_path: Path) -> None:
    make(service, tmp_path, Inputs(image=png("red")), task=Task.IMAGE_TO_IMAGE, strength=0.5)
    (instance,) = service.calls[0]["instances"]
    assert instance["parameters"]["strength"] == 0.5
    assert base64.b64decode(instance["parameters"]["image"]) == png("red")


def test_what_it_costs_is_what_the_provider_says(service: Vertex, tmp_path: Path) -> None:
    offer = offer_of(setup(service, tmp_path, FAMILY, MODEL, offer=OFFER).spec, MODEL)
    assert offer is not None
    make(service, tmp_path)
    assert estimate(offer, Request(Task.TEXT_TO_IMAGE), Resolved()) == service.billed


FAULTS = {word: ends for word, ends in SUBJECT.ends.items() if ends.reason}


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == FAULTS[word].paid
    assert isinstance(caught.value, PaidBlock) == (word == "blocked as 200")
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value)


def test_what_the_model_itself_refuses_comes_within_googles_error_too(service: Vertex, tmp_path: Path) -> None:
    service.next.append(Answer(400, "INVALID_ARGUMENT", '{"blocked": true}'))
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == "ContentBlocked"


def test_how_long_to_wait_is_told(service: Vertex, tmp_path: Path) -> None:
    service.next.append("asks to wait")
    with pytest.raises(Throttled) as caught:
        make(service, tmp_path)
    assert caught.value.retry_after == 1.0


def test_nothing_was_sent_where_nobody_listens(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path, spec={"endpoint": "https://127.0.0.1:9"})
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_an_endpoint_that_is_gone(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path, offer={"deployment": "1"})
    assert caught.value.reason == "ModelRetired"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        make(service, tmp_path, resolved=Resolved(aspect_ratio="1:1"))
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        make(service, tmp_path, task=Task.IMAGE_TO_IMAGE)
    large = Inputs(image=png() + bytes(1_200_000))
    with pytest.raises(InvalidInput, match="too large"):
        make(service, tmp_path, large, task=Task.IMAGE_TO_IMAGE, spec={"endpoint": None})
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        make(service, tmp_path, stop=stop)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


def test_a_row_that_does_no_task_is_not_offered(service: Vertex, tmp_path: Path) -> None:
    assert row("virtual-try-on-001").tasks == []
    spec = setup(service, tmp_path, FAMILY, "virtual-try-on-001", offer={"tasks": ["text-to-image"]}).spec
    offer = offer_of(spec, "virtual-try-on-001")
    assert offer is not None
    assert offer.tasks == []


def test_the_emulator_refuses_what_google_would(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, MODEL, offer=OFFER))
    path = f"/v1/{found.place}/endpoints/{ENDPOINT}:predict"
    instance = {"inputs": PROMPT, "parameters": {}}
    for body in (
        {},
        {"instances": instance},
        {"instances": [instance], "inputs": PROMPT},
        {"instances": [{**instance, "image": "A" * 1_500_000}]},
    ):
        assert found.api.post(path, body, MODEL).status == 400
    assert service.paid == []
