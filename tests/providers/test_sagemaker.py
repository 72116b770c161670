"""Amazon SageMaker's endpoints with the real botocore over TLS, against an emulator whose asynchronous results lie in a real S3 server."""

from __future__ import annotations

import base64
import io
import json
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from easel_emulators.account_bucket import NAME
from easel_emulators.sagemaker import CLIPS, LARGEST, PICTURES, PREFIX, PRICE, SECOND, SUBJECTS, SageMaker, sagemaker
from PIL import Image

from easel_api.errors import AmbiguousSubmit, BilledBadOutput, Cancelled, EaselError, InvalidInput, Unsupported
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.backends import sagemaker as module
from easel_inference.backends.base import Cancellable, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.custom_models import read
from easel_inference.backends.families import client_of
from easel_inference.backends.polled import Pace
from easel_inference.generation import Expand, GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings("ignore:Exception.Fault. with code")]
"""moto warns of errors that all services of AWS have and none describes."""

PROMPT = "a zebra-striped teapot that pours"
PACE = Pace(first=0.02, longest=0.05, patience=20)
SUBJECT = SUBJECTS[0]
CLIP: dict[str, Any] = {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4", "frames": 32, "fps": 8}


def png(side: int = 64, *, noise: bool = False) -> bytes:
    target = io.BytesIO()
    picture = Image.effect_noise((side, side), 90) if noise else Image.new("RGB", (side, side), "white")
    picture.save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png(32), control=png(48))


@pytest.fixture(scope="module")
def started(s3_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    """`s3_server` has the program built before the first test."""
    with sagemaker(tmp_path_factory.mktemp("aws")) as made:
        yield made


@pytest.fixture
def service(started: SageMaker) -> SageMaker:
    for kept in (started.next, started.paid, started.calls, started.refused, started.names):
        kept.clear()
    started.billed, started.form = started.billed * 0, "image"
    started.gate.set()
    return started


@pytest.fixture
def pictures(service: SageMaker, tmp_path: Path) -> Setup:
    for name, value in SUBJECT.secret.items():
        (tmp_path / name).write_text(value)
    spec = {
        "family": SUBJECT.family,
        "region": SUBJECT.spec["region"],
        "endpoint": service.url,
        "bucket": {"name": NAME, "prefix": PREFIX, "endpoint": service.places["s3"]},
        "credentials": {"secretRef": {"name": "aws"}},
        "offers": SUBJECT.offers,
    }
    found = ProviderSpec.model_validate(spec)
    return Setup("own/sdxl", found, "team/sdxl", Resolved(size=(256, 128)), tmp_path, str(service.authority))


@pytest.fixture
def clips(pictures: Setup) -> Setup:
    return replace(pictures, name="own/clips", model="team/clips", resolved=Resolved(seconds=4))


def with_spec(setup: Setup, **fields: Any) -> Setup:
    return replace(setup, spec=setup.spec.model_copy(update=fields))


def with_offer(setup: Setup, **fields: Any) -> Setup:
    offers = [each.model_copy(update=fields) if each is setup.offer else each for each in setup.spec.offers]
    return with_spec(setup, offers=offers)


number = iter(range(10**6))


def request(**asks: Any) -> GenerationRequest:
    """Each with a name of its own, since results are named by it."""
    told = {"id": f"uid.0001-abc.{next(number)}", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9}
    return GenerationRequest(**(told | asks))


class Heard:
    """The handles of a call, and a stop when the first one comes."""

    def __init__(self, *, stops: bool = False) -> None:
        self.handles: list[str] = []
        self.stop, self.stops = threading.Event(), stops

    def __call__(self, message: Message) -> None:
        if isinstance(message.event, Handed):
            self.handles.append(message.event.handle)
            if self.stops:
                self.stop.set()


def make(setup: Setup, heard: Heard | None = None, inputs: Inputs = INPUTS, pace: Pace = PACE, **asks: Any) -> Result:
    heard = heard or Heard()
    return module.SageMaker(setup, pace).generate(request(**asks), inputs, heard, heard.stop)


def test_every_example_has_a_client(pictures: Setup, clips: Setup) -> None:
    assert set(SUBJECT.rows) == {pictures.model, clips.model} == {offer["model"] for offer in SUBJECT.offers}
    for setup in (pictures, clips):
        found = client_of(setup)
        assert isinstance(found, Resumable)
        assert not isinstance(found, Cancellable), "the API has no way to cancel"


def test_a_picture_comes_in_the_answer(service: SageMaker, pictures: Setup) -> None:
    heard = Heard()
    result = make(pictures, heard, negative_prompt="blur", steps=8, guidance_scale=2.5)
    asked = {
        "negative_prompt": "blur", "seed": 9, "num_inference_steps": 8, "guidance_scale": 2.5, "width": 256, "height": 128,
    }  # fmt: skip
    assert service.calls == [{"inputs": PROMPT, "parameters": asked}]
    assert (service.refused, service.paid, service.billed) == ([], [PICTURES], PRICE)
    assert heard.handles == []
    finished = result.finished
    assert (finished.width, finished.height, finished.seed) == (256, 128, 9)
    assert (finished.model_digest, finished.device) == ("sagemaker/team/sdxl", "Amazon SageMaker, us-west-2")


def test_only_what_the_offer_honours_is_sent(service: SageMaker, pictures: Setup) -> None:
    plain = replace(with_offer(pictures, honours=[]), resolved=Resolved())
    make(plain, negative_prompt="blur", steps=8, strength=0.5, reproducible=True)
    assert service.calls == [{"inputs": PROMPT, "parameters": {}}]


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        (Task.IMAGE_TO_IMAGE, {"image": INPUTS.image}),
        (Task.INPAINT, {"image": INPUTS.image, "mask_image": INPUTS.mask}),
        (Task.CONTROL_TO_IMAGE, {"control_image": INPUTS.control}),
    ],
)
def test_each_task_sends_the_inputs_that_it_takes(
    service: SageMaker, pictures: Setup, task: Task, parts: dict[str, bytes]
) -> None:
    make(pictures, task=task, strength=0.6)
    told = service.calls[0]["parameters"]
    assert {name: base64.b64decode(told[name]) for name in told if "image" in name} == parts
    assert told["strength"] == 0.6


@pytest.mark.parametrize("form", ["image", "generated_image", "bare", "raw"])
def test_every_form_of_an_answer_is_read(service: SageMaker, pictures: Setup, form: str) -> None:
    service.form = form
    assert make(pictures).finished.width == 256


def test_a_clip_is_fetched_from_where_sagemaker_leaves_it(service: SageMaker, clips: Setup) -> None:
    heard = Heard()
    result = make(clips, heard, **CLIP)
    assert service.calls == [
        {"inputs": PROMPT, "parameters": {"seed": 9, "num_inference_steps": 20, "num_frames": 32, "fps": 8}}
    ]
    assert (service.refused, service.paid, service.billed) == ([], [CLIPS], SECOND * 4)
    (handle,) = heard.handles
    assert json.loads(handle).keys() == {"output", "failure"}
    assert (result.finished.media_type, result.finished.frames) == ("video/mp4", 32)


def test_inputs_too_large_for_the_call_go_by_the_bucket(service: SageMaker, pictures: Setup, clips: Setup) -> None:
    large = Inputs(image=png(400, noise=True))
    make(clips, inputs=large, **CLIP | {"task": Task.IMAGE_TO_VIDEO})
    assert f"{PREFIX}inputs/{service.names[-1]}.json" in service.bucket.listed()
    with pytest.raises(Unsupported, match="bucket"):
        make(with_spec(clips, bucket=None), inputs=large, **CLIP | {"task": Task.IMAGE_TO_VIDEO})
    huge = Inputs(image=png() + b"\0" * LARGEST)
    assert make(pictures, inputs=huge, task=Task.IMAGE_TO_IMAGE).finished.media_type == "image/png"
    assert len(service.paid) == 2
    assert service.refused == []


SYNC = {
    "throttled": ("Throttled", 0),
    "unavailable": ("Transient", 0),
    "internal": ("Transient", 0),
    "dependency": ("Transient", 0),
    "not ready": ("CapacityQueued", 0),
    "denied": ("AuthConfig", 0),
    "retired": ("ModelRetired", 0),
    "invalid": ("InvalidInput", 0),
    "blocked": ("ContentBlocked", 0),
    "model error": ("BackendFault", 0),
    "timed out": ("AmbiguousSubmit", 0),
    "blocked as 200": ("ContentBlocked", 1),
    "told": ("BilledBadOutput", 1),
    "reset": ("AmbiguousSubmit", 1),
    "empty": ("BilledBadOutput", 1),
    "cut": ("BilledBadOutput", 1),
    "words": ("BilledBadOutput", 1),
    "huge": ("BilledBadOutput", 1),
}
ASYNC = {word: (ends.reason, ends.paid) for word, ends in SUBJECT.ends.items() if ends.reason}
ASYNC["throttled"] = ("Throttled", 0)


@pytest.mark.parametrize("word", SYNC)
def test_each_fault_of_an_answer_has_its_name_and_is_asked_for_once(
    service: SageMaker, pictures: Setup, word: str
) -> None:
    faulty(service, pictures, word, SYNC[word])


@pytest.mark.parametrize("word", ASYNC)
def test_each_fault_of_a_clip_has_its_name_and_is_submitted_once(service: SageMaker, clips: Setup, word: str) -> None:
    faulty(service, clips, word, ASYNC[word], **CLIP)


def faulty(service: SageMaker, setup: Setup, word: str, expected: tuple[str, int], **asks: Any) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(setup, **asks)
    assert (caught.value.reason, len(service.paid)) == expected, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert isinstance(caught.value, PaidBlock) == (word == "blocked as 200")
    assert not (service.paid and caught.value.retryable), "what was paid for is not asked for again by itself"
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    for secret in ("zebra", "must not", *SUBJECT.secret.values()):
        assert secret not in shown


@pytest.mark.parametrize("word", ["slow", "slow poll"])
def test_what_takes_its_time_is_waited_for(service: SageMaker, clips: Setup, word: str) -> None:
    service.next.append(word)
    assert make(clips, **CLIP).finished.frames == 32
    assert (len(service.calls), len(service.paid)) == (1, 1)


def test_a_clip_goes_on_without_the_process_that_asked_for_it(service: SageMaker, clips: Setup) -> None:
    heard = Heard(stops=True)
    service.gate.clear()
    with pytest.raises(StillOut):
        make(clips, heard, **CLIP)
    service.gate.set()
    result = module.SageMaker(clips, PACE).resume(heard.handles[0], request(**CLIP), Heard(), threading.Event())
    assert result.finished.frames == 32
    assert (len(service.calls), len(service.paid)) == (1, 1)


def test_a_bucket_that_cannot_be_asked_leaves_the_clip_where_it_is(service: SageMaker, clips: Setup) -> None:
    bucket, heard = clips.spec.bucket, Heard()
    assert bucket is not None
    away = with_spec(clips, bucket=bucket.model_copy(update={"endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(AmbiguousSubmit, match="has not finished"):
        make(away, heard, pace=Pace(0.02, 0.05, patience=0.3), **CLIP)
    result = module.SageMaker(clips, PACE).resume(heard.handles[0], request(**CLIP), Heard(), threading.Event())
    assert result.finished.frames == 32
    with pytest.raises(EaselError) as caught:
        make(away, inputs=Inputs(image=png(400, noise=True)), **CLIP | {"task": Task.IMAGE_TO_VIDEO})
    assert caught.value.reason == "Transient", "what the call needs was not put there, so that it was not made"
    assert len(service.paid) == 1


def test_what_cannot_be_said_is_refused_before_the_call(service: SageMaker, pictures: Setup, clips: Setup) -> None:
    cases: list[tuple[Setup, dict[str, Any]]] = [
        (pictures, {"task": Task.VIDEO_TO_VIDEO}),
        (pictures, {"task": Task.OUTPAINT, "expand": Expand(left=64)}),
        (replace(pictures, resolved=Resolved(aspect_ratio="16:9")), {}),
        (replace(pictures, resolved=Resolved(tier="2K")), {}),
        (with_offer(pictures, honours=["reproducible"]), {"reproducible": True}),
        (with_offer(pictures, honours=["maskColours"]), {"task": Task.INPAINT, "mask_colours": ("#ff0000",)}),
        (clips, CLIP | {"encoding": "gif"}),
        (with_offer(clips, honours=["frames"]), CLIP),
    ]
    for setup, asks in cases:
        with pytest.raises(Unsupported):
            make(setup, **asks)
    for part, task in (("image", Task.IMAGE_TO_IMAGE), ("mask", Task.INPAINT), ("control", Task.CONTROL_TO_IMAGE)):
        with pytest.raises(InvalidInput, match=rf"spec\.inputs\.{part}"):
            make(pictures, inputs=replace(INPUTS, **{part: None}), task=task)
    for setup, asks in ((pictures, {}), (clips, CLIP)):
        heard = Heard()
        heard.stop.set()
        with pytest.raises(Cancelled):
            make(setup, heard, **asks)
    assert (service.calls, service.refused) == ([], [])


def test_a_wrong_key_a_stranger_and_nobody_are_told_apart(service: SageMaker, pictures: Setup, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    for name in SUBJECT.secret:
        (tmp_path / "wrong" / name).write_text("another")
    cases = (
        (replace(pictures, authority=None), "EnvironmentFault"),
        (with_spec(pictures, endpoint="https://127.0.0.1:9"), "Transient"),
        (replace(pictures, secret=tmp_path / "wrong"), "AuthConfig"),
        (with_offer(pictures, deployment="gone"), "ModelRetired"),
    )
    for changed, reason in cases:
        with pytest.raises(EaselError) as caught:
            make(changed)
        assert caught.value.reason == reason
        assert "another" not in str(caught.value)
    assert service.calls == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b'{"image": 7}', b'{"image": "%%%"}', b'{"image": ""}', b'["", "x"]', b'""']
)
def test_an_answer_without_a_result_is_none(body: bytes) -> None:
    with pytest.raises(BilledBadOutput):
        read("application/json", body, "it")


def test_a_picture_that_is_called_json_is_a_picture() -> None:
    assert read("application/json", png(), "it") == png()
    assert read("", png(), "it") == png()


def test_a_name_is_never_too_long(service: SageMaker, pictures: Setup) -> None:
    make(pictures, id="x" * 128)
    assert len(service.names[0]) == 64
    assert service.refused == []


def test_the_emulator_refuses_what_sagemaker_would(service: SageMaker) -> None:
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=service.url,
        region_name="us-west-2",
        verify=str(service.authority),
        aws_access_key_id=SUBJECT.secret["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SUBJECT.secret["AWS_SECRET_ACCESS_KEY"],
    )
    body, as_json = json.dumps({"inputs": PROMPT, "parameters": {}}), {"ContentType": "application/json"}

    def late(**told: Any) -> Any:
        return runtime.invoke_endpoint_async(**({"EndpointName": CLIPS, "Body": body} | as_json | told))

    def now(**told: Any) -> Any:
        return runtime.invoke_endpoint(**({"EndpointName": PICTURES, "Body": body} | as_json | told))

    for call, told in (
        (now, {"Body": b"x" * (LARGEST + 1)}),
        (now, {"InferenceId": "x" * 65}),
        (now, {"EndpointName": CLIPS}),
        (now, {"Body": json.dumps({"inputs": PROMPT, "parameters": {"cfg": 1}})}),
        (now, {"ContentType": "text/plain"}),
        (late, {"Body": b"x" * 128_001}),
        (late, {"InputLocation": f"s3://{NAME}/nothing"}),
        (late, {"InvocationTimeoutSeconds": 3601}),
    ):
        with pytest.raises(ClientError):
            call(**told)
    assert service.paid == []
    assert json.loads(now()["Body"].read()).keys() == {"image"}
    told = late(InferenceId="named")
    assert (told["InferenceId"], told["OutputLocation"]) == ("named", f"s3://{NAME}/results/named.out")
