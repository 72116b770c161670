"""A model of the team's own on an endpoint of Vertex AI, and Google's Virtual Try-On, over TLS, against an emulator that checks every request and answer."""

from __future__ import annotations

import base64
import io
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.vertex import ENDPOINT, Answer, Vertex, vertex
from easel_emulators.vertex_subjects import SUBJECTS
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PROMPT, Inputs, official, png, request, setup, shows_nothing

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.tasks import Task
from easel_inference.backends import google
from easel_inference.backends.base import PaidBlock, Result
from easel_inference.backends.families import client_of
from easel_inference.backends.vertex_try_on import LARGEST_PICTURE, asked, read
from easel_inference.catalog.merging import offer_of
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

FAMILY, MODEL = "VertexPredict", "studio-sdxl"
SUBJECT = next(each for each in SUBJECTS if each.family == FAMILY)
OFFER: dict[str, Any] = {name: value for name, value in SUBJECT.offers[0].items() if name != "model"}
TRY_ON = "virtual-try-on-001"


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


def picture(colour: str, size: tuple[int, int] = (64, 64), kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, kind)
    return target.getvalue()


PERSON, GARMENT = picture("green", (96, 160)), picture("red", (64, 64), "JPEG")
DRESSED = Inputs(image=PERSON, garment=GARMENT)


def try_on(
    service: Vertex,
    folder: Path,
    inputs: Inputs = DRESSED,
    resolved: Resolved | None = None,
    stop: threading.Event = NEVER,
    offer: dict[str, Any] | None = None,
    **asks: Any,
) -> Result:
    made = setup(service, folder, FAMILY, TRY_ON, resolved, offer=offer)
    asks = {"task": Task.VIRTUAL_TRY_ON} | asks
    return client_of(made).generate(request(**asks), inputs, lambda _: None, stop)


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


@pytest.mark.parametrize("ask", [make, try_on])
@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(
    service: Vertex, tmp_path: Path, word: str, ask: Callable[..., Result]
) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        ask(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == FAULTS[word].paid
    assert isinstance(caught.value, PaidBlock) == (word == "blocked as 200")
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value, base64.b64encode(PERSON).decode()[:40])


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
    with pytest.raises(Unsupported, match="too large"):
        make(service, tmp_path, large, task=Task.IMAGE_TO_IMAGE, spec={"endpoint": None})
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        make(service, tmp_path, stop=stop)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


def test_a_row_does_no_task_but_its_own_whatever_a_provider_says(service: Vertex, tmp_path: Path) -> None:
    offer = offer_of(setup(service, tmp_path, FAMILY, TRY_ON, offer={"tasks": ["text-to-image"]}).spec, TRY_ON)
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


def test_the_person_and_the_clothing_are_sent_without_words(service: Vertex, tmp_path: Path) -> None:
    result = try_on(service, tmp_path)
    assert (service.refused, service.paid) == ([], [TRY_ON])
    (sent,) = service.calls
    (instance,) = sent.pop("instances")
    assert instance == {
        "personImage": {"image": {"bytesBase64Encoded": base64.b64encode(PERSON).decode(), "mimeType": "image/png"}},
        "productImages": [
            {"image": {"bytesBase64Encoded": base64.b64encode(GARMENT).decode(), "mimeType": "image/jpeg"}}
        ],
    }
    # Without a seed, which Google's watermark would have to go for.
    assert sent == {"parameters": {"sampleCount": 1, "outputOptions": {"mimeType": "image/png"}}}
    with Image.open(io.BytesIO(result.payload)) as made:
        assert (made.format, made.size) == ("PNG", (96, 160)), "as large as the person's picture"
        red, _, _ = made.convert("RGB").getpixel((4, 4))
        assert red > 200, "the clothing"
        assert made.convert("RGB").getpixel((60, 100)) == (0, 128, 0), "the person"
    assert (result.finished.width, result.finished.height) == (96, 160)


@pytest.mark.parametrize(("encoding", "kind"), [("png", "png"), ("jpeg", "jpeg"), ("webp", "png")])
def test_the_result_is_asked_for_in_the_format_that_it_is_kept_in(
    service: Vertex, tmp_path: Path, encoding: str, kind: str
) -> None:
    result = try_on(service, tmp_path, encoding=encoding)
    assert service.calls[0]["parameters"]["outputOptions"] == {"mimeType": f"image/{kind}"}
    assert result.finished.media_type == f"image/{encoding}"


def test_bytes_behind_the_end_of_a_picture_do_no_harm(service: Vertex, tmp_path: Path) -> None:
    try_on(service, tmp_path, Inputs(image=PERSON + bytes(9), garment=GARMENT + bytes(9)))
    assert (service.refused, service.paid) == ([], [TRY_ON])


def test_a_try_on_costs_what_the_catalogue_says(service: Vertex, tmp_path: Path) -> None:
    offer = offer_of(setup(service, tmp_path, FAMILY, TRY_ON).spec, TRY_ON)
    assert offer is not None
    try_on(service, tmp_path)
    assert estimate(offer, Request(Task.VIRTUAL_TRY_ON), Resolved()) == service.billed == Decimal("0.06")


def test_of_why_a_filter_held_a_try_on_back_the_code_alone_is_told() -> None:
    told = {"predictions": [{"raiFilteredReason": "It shows a zebra. Support codes: 56562880"}]}
    with pytest.raises(PaidBlock) as caught:
        read(told)
    assert caught.value.found == "support code 56562880"
    shows_nothing(caught.value)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"predictions": []},
        {"predictions": "words"},
        {"predictions": 7},
        {"predictions": ["zebra"]},
        {"predictions": [{"mimeType": "image/png"}]},
        {"predictions": [{"bytesBase64Encoded": 7}]},
        {"predictions": [{"bytesBase64Encoded": "a zebra is not base64!"}]},
        {"predictions": [{"gcsUri": "gs://zebra/1.png"}]},
    ],
)
def test_a_try_on_without_a_picture_counts_as_paid(told: Any) -> None:
    with pytest.raises(EaselError) as caught:
        read(told)
    assert caught.value.reason == "BilledBadOutput"
    shows_nothing(caught.value)


@pytest.mark.parametrize("part", ["image", "garment"])
def test_an_input_that_nobody_can_wear_is_refused_before_the_call(service: Vertex, tmp_path: Path, part: str) -> None:
    def refused(data: bytes | None) -> EaselError:
        with pytest.raises(EaselError) as caught:
            try_on(service, tmp_path, replace(DRESSED, **{part: data}))
        assert caught.value.where == f"spec.inputs.{part}"
        return caught.value

    assert refused(None).reason == refused(b"words").reason == "InvalidInput"
    for kind in ("WEBP", "GIF"):
        error = refused(picture("red", kind=kind))
        assert (error.reason, error.found) == ("Unsupported", f"image/{kind.lower()}")
    largest = PERSON + bytes(LARGEST_PICTURE - len(PERSON))
    error = refused(largest + b"0")
    assert (error.reason, error.found) == ("Unsupported", "7000001 bytes")
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)
    try_on(service, tmp_path, replace(DRESSED, **{part: largest}))
    assert (service.refused, service.paid) == ([], [TRY_ON])


def test_what_a_try_on_has_no_words_for_is_refused_before_the_call(service: Vertex, tmp_path: Path) -> None:
    for where, asks in (
        ("spec.task", {"task": Task.TEXT_TO_IMAGE}),
        ("spec.offers[].sizes", {"resolved": Resolved(size=(512, 512))}),
        ("spec.offers[].sizes", {"resolved": Resolved(aspect_ratio="1:1")}),
        ("spec.offers[].deployment", {"offer": {"deployment": ENDPOINT}}),
    ):
        with pytest.raises(Unsupported) as caught:
            try_on(service, tmp_path, **asks)
        assert caught.value.where == where
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        try_on(service, tmp_path, stop=stop)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


def test_the_emulator_refuses_a_try_on_that_google_would(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, TRY_ON))
    path = f"/v1/{found.place}/publishers/google/models/{TRY_ON}:predict"
    good = asked(request(Task.VIRTUAL_TRY_ON), DRESSED, Resolved())
    (instance,), settings = good["instances"], good["parameters"] | {"seed": 9, "addWatermark": False}
    good["parameters"] = settings

    def person(**other: Any) -> dict[str, Any]:
        return {"instances": [instance | {"personImage": {"image": instance["personImage"]["image"] | other}}]}

    large = base64.b64encode(PERSON + bytes(LARGEST_PICTURE)).decode()
    for wrong in (
        {"prompt": PROMPT},
        {"instances": []},
        {"instances": [instance, instance]},
        {"instances": [instance | {"prompt": PROMPT}]},
        {"instances": [{"personImage": instance["personImage"]}]},
        {"instances": [{"productImages": instance["productImages"]}]},
        {"instances": [instance | {"productImages": []}]},
        {"instances": [instance | {"productImages": instance["productImages"] * 2}]},
        person(name="zebra.png"),
        person(mimeType="image/jpeg"),
        person(mimeType="image/webp"),
        person(bytesBase64Encoded="not base64!"),
        person(bytesBase64Encoded=base64.b64encode(picture("red", kind="WEBP")).decode()),
        person(bytesBase64Encoded=base64.b64encode(PERSON[:-30]).decode()),
        person(bytesBase64Encoded=large),
        {"parameters": settings | {"steps": 20}},
        {"parameters": settings | {"sampleCount": 5}},
        {"parameters": settings | {"baseSteps": 0}},
        {"parameters": settings | {"seed": "9"}},
        {"parameters": settings | {"seed": 2**31}},
        {"parameters": settings | {"addWatermark": True}},
        {"parameters": {"seed": 9}},
        {"parameters": settings | {"safetySetting": "block-few"}},
        {"parameters": settings | {"personGeneration": "allow"}},
        {"parameters": settings | {"outputOptions": {"mimeType": "image/webp"}}},
    ):
        assert found.api.post(path, good | wrong, TRY_ON).status == 400, str(wrong)[:200]
    assert found.api.post(path.replace("001", "002"), good, TRY_ON).status == 404
    assert service.paid == []
    assert found.api.post(path, good, TRY_ON).status == 200


def test_googles_own_client_is_understood_and_understands(service: Vertex) -> None:
    client = official(service)

    def picked(data: bytes, kind: str) -> dict[str, Any]:
        return {"image_bytes": data, "mime_type": kind}

    def ask(**config: Any) -> Any:
        source = {
            "person_image": picked(PERSON, "image/png"),
            "product_images": [{"product_image": picked(GARMENT, "image/jpeg")}],
        }
        return client.models.recontext_image(model=TRY_ON, source=source, config=config)

    told = ask(number_of_images=1, base_steps=20, seed=9, add_watermark=False, output_mime_type="image/png")
    assert service.refused == []
    (made,) = told.generated_images
    with Image.open(io.BytesIO(made.image.image_bytes)) as worn:
        assert (made.image.mime_type, worn.format, worn.size) == ("image/png", "PNG", (96, 160))
    (theirs,) = service.calls
    ours = asked(request(Task.VIRTUAL_TRY_ON), DRESSED, Resolved())
    own = {"baseSteps": 20, "seed": 9, "addWatermark": False}
    assert theirs == ours | {"parameters": ours["parameters"] | own}
    ask(number_of_images=2, safety_filter_level="BLOCK_ONLY_HIGH", person_generation="ALLOW_ALL")
    assert (service.refused, service.billed) == ([], Decimal("0.18"))
    service.next.append("blocked as 200")
    (held,) = ask().generated_images
    assert (held.image.image_bytes, "56562880" in held.rai_filtered_reason) == (None, True)
