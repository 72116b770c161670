"""Replicate's API over TLS, against an emulator that checks every request by each model's own schema."""

from __future__ import annotations

import io
import ssl
import threading
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from easel_emulators.base import WORDS
from easel_emulators.outstanding import ELSEWHERE
from easel_emulators.replicate import (
    FLUX,
    KEY,
    NSFW,
    PRICES,
    SDXL,
    SUBJECTS,
    VERSION,
    WAN,
    Answer,
    Replicate,
    replicate,
)
from PIL import Image
from replicate import Client
from replicate.exceptions import ReplicateError

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    Cancelled,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    ModelRetired,
    Throttled,
    Transient,
    Unsupported,
)
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.artifacts.headers import read_header
from easel_inference.backends.base import Cancellable, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.polled import CancellablePolled, Pace
from easel_inference.backends.replicate_inputs import Schema, worded
from easel_inference.backends.replicate_predictions import polled
from easel_inference.backends.rest import Rest
from easel_inference.generation import Accepted, GenerationRequest, Handed, Inputs, Message, StepDone
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
PACE = Pace(first=0.02, longest=0.05)
COMMUNITY = f"{SDXL}:{VERSION}"
(SUBJECT,) = SUBJECTS
OFFERS = {str(offer["model"]): dict(offer) for offer in SUBJECT.offers}


def png(noise: int = 0) -> bytes:
    target = io.BytesIO()
    (Image.effect_noise((noise, noise), 100) if noise else Image.new("RGB", (64, 64), "white")).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png(), control=png())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Replicate]:
    (tmp_path / "API_KEY").write_text(KEY)
    with replicate(tmp_path) as made:
        yield made


def client(
    service: Replicate,
    model: str = FLUX,
    resolved: Resolved | None = None,
    trusted: bool = True,
    pace: Pace = PACE,
    **offer: Any,
) -> CancellablePolled:
    spec = ProviderSpec.model_validate(
        {
            "family": "ReplicatePredictions",
            "endpoint": service.url,
            "credentials": {"secretRef": {"name": "replicate"}},
            "offers": [OFFERS.get(model, {"model": model, "tasks": ["text-to-image"]}) | offer],
        }
    )
    authority = str(service.authority) if trusted else None
    return polled(
        Setup(f"replicate/{model}", spec, model, resolved or Resolved(), service.authority.parent, authority), pace
    )


def asked(**told: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | told))


def make(
    service: Replicate,
    model: str = FLUX,
    resolved: Resolved | None = None,
    inputs: Inputs = INPUTS,
    offer: dict[str, Any] | None = None,
    **told: Any,
) -> Result:
    made = client(service, model, resolved, **(offer or {}))
    return made.generate(asked(**told), inputs, lambda _: None, threading.Event())


def test_an_official_model_is_asked_in_the_words_of_its_schema(service: Replicate) -> None:
    result = make(service, resolved=Resolved(aspect_ratio="16:9"))
    assert service.calls == [
        {"prompt": PROMPT, "seed": 9, "aspect_ratio": "16:9", "num_outputs": 1, "output_format": "png"}
    ]
    assert service.posted == [f"/v1/models/{FLUX}/predictions"]
    assert (result.finished.width, result.finished.height, result.finished.media_type) == (256, 144, "image/png")
    assert (result.finished.model_digest, result.finished.device) == (f"replicate/{FLUX}", "Replicate")
    assert result.billed is None, "it says how long it ran, and that is no price of this offer"


def test_a_model_of_the_community_is_asked_by_its_version(service: Replicate) -> None:
    make(
        service,
        COMMUNITY,
        Resolved(size=(768, 512)),
        task=Task.INPAINT,
        negative_prompt="blur",
        steps=30,
        guidance_scale=7.5,
        strength=0.6,
    )
    (sent,) = service.calls
    assert service.posted == ["/v1/predictions"]
    for name in ("image", "mask"):
        assert sent.pop(name).startswith("data:image/png;base64,")
    assert sent == {
        "prompt": PROMPT,
        "negative_prompt": "blur",
        "seed": 9,
        "num_inference_steps": 30,
        "guidance_scale": 7.5,
        "prompt_strength": 0.6,
        "width": 768,
        "height": 512,
        "num_outputs": 1,
    }


@pytest.mark.parametrize(("resolved", "scale"), [(Resolved(), 2), (Resolved(scale=4), 4)])
def test_the_scale_that_the_plan_chose_goes_before_the_jobs(service: Replicate, resolved: Resolved, scale: int) -> None:
    inputs = {"image": {"type": "string"}, "scale": {"type": "integer"}, "prompt": {"type": "string"}}
    described = {"components": {"schemas": {"Input": {"properties": inputs}}}}
    told = {
        "family": "ReplicatePredictions",
        "credentials": {"secretRef": {"name": "key"}},
        "offers": [{"model": "a/upscaler", "tasks": ["upscale"], "honours": ["scale"]}],
    }
    setup = Setup("a", ProviderSpec.model_validate(told), "a/upscaler", resolved, service.authority.parent)
    request = GenerationRequest(id="i", task=Task.UPSCALE, prompt="", scale=2)
    assert worded(Schema(described, "a/upscaler"), request, setup) == {"scale": scale}


def test_a_clip_is_asked_for_in_frames(service: Replicate) -> None:
    told = {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4", "frames": 16, "fps": 8}
    result = make(service, WAN, Resolved(aspect_ratio="9:16", tier="480p", seconds=2), **told)
    (sent,) = service.calls
    assert sent == {
        "prompt": PROMPT,
        "seed": 9,
        "num_frames": 16,
        "frames_per_second": 8,
        "aspect_ratio": "9:16",
        "resolution": "480p",
    }
    assert read_header(result.payload).seconds == 2


def test_a_name_of_the_account_takes_the_place_of_the_model(service: Replicate) -> None:
    make(service, "flux", offer={"deployment": FLUX})
    assert service.posted == [f"/v1/models/{FLUX}/predictions"]


def test_large_inputs_are_uploaded(service: Replicate) -> None:
    large = png(800)
    make(service, COMMUNITY, task=Task.IMAGE_TO_IMAGE, inputs=Inputs(image=large))
    assert service.uploads == [len(large)]
    assert service.calls[0]["image"].startswith(f"{service.url}/v1/files/")
    assert service.refused == []


def test_a_model_is_asked_once_what_it_takes(service: Replicate) -> None:
    made = client(service)
    for _ in range(3):
        made.generate(asked(), INPUTS, lambda _: None, threading.Event())
    assert (service.described, len(service.calls)) == (1, 3)


def test_the_time_that_it_ran_is_paid_where_the_offer_is_priced_by_it(service: Replicate) -> None:
    result = make(service, offer={"prices": [{"amount": "0.001", "per": "ComputeSecond"}]})
    assert result.billed == Decimal("0.0025")


@pytest.mark.parametrize("word", SUBJECT.ends)
def test_each_word_ends_as_it_says_and_is_asked_for_once(service: Replicate, word: str) -> None:
    ends, caught = SUBJECT.ends[word], None
    service.next.append(word)
    try:
        make(service)
    except EaselError as error:
        caught = error
    if isinstance(caught, Throttled):
        assert (word, caught.retry_after) in (("throttled", None), ("asks to wait", 1.0))
        assert service.paid == []
        return
    assert (caught.reason if caught else "") == ends.reason, caught
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == ends.paid
    assert service.billed == ends.paid * Decimal(PRICES[FLUX])
    assert service.refused == []
    assert isinstance(caught, PaidBlock) == (word == "blocked late")
    if caught is not None:
        assert not (ends.paid and caught.retryable), "what was paid for is not asked for again by itself"
        said, shown = str(caught), "".join(traceback.format_exception(caught))
        for secret in ("zebra", KEY, ELSEWHERE):
            assert secret not in said
            assert secret not in shown


def test_every_word_is_spoken_for_and_every_offer_has_a_row() -> None:
    assert set(SUBJECT.ends) | set(SUBJECT.never) == set(WORDS)
    assert set(SUBJECT.rows) == set(OFFERS)
    assert all(SUBJECT.rows[model].task in offer["tasks"] for model, offer in OFFERS.items())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(504), "AmbiguousSubmit"),
        (Answer(422, "Invalid version or not permitted"), "ModelRetired"),
        (Answer(403), "AuthConfig"),
        (Answer(302, headers={"Location": "http://169.254.169.254/"}), "BackendFault"),
        (Answer(201, detail="and no name"), "AmbiguousSubmit"),
    ],
)
def test_other_statuses_have_their_names(service: Replicate, answer: Answer, reason: str) -> None:
    service.next.append(answer)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason
    assert len(service.calls) == 1


SENSITIVE = "The input or output was flagged as sensitive. Please try again with different inputs. (E005) (zebra)"
RAN = {"metrics": {"predict_time": 2.0}, "started_at": "2026-11-29T12:00:01Z"}


@pytest.mark.parametrize(
    ("told", "reason", "found"),
    [
        ({"status": "failed", "error": SENSITIVE, "metrics": {"predict_time": None}}, "ContentBlocked", "failed"),
        ({"status": "failed", "error": SENSITIVE} | RAN, "PaidBlock", "failed"),
        ({"status": "failed", "error": NSFW, "started_at": "2026-11-29T12:00:01Z"}, "PaidBlock", "failed"),
        ({"status": "failed", "error": "zebra (E1001)"} | RAN, "BilledBadOutput", "E1001"),
        ({"status": "failed", "error": "CUDA out of memory: zebra"} | RAN, "BilledBadOutput", "failed"),
        ({"status": "canceled"} | RAN, "BilledBadOutput", "canceled"),
        ({"status": "canceled"}, "BackendFault", "canceled"),
        ({"status": "aborted"}, "BackendFault", "aborted"),
        ({"status": "succeeded", "data_removed": True} | RAN, "BilledBadOutput", "its data was removed"),
        ({"status": "succeeded", "output": "http://127.0.0.1/a"} | RAN, "BilledBadOutput", "no https URL of a host"),
    ],
)
def test_what_ran_is_billed(service: Replicate, told: dict[str, Any], reason: str, found: str) -> None:
    service.next.append(told)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert (type(caught.value).__name__, caught.value.found) == (reason, found)
    assert "zebra" not in "".join(traceback.format_exception(caught.value))


def test_the_handle_is_kept_before_the_first_question_and_progress_is_told(service: Replicate) -> None:
    service.next.append("slow poll")
    events: list[Message] = []
    client(service).generate(asked(), INPUTS, events.append, threading.Event())
    assert [type(each.event) for each in events][:2] == [Accepted, Handed]
    assert {each.event.step for each in events if isinstance(each.event, StepDone)} == {40}
    (made,) = service.predictions.values()
    assert [each.event.handle for each in events if isinstance(each.event, Handed)] == [made.name]


def test_a_call_goes_on_by_its_handle_in_another_process(service: Replicate) -> None:
    service.gate.clear()
    stop, handles = threading.Event(), []

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    with pytest.raises(StillOut):
        client(service).generate(asked(), INPUTS, hear, stop)
    service.gate.set()
    fresh = client(service)
    assert isinstance(fresh, Resumable)
    result = fresh.resume(handles[0], asked(), lambda _: None, threading.Event())
    assert result.finished.media_type == "image/png"
    assert (len(service.calls), len(service.paid), service.described) == (1, 1, 1)


def test_a_cancel_reaches_the_api_and_what_ran_is_billed(service: Replicate) -> None:
    service.gate.clear()
    made, handles = client(service), []
    assert isinstance(made, Cancellable)

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            made.cancel(handles[0])

    with pytest.raises(EaselError) as caught:
        made.generate(asked(), INPUTS, hear, threading.Event())
    assert caught.value.reason == "BilledBadOutput"
    assert service.cancelled == handles
    with pytest.raises(ModelRetired):
        made.cancel("unknown")


def test_a_prediction_that_never_ends_is_given_up(service: Replicate) -> None:
    service.gate.clear()
    with pytest.raises(AmbiguousSubmit):
        client(service, pace=Pace(0.02, 0.05, patience=0.1)).generate(
            asked(), INPUTS, lambda _: None, threading.Event()
        )
    assert len(service.calls) == 1


def test_a_wrong_key_and_a_stranger_are_told_apart(service: Replicate) -> None:
    (service.authority.parent / "API_KEY").write_text("another")
    with pytest.raises(AuthConfig) as caught:
        make(service)
    assert "another" not in str(caught.value)
    with pytest.raises(EnvironmentFault, match="not trusted"):
        client(service, trusted=False).generate(asked(), INPUTS, lambda _: None, threading.Event())
    assert service.calls == []


def test_nothing_was_sent_where_nobody_listens(service: Replicate) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(Transient) as caught:
        make(service)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("model", "offer", "told", "resolved", "error"),
    [
        (FLUX, {"honours": ["negative"]}, {"negative_prompt": "blur"}, Resolved(), Unsupported),
        (FLUX, {"honours": ["guidanceScale"]}, {}, Resolved(), Unsupported),
        (FLUX, {"honours": ["quality"]}, {"quality": "Draft"}, Resolved(), Unsupported),
        (FLUX, {"honours": ["steps"]}, {"steps": 5}, Resolved(), Unsupported),
        (FLUX, {}, {}, Resolved(size=(512, 512)), Unsupported),
        (FLUX, {}, {}, Resolved(tier="1K"), Unsupported),
        (FLUX, {}, {}, Resolved(aspect_ratio="2:1"), Unsupported),
        (FLUX, {}, {"prompt": ""}, Resolved(), InvalidInput),
        (FLUX, {}, {"task": Task.IMAGE_TO_IMAGE}, Resolved(), Unsupported),
        (WAN, {}, {"task": Task.TEXT_TO_VIDEO, "encoding": "gif"}, Resolved(), Unsupported),
        (WAN, {"honours": ["seed"]}, {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4"}, Resolved(seconds=2), Unsupported),
        (COMMUNITY, {}, {"task": Task.INPAINT, "inputs": Inputs(image=png())}, Resolved(), InvalidInput),
        (COMMUNITY, {}, {"task": Task.IMAGE_TO_IMAGE, "inputs": Inputs(image=b"%PDF")}, Resolved(), Unsupported),
        ("flux-schnell", {}, {}, Resolved(), Unsupported),
        ("nobody/nothing", {}, {}, Resolved(), ModelRetired),
    ],
)
def test_what_cannot_be_said_is_refused_before_the_call(
    service: Replicate,
    model: str,
    offer: dict[str, Any],
    told: dict[str, Any],
    resolved: Resolved,
    error: type[EaselError],
) -> None:
    with pytest.raises(EaselError) as caught:
        make(service, model, resolved, offer=offer, **told)
    assert type(caught.value) is error, caught.value
    assert (service.calls, service.refused, service.uploads) == ([], [], [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(504), "Transient"),
        (Answer(408), "Transient"),
        (Answer(429), "Throttled"),
        (Answer(401), "AuthConfig"),
    ],
)
def test_what_costs_nothing_may_fail_for_nothing(service: Replicate, answer: Answer, reason: str) -> None:
    made = client(service, COMMUNITY)
    request, inputs = asked(task=Task.IMAGE_TO_IMAGE), Inputs(image=png(800))
    for _ in ("what the model takes", "the upload of its input"):
        service.free.append(answer)
        with pytest.raises(EaselError) as caught:
            made.generate(request, inputs, lambda _: None, threading.Event())
        assert caught.value.reason == reason
        made.generate(asked(), INPUTS, lambda _: None, threading.Event())  # by now it knows what the model takes
    assert (service.described, service.uploads) == (2, [])
    assert all("image" not in call for call in service.calls)


def test_a_stopped_item_is_not_paid(service: Replicate) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(service).generate(asked(), INPUTS, lambda _: None, stop)
    assert (service.calls, service.described) == ([], 0)


def test_models_that_say_nothing_or_take_lists_of_pictures() -> None:
    with pytest.raises(EnvironmentFault, match="does not say"):
        Schema({}, FLUX)
    parts = {"Input": {"properties": {"prompt": {}, "image_input": {"type": "array"}, "q": {"enum": [1, 2]}}}}
    schema = Schema({"components": {"schemas": parts}}, "google/nano-banana")
    assert schema.is_list("image_input")
    assert schema.choices("q") == (1, 2)
    assert not schema.is_list("prompt")


def test_the_official_sdk_drives_the_emulator(service: Replicate) -> None:
    transport = httpx.HTTPTransport(verify=ssl.create_default_context(cafile=str(service.authority)))
    sdk = Client(api_token=KEY, base_url=service.url, transport=transport)
    version = sdk.models.get(FLUX).latest_version
    assert version is not None
    assert "prompt" in version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert sdk.models.get(SDXL).versions.get(VERSION).id == VERSION
    service.next.extend(["slow poll", "failed", "blocked late"])
    prediction = sdk.models.predictions.create(FLUX, {"prompt": PROMPT}, wait=False)
    assert prediction.status == "starting"
    statuses = []
    for _ in range(4):
        prediction.reload()
        statuses.append(prediction.status)
    assert statuses == ["starting", "processing", "processing", "succeeded"]
    assert prediction.output == [f"{service.url}/files/{prediction.id}/1"]
    for error in ("interrupted", "NSFW"):
        ended = sdk.predictions.create(version=VERSION, input={"prompt": PROMPT}, wait=False)
        ended.reload()
        assert ended.status == "failed"
        assert error in str(ended.error)
    stopped = sdk.predictions.create(version=VERSION, input={"prompt": PROMPT}, wait=False)
    stopped.cancel()
    assert sdk.predictions.get(stopped.id).status == "canceled"
    uploaded = sdk.files.create(io.BytesIO(png()), filename="a.png", content_type="image/png")
    assert (uploaded.size, uploaded.content_type) == (len(png()), "image/png")
    with pytest.raises(ReplicateError):
        sdk.models.predictions.create(FLUX, {"prompt": PROMPT, "width": 512}, wait=False)


def test_the_emulator_refuses_what_the_service_would(service: Replicate) -> None:
    api = Rest("it", service.url, {"Authorization": f"Bearer {KEY}"}, str(service.authority))
    path, good = f"/v1/models/{FLUX}/predictions", {"prompt": PROMPT}
    for body in (
        {"input": good | {"width": 512}},
        {"input": good | {"seed": "1"}},
        {"input": good | {"aspect_ratio": "2:1"}},
        {"input": {}},
        {"input": good, "model": FLUX},
        good,
    ):
        assert api.post(path, body, "it").status == 422, body
    assert api.post("/v1/predictions", {"version": "0" * 64, "input": good}, "it").status == 422
    assert api.post(f"/v1/models/{SDXL}/predictions", {"input": good}, "it").status == 404
    assert api.post(path, {"input": good}, "it", {"Prefer": "wait"}).status == 422
    assert service.paid == []
    assert api.post(path, {"input": good}, "it").status == 201
    assert service.paid == [FLUX]
