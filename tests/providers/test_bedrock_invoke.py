"""Stability AI's models on Bedrock, by botocore over TLS, against an emulator that checks every request."""

from __future__ import annotations

import base64
import io
import json
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, Fault
from easel_emulators.bedrock_bodies import BODIES
from PIL import Image

from easel_api.errors import (
    AmbiguousSubmit,
    Cancelled,
    ContentBlocked,
    EaselError,
    InvalidInput,
    Throttled,
    Unsupported,
)
from easel_api.tasks import Task
from easel_inference.backends.aws import AwsAccount, explained
from easel_inference.backends.base import GAVE_UP, Result
from easel_inference.backends.bedrock_invoke import BedrockInvoke, shape
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import Expand, GenerationRequest, Inputs, Message
from easel_inference.routing.request import Resolved

CORE = "stability.stable-image-core-v1:1"
PROMPT = "a zebra-striped teapot"


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png("black"), control=png("grey"), style=png("navy"))
TASKS: dict[str, tuple[Task, dict[str, Any]]] = {
    CORE: (Task.TEXT_TO_IMAGE, {"negative_prompt": "blur"}),
    "stability.stable-image-ultra-v1:1": (Task.TEXT_TO_IMAGE, {}),
    "stability.sd3-5-large-v1:0": (Task.IMAGE_TO_IMAGE, {"strength": 0.6}),
    "us.stability.stable-image-inpaint-v1:0": (Task.INPAINT, {}),
    "us.stability.stable-outpaint-v1:0": (Task.OUTPAINT, {"expand": Expand(left=64, bottom=32)}),
    "us.stability.stable-image-control-sketch-v1:0": (Task.CONTROL_TO_IMAGE, {}),
    "us.stability.stable-image-control-structure-v1:0": (Task.CONTROL_TO_IMAGE, {}),
    "us.stability.stable-image-erase-object-v1:0": (Task.ERASE, {"prompt": ""}),
    "us.stability.stable-image-search-replace-v1:0": (Task.SEARCH_AND_REPLACE, {"search_prompt": "the cup"}),
    "us.stability.stable-image-search-recolor-v1:0": (Task.SEARCH_AND_RECOLOR, {"search_prompt": "the cup"}),
    "us.stability.stable-image-remove-background-v1:0": (Task.REMOVE_BACKGROUND, {"prompt": ""}),
    "us.stability.stable-image-style-guide-v1:0": (Task.STYLE_TO_IMAGE, {}),
    "us.stability.stable-style-transfer-v1:0": (Task.STYLE_TRANSFER, {}),
    "us.stability.stable-fast-upscale-v1:0": (Task.UPSCALE, {"prompt": ""}),
    "us.stability.stable-conservative-upscale-v1:0": (Task.UPSCALE, {}),
    "us.stability.stable-creative-upscale-v1:0": (Task.UPSCALE, {}),
}
SEEDLESS = {"us.stability.stable-image-remove-background-v1:0", "us.stability.stable-fast-upscale-v1:0"}


def account(aws: Bedrock, **changes: Any) -> AwsAccount:
    found = AwsAccount(REGION, aws.url, lambda: (ACCESS_KEY, SECRET_KEY, None), str(aws.authority))
    return replace(found, **changes)


def make(
    aws: Bedrock, model: str = CORE, resolved: Resolved | None = None, who: AwsAccount | None = None, **asks: Any
) -> Result:
    heard: list[Message] = []
    request = GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))
    backend = BedrockInvoke("bedrock-west", who or account(aws), model, resolved or Resolved())
    result = backend.generate(request, INPUTS, heard.append, threading.Event())
    assert [message.event.kind for message in heard] == ["accepted"]
    return result


@pytest.mark.parametrize("model", TASKS)
def test_every_model_is_asked_in_its_own_words(aws: Bedrock, model: str) -> None:
    task, asks = TASKS[model]
    result = make(aws, model, task=task, **asks)
    assert aws.refused == []
    assert aws.paid == [model]
    (sent,) = aws.calls
    assert sent.get("prompt", "") == asks.get("prompt", PROMPT)
    assert sent.get("seed") == (None if model in SEEDLESS else 9)
    assert {sent.get(name, "the cup") for name in ("search_prompt", "select_prompt")} == {"the cup"}
    if "expand" in asks:
        assert (sent["left"], sent["right"], sent["up"], sent["down"]) == (64, 0, 0, 32)
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (result.finished.width, result.finished.height)


def test_every_model_that_is_spoken_to_is_served_and_has_a_schema() -> None:
    rows = [row for row in surfaces()["bedrock"].offers if row.family == "BedrockInvoke"]
    said = {row.model: row.tasks for row in rows if row.tasks}
    assert set(BODIES) == {row.model for row in rows if shape(row.model)} == set(TASKS) == set(said)
    assert all(TASKS[model][0] in tasks for model, tasks in said.items())


@pytest.mark.parametrize(
    ("encoding", "media_type", "format_"),
    [("png", "image/png", "PNG"), ("jpeg", "image/jpeg", "JPEG"), ("webp", "image/webp", "WEBP")],
)
def test_the_picture_comes_in_the_encoding_that_was_asked_for_and_is_measured(
    aws: Bedrock, encoding: str, media_type: str, format_: str
) -> None:
    result = make(aws, resolved=Resolved(aspect_ratio="16:9"), encoding=encoding)
    assert (result.finished.width, result.finished.height) == (256, 144)
    assert result.finished.media_type == media_type
    assert Image.open(io.BytesIO(result.payload)).format == format_
    assert result.finished.model_digest == f"bedrock/{CORE}"
    assert result.backend == "bedrock-west"


FAULTS: list[tuple[str, Any, str, int]] = [
    ("throttled", Fault("ThrottlingException"), "Throttled", 0),
    ("not ready", Fault("ModelNotReadyException"), "CapacityQueued", 0),
    ("unavailable", Fault("ServiceUnavailableException"), "Transient", 0),
    ("gateway", "gateway", "AmbiguousSubmit", 1),
    ("internal", Fault("InternalServerException"), "Transient", 0),
    ("timeout", Fault("ModelTimeoutException"), "AmbiguousSubmit", 0),
    ("model error", Fault("ModelErrorException"), "BackendFault", 0),
    ("quota", Fault("ServiceQuotaExceededException"), "QuotaExhausted", 0),
    ("denied", Fault("AccessDeniedException"), "AuthConfig", 0),
    ("end of life", Fault("ResourceNotFoundException"), "ModelRetired", 0),
    ("invalid", Fault("ValidationException", f"blockSize is wrong: {PROMPT}"), "InvalidInput", 0),
    (
        "blocked by message",
        Fault("ValidationException", f"{PROMPT} was blocked by our content filters"),
        "ContentBlocked",
        0,
    ),
    ("blocked as 200", "blocked as 200", "ContentBlocked", 0),
    ("inference error", "error", "BackendFault", 0),
    ("200 without a picture", "empty", "BilledBadOutput", 1),
    ("200 with words", "words", "BilledBadOutput", 1),
    ("truncated", "cut", "BilledBadOutput", 1),
    ("100 MB", "huge", "BilledBadOutput", 1),
    ("reset behind the request", "reset", "AmbiguousSubmit", 1),
]


@pytest.mark.parametrize(("fault", "reason", "paid"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_each_fault_has_its_name_and_is_asked_for_once(aws: Bedrock, fault: Any, reason: str, paid: int) -> None:
    aws.next.append(fault)
    with pytest.raises(EaselError) as caught:
        make(aws)
    assert caught.value.reason == reason, str(caught.value)
    assert len(aws.calls) == 1, "nothing asks twice behind our back"
    assert len(aws.paid) == paid
    said = str(caught.value)
    assert not (paid and caught.value.retryable), "what was paid for is not asked for again by itself"
    assert CORE in said or reason in ("AuthConfig", "BilledBadOutput"), said
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("zebra", SECRET_KEY):
        assert secret not in said
        assert secret not in shown


@pytest.mark.parametrize("status", sorted(GAVE_UP))
def test_a_gateway_that_gave_up_may_have_passed_a_paid_call_on(status: int) -> None:
    """It knows no code of AWS. What costs nothing may be asked again."""
    told = {"Error": {"Code": str(status), "Message": PROMPT}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(told, "InvokeModel")  # type: ignore[arg-type] # what botocore itself leaves out, so do we
    assert [explained(error, CORE, free=free).reason for free in (False, True)] == ["AmbiguousSubmit", "Transient"]
    assert PROMPT not in str(explained(error, CORE))


def test_a_picture_whose_seed_is_none_is_kept(aws: Bedrock) -> None:
    aws.next.append("seedless")
    assert make(aws).finished.seed == 9, "the one that was asked for"


def test_both_pictures_of_a_style_transfer_are_where_they_belong(aws: Bedrock) -> None:
    make(aws, "us.stability.stable-style-transfer-v1:0", task=Task.STYLE_TRANSFER, prompt="")
    (sent,) = aws.calls
    named = {name: base64.b64decode(sent[name]) for name in ("init_image", "style_image")}
    assert named == {"init_image": INPUTS.image, "style_image": INPUTS.style}
    assert "prompt" not in sent


def test_how_long_to_wait_is_told(aws: Bedrock) -> None:
    aws.next.append(Fault("ThrottlingException", **{"Retry-After": "17"}))
    with pytest.raises(Throttled) as caught:
        make(aws)
    assert caught.value.retry_after == 17.0
    aws.next.append(Fault("ThrottlingException"))
    with pytest.raises(Throttled) as caught:
        make(aws)
    assert caught.value.retry_after is None


def test_nothing_was_sent_where_nobody_listens(aws: Bedrock) -> None:
    with pytest.raises(EaselError) as caught:
        make(aws, who=account(aws, endpoint="https://127.0.0.1:9"))
    assert caught.value.reason == "Transient"
    assert caught.value.retryable


def test_a_wrong_key_and_a_stranger_are_told_apart(aws: Bedrock, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        make(aws, who=account(aws, keys=lambda: (ACCESS_KEY, "another", None)))
    assert caught.value.reason == "AuthConfig"
    assert "another" not in str(caught.value)
    assert aws.calls == []
    with pytest.raises(EaselError) as caught:
        make(aws, who=account(aws, authority=None))
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"


@pytest.mark.parametrize(
    ("model", "asks", "error"),
    [
        (CORE, {"seed": 4294967295}, Unsupported),
        (
            "us.stability.stable-image-inpaint-v1:0",
            {"task": Task.INPAINT, "mask_colours": ("#ff0000",)},
            Unsupported,
        ),
        ("us.stability.stable-image-search-replace-v1:0", {}, InvalidInput),
        ("amazon.nova-canvas-v1:0", {}, Unsupported),
    ],
)
def test_what_the_family_cannot_say_is_refused_before_the_call(
    aws: Bedrock, model: str, asks: dict[str, Any], error: type[EaselError]
) -> None:
    with pytest.raises(error):
        make(aws, model, **asks)
    assert (aws.calls, aws.refused) == ([], [])


def test_a_missing_input_is_named(aws: Bedrock) -> None:
    backend = BedrockInvoke("b", account(aws), "us.stability.stable-image-inpaint-v1:0", Resolved())
    request = GenerationRequest(id="i", task=Task.INPAINT, prompt=PROMPT)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.mask"):
        backend.generate(request, Inputs(image=png()), lambda _: None, threading.Event())


def test_inputs_too_large_for_one_backend_may_go_to_another(aws: Bedrock) -> None:
    backend = BedrockInvoke("b", account(aws), "stability.sd3-5-large-v1:0", Resolved())
    request = GenerationRequest(id="i", task=Task.IMAGE_TO_IMAGE, prompt=PROMPT)
    with pytest.raises(Unsupported, match="too large"):
        backend.generate(request, Inputs(image=png() + bytes(20_000_000)), lambda _: None, threading.Event())
    assert aws.calls == []


def test_a_stopped_item_is_not_paid_for(aws: Bedrock) -> None:
    stop = threading.Event()
    stop.set()
    backend = BedrockInvoke("b", account(aws), CORE, Resolved())
    with pytest.raises(Cancelled):
        backend.generate(
            GenerationRequest(id="i", task=Task.TEXT_TO_IMAGE, prompt=PROMPT), Inputs(), lambda _: None, stop
        )
    assert aws.calls == []


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": PROMPT, "width": 1024},
        {"prompt": PROMPT, "aspect_ratio": "7:3"},
        {"prompt": PROMPT, "seed": -1},
        {"negative_prompt": "blur"},
        "a prompt",
    ],
)
def test_the_emulator_refuses_what_bedrock_would(aws: Bedrock, body: Any) -> None:
    """By botocore alone: an emulator that takes anything proves nothing."""
    from easel_inference.backends.aws import client

    with pytest.raises(Exception, match="ValidationException"):
        client(account(aws), "bedrock-runtime").invoke_model(modelId=CORE, body=json.dumps(body).encode())
    assert aws.paid == []


def test_an_unambiguous_word_for_an_answer_that_was_lost(aws: Bedrock) -> None:
    aws.next.append("reset")
    with pytest.raises(AmbiguousSubmit) as caught:
        make(aws)
    assert not caught.value.retryable
    assert "usage" in caught.value.fix


def test_a_block_is_final(aws: Bedrock) -> None:
    aws.next.append("blocked as 200")
    with pytest.raises(ContentBlocked) as caught:
        make(aws)
    assert not caught.value.retryable
