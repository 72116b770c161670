"""Amazon Bedrock's StartAsyncInvoke with the real botocore over TLS, against an emulator that leaves clips in a real S3 server."""

from __future__ import annotations

import io
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
from easel_emulators.bedrock_async import BLOCKED_LATE, PREFIX, PRICES, RAY, SUBJECTS, BedrockAsync, bedrock_async
from PIL import Image

from easel_api.errors import AmbiguousSubmit, Cancelled, EaselError, InvalidInput, Throttled, Transient, Unsupported
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.backends import bedrock_async as module
from easel_inference.backends.base import Cancellable, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.families import client_of
from easel_inference.backends.polled import Pace, Polled
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

pytestmark = pytest.mark.s3

PROMPT = "a zebra-striped teapot that pours"
PACE = Pace(first=0.02, longest=0.05, patience=20)
PLAN = Resolved(aspect_ratio="16:9", tier="540p", seconds=5)
SUBJECT = SUBJECTS[0]


def picture(kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(target, kind)
    return target.getvalue()


@pytest.fixture(scope="module")
def started(s3_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BedrockAsync]:
    """`s3_server` has the program built before the first test."""
    with bedrock_async(tmp_path_factory.mktemp("aws")) as made:
        yield made


@pytest.fixture
def service(started: BedrockAsync) -> BedrockAsync:
    for kept in (started.next, started.paid, started.calls, started.refused, started.made):
        kept.clear()
    started.billed, started.questions = started.billed * 0, 0
    started.gate.set()
    return started


@pytest.fixture
def setup(service: BedrockAsync, tmp_path: Path) -> Setup:
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
    return Setup("west/ray", ProviderSpec.model_validate(spec), RAY, PLAN, tmp_path, str(service.authority))


def request(**asks: Any) -> GenerationRequest:
    told = {"id": "0001-abc", "task": Task.TEXT_TO_VIDEO, "prompt": PROMPT, "encoding": "mp4"}
    return GenerationRequest(**(told | asks))


class Heard:
    """The handles of a call, and a stop when the first event of a kind comes."""

    def __init__(self) -> None:
        self.handles: list[str] = []
        self.stop = threading.Event()
        self.stops_at = 0

    def __call__(self, message: Message) -> None:
        if isinstance(message.event, Handed):
            self.handles.append(message.event.handle)
            if len(self.handles) == self.stops_at:
                self.stop.set()


def make(setup: Setup, heard: Heard | None = None, inputs: Inputs | None = None, **asks: Any) -> Result:
    heard = heard or Heard()
    return polled(setup).generate(request(**asks), inputs or Inputs(), heard, heard.stop)


def polled(setup: Setup) -> Polled:
    return module.bedrock_async(setup, PACE, settle=0)


def test_the_row_has_a_client_and_an_emulator(setup: Setup) -> None:
    rows = {row.model: row for row in surfaces()["bedrock"].offers if row.family == SUBJECT.family and row.tasks}
    assert set(rows) == {RAY} == set(SUBJECT.rows)
    assert set(rows[RAY].tasks) == {Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO}
    found = client_of(setup)
    assert isinstance(found, Resumable)
    assert not isinstance(found, Cancellable), "the API has no way to cancel"


def test_a_clip_is_asked_for_in_the_models_own_words_and_fetched_from_the_bucket(
    service: BedrockAsync, setup: Setup
) -> None:
    heard = Heard()
    result = make(setup, heard)
    assert service.refused == []
    assert service.calls == [{"prompt": PROMPT, "aspect_ratio": "16:9", "duration": "5s", "resolution": "540p"}]
    assert service.billed == PRICES["540p"] * 5
    assert heard.handles[0].endswith(":0001-abc"), "kept before the call"
    assert heard.handles[-1] in service.made
    finished = result.finished
    assert (finished.media_type, finished.frames, finished.fps) == ("video/mp4", 40, 8)
    assert (finished.width, finished.height) == (228, 128)
    assert (finished.model_digest, finished.device) == (f"bedrock/{RAY}", "Amazon Bedrock, us-west-2")
    assert result.payload == service.bucket.get(service.key(service.made[heard.handles[-1]]))


def test_a_picture_is_the_first_frame(service: BedrockAsync, setup: Setup) -> None:
    for kind, media_type in (("PNG", "image/png"), ("JPEG", "image/jpeg")):
        data = picture(kind)
        make(setup, inputs=Inputs(image=data), task=Task.IMAGE_TO_VIDEO, id=kind)
        source = service.calls[-1]["keyframes"]["frame0"]["source"]
        assert source["media_type"] == media_type
        assert service.calls[-1]["keyframes"].keys() == {"frame0"}
    assert service.refused == []


def test_without_a_plan_the_model_decides(service: BedrockAsync, setup: Setup) -> None:
    make(replace(setup, resolved=Resolved()))
    assert service.calls == [{"prompt": PROMPT}]


FAULTS = [word for word, ends in SUBJECT.ends.items() if ends.reason or word in ("throttled", "asks to wait")]


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_submitted_once(service: BedrockAsync, setup: Setup, word: str) -> None:
    ends = SUBJECT.ends[word]
    expected = (ends.reason, ends.paid) if ends.reason else ("Throttled", 0)
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(setup)
    assert (caught.value.reason, len(service.paid)) == expected, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert bool(service.billed) == bool(service.paid)
    assert not (service.paid and caught.value.retryable), "what was paid for is not asked for again by itself"
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    for secret in ("zebra", *SUBJECT.secret.values(), BLOCKED_LATE):
        assert secret not in shown


@pytest.mark.parametrize("word", [word for word in SUBJECT.ends if word not in FAULTS])
def test_what_passes_is_waited_for(service: BedrockAsync, setup: Setup, word: str) -> None:
    service.next.append(word)
    assert make(setup).finished.frames == 40
    assert (len(service.calls), len(service.paid)) == (1, 1)


def test_a_block_of_the_finished_clip_counts_as_billed(service: BedrockAsync, setup: Setup) -> None:
    service.next.append("blocked result")
    with pytest.raises(PaidBlock):
        make(setup)
    service.next.append("blocked late")
    with pytest.raises(EaselError) as caught:
        make(setup, id="another")
    assert not isinstance(caught.value, PaidBlock)


def test_how_long_to_wait_is_told(service: BedrockAsync, setup: Setup) -> None:
    service.next += ["asks to wait", "throttled"]
    waits = []
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            make(setup)
        waits.append(caught.value.retry_after)
    assert waits == [1.0, None]


def test_a_call_goes_on_without_the_process_that_made_it(service: BedrockAsync, setup: Setup) -> None:
    heard = Heard()
    heard.stops_at = 2
    service.gate.clear()
    with pytest.raises(StillOut):
        make(setup, heard)
    service.gate.set()
    for handle in heard.handles:
        result = polled(setup).resume(handle, request(), Heard(), threading.Event())
        assert result.finished.frames == 40
    assert (len(service.calls), len(service.paid)) == (1, 1)


def test_a_call_whose_answer_was_lost_is_found_by_its_token(service: BedrockAsync, setup: Setup) -> None:
    for number in range(2):
        make(setup, id=f"other-{number}")
    heard = Heard()
    service.next.append("reset")
    assert make(setup, heard).finished.frames == 40
    assert len(service.paid) == 3
    assert all(handle.startswith("token:") for handle in heard.handles), "no ARN ever came"
    for number in range(3):
        make(setup, id=f"later-{number}")
    assert polled(setup).resume(heard.handles[0], request(), Heard(), threading.Event()).finished.frames == 40


def test_a_call_that_was_never_made_is_no_bill(service: BedrockAsync, setup: Setup) -> None:
    make(setup, id="another")
    before = service.questions
    with pytest.raises(Transient) as caught:
        polled(setup).resume("token:1795900000:0001-abc", request(), Heard(), threading.Event())
    assert caught.value.reason == "Transient"
    assert service.questions - before >= 2, "one answer may be too early"
    assert len(service.calls) == 1
    early = module.bedrock_async(setup, Pace(0.02, 0.05, patience=0.2), settle=60)
    with pytest.raises(AmbiguousSubmit):
        early.resume("token:1795900000:0001-abc", request(), Heard(), threading.Event())


def test_one_token_is_one_call(service: BedrockAsync, setup: Setup) -> None:
    make(setup)
    make(setup)
    assert len(service.paid) == 1
    with pytest.raises(EaselError) as caught:
        make(setup, prompt="another zebra")
    assert caught.value.reason == "BackendFault"
    assert "zebra" not in str(caught.value)


def test_what_cannot_be_said_is_refused_before_the_call(service: BedrockAsync, setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="does not know this model"):
        client_of(replace(setup, model="amazon.nova-reel-v1:1"))
    with pytest.raises(Unsupported, match="kept as mp4 alone"):
        make(setup, encoding="gif")
    with pytest.raises(Unsupported, match=r"spec\.prompts"):
        make(setup, Heard(), Inputs(image=picture()), task=Task.IMAGE_TO_VIDEO, prompt="")
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        make(setup, task=Task.IMAGE_TO_VIDEO)
    heard = Heard()
    heard.stop.set()
    with pytest.raises(Cancelled):
        make(setup, heard)
    assert (service.calls, service.refused, heard.handles) == ([], [], [])
    (tmp_path / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(EaselError) as caught:
        client_of(setup)
    assert caught.value.reason == "AuthConfig"


def with_spec(setup: Setup, **fields: Any) -> Setup:
    return replace(setup, spec=setup.spec.model_copy(update=fields))


def test_a_wrong_key_a_stranger_and_nobody_are_told_apart(service: BedrockAsync, setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    for name in SUBJECT.secret:
        (tmp_path / "wrong" / name).write_text("another")
    cases = (
        (replace(setup, authority=None), "EnvironmentFault"),
        (with_spec(setup, endpoint="https://127.0.0.1:9"), "Transient"),
        (replace(setup, secret=tmp_path / "wrong"), "AuthConfig"),
    )
    for changed, reason in cases:
        with pytest.raises(EaselError) as caught:
            make(changed)
        assert caught.value.reason == reason
        assert "another" not in str(caught.value)
    assert service.calls == []


def test_a_bucket_that_cannot_be_asked_leaves_the_clip_where_it_is(service: BedrockAsync, setup: Setup) -> None:
    heard = Heard()
    bucket = setup.spec.bucket
    assert bucket is not None
    away = with_spec(setup, bucket=bucket.model_copy(update={"endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(AmbiguousSubmit, match="has not finished"):
        module.bedrock_async(away, Pace(0.02, 0.05, patience=0.3), 0).generate(
            request(), Inputs(), heard, threading.Event()
        )
    assert polled(setup).resume(heard.handles[-1], request(), Heard(), threading.Event()).finished.frames == 40
    assert len(service.paid) == 1


def test_the_emulator_refuses_what_aws_would(service: BedrockAsync) -> None:
    aws = boto3.client(
        "bedrock-runtime",
        endpoint_url=service.url,
        region_name="us-west-2",
        verify=str(service.authority),
        aws_access_key_id=SUBJECT.secret["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SUBJECT.secret["AWS_SECRET_ACCESS_KEY"],
    )

    def start(told: dict[str, Any], model: str = RAY, uri: str = f"s3://{NAME}/{PREFIX}") -> Any:
        config = {"s3OutputDataConfig": {"s3Uri": uri}}
        return aws.start_async_invoke(modelId=model, modelInput=told, outputDataConfig=config)

    for case in (
        ({"prompt": PROMPT, "seed": 1},),
        ({"prompt": ""},),
        ({"prompt": PROMPT, "duration": "7s"},),
        ({"prompt": PROMPT}, RAY, "s3://elsewhere/"),
        ({"prompt": PROMPT}, "amazon.nova-reel-v1:1"),
    ):
        with pytest.raises(ClientError):
            start(*case)
    assert service.paid == []
    arn = start({"prompt": PROMPT})["invocationArn"]
    told = aws.get_async_invoke(invocationArn=arn)
    assert (told["status"], told["invocationArn"]) == ("Completed", arn)
    assert [each["invocationArn"] for each in aws.list_async_invokes()["asyncInvokeSummaries"]] == [arn]
