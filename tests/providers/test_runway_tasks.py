"""Runway's API over TLS, against an emulator that checks every request by the official SDK's types."""

from __future__ import annotations

import io
import json
import ssl
import threading
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from easel_emulators.base import WORDS, clip
from easel_emulators.outstanding import ELSEWHERE
from easel_emulators.runway import KEY, SUBJECTS, Answer, Runway, checked, runway
from PIL import Image
from runwayml import NotFoundError, RunwayML

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
from easel_inference.backends.base import Cancellable, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.polled import CancellablePolled, Pace
from easel_inference.backends.rest import Rest
from easel_inference.backends.runway_models import SHAPES
from easel_inference.backends.runway_tasks import polled
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import Accepted, GenerationRequest, Handed, Inputs, Message, StepDone
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
PACE = Pace(first=0.02, longest=0.05)
(SUBJECT,) = SUBJECTS


def png(width: int = 64, height: int = 64) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), clip=clip(64, 64, 2))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Runway]:
    (tmp_path / "API_KEY").write_text(KEY)
    with runway(tmp_path) as made:
        yield made


def client(
    service: Runway,
    model: str = "gen4_image",
    resolved: Resolved | None = None,
    authority: bool = True,
    pace: Pace = PACE,
) -> CancellablePolled:
    spec = ProviderSpec.model_validate(
        {
            "family": "RunwayTasks",
            "endpoint": service.url,
            "credentials": {"secretRef": {"name": "runway"}},
            "offers": [{"model": model}],
        }
    )
    trusted = str(service.authority) if authority else None
    return polled(
        Setup(f"runway/{model}", spec, model, resolved or Resolved(), service.authority.parent, trusted), pace
    )


def asked(**told: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | told))


def make(
    service: Runway,
    model: str = "gen4_image",
    resolved: Resolved | None = None,
    inputs: Inputs = INPUTS,
    events: list[Message] | None = None,
    **told: Any,
) -> Result:
    hear = (lambda _: None) if events is None else events.append
    return client(service, model, resolved).generate(asked(**told), inputs, hear, threading.Event())


MODELS: list[tuple[str, Task, Resolved, str, dict[str, Any]]] = [
    (
        "gen4_image",
        Task.TEXT_TO_IMAGE,
        Resolved(aspect_ratio="16:9", tier="1080p"),
        "/v1/text_to_image",
        {"ratio": "1920:1080"},
    ),
    (
        "gen4_image",
        Task.IMAGE_TO_IMAGE,
        Resolved(tier="720p"),
        "/v1/text_to_image",
        {"ratio": "720:720", "referenceImages": 1},
    ),
    (
        "gen4.5",
        Task.TEXT_TO_VIDEO,
        Resolved(aspect_ratio="9:16", seconds=2),
        "/v1/text_to_video",
        {"ratio": "720:1280", "duration": 2},
    ),
    (
        "gen4.5",
        Task.IMAGE_TO_VIDEO,
        Resolved(seconds=3),
        "/v1/image_to_video",
        {"ratio": "960:960", "duration": 3, "promptImage": "data:image/png;base64,"},
    ),
    (
        "gen4_turbo",
        Task.IMAGE_TO_VIDEO,
        Resolved(aspect_ratio="21:9"),
        "/v1/image_to_video",
        {"ratio": "1584:672", "duration": 5, "promptImage": "data:image/png;base64,"},
    ),
    ("aleph2", Task.VIDEO_TO_VIDEO, Resolved(), "/v1/video_to_video", {"videoUri": "data:video/mp4;base64,"}),
]
COSTS = (8, 5, 24, 36, 25, 56)


@pytest.mark.parametrize(
    ("model", "task", "resolved", "path", "fields", "credits_taken"),
    [(*case, taken) for case, taken in zip(MODELS, COSTS, strict=True)],
    ids=[f"{case[0]} {case[1]}" for case in MODELS],
)
def test_every_model_is_asked_in_its_own_words_and_says_what_it_cost(
    service: Runway,
    model: str,
    task: Task,
    resolved: Resolved,
    path: str,
    fields: dict[str, Any],
    credits_taken: int,
) -> None:
    encoding = "png" if task.endswith("image") else "mp4"
    result = make(service, model, resolved, task=task, encoding=encoding)
    assert service.refused == []
    (sent,) = service.calls
    assert (sent["model"], sent["promptText"], sent["seed"]) == (model, PROMPT, 9)
    for name, value in fields.items():
        found = len(sent[name]) if isinstance(sent[name], list) else sent[name]
        assert str(found).startswith(str(value)), name
    assert set(sent) == {"model", "promptText", "seed", *fields}
    assert service.posted == [path]
    assert result.billed == service.billed == Decimal(credits_taken) / 100
    header = read_header(result.payload)
    assert (header.width, header.height) == (result.finished.width, result.finished.height)
    assert (result.finished.model_digest, result.finished.device) == (f"runway/{model}", "Runway")


def test_every_row_has_a_client_and_a_test_and_no_more_than_the_api_takes() -> None:
    rows = {row.model: row for row in surfaces()["runway"].offers if row.tasks}
    assert set(rows) == set(SHAPES) == {offer["model"] for offer in SUBJECT.offers} == set(SUBJECT.rows)
    assert {(row.model, task) for row in rows.values() for task in row.tasks} == {case[:2] for case in MODELS}
    assert all(SUBJECT.rows[model].task in row.tasks for model, row in rows.items())
    for row in rows.values():
        for task in row.tasks:
            for ratio in row.sizes.aspect_ratios or [None]:
                for tier in row.sizes.tiers or [None]:
                    for seconds in row.seconds or [None]:
                        resolved = Resolved(aspect_ratio=ratio, tier=tier, seconds=seconds)
                        encoding = "mp4" if row.makes_clips else "png"
                        SHAPES[row.model](asked(task=task, encoding=encoding), INPUTS, resolved)


def test_every_shape_of_the_catalogue_is_one_that_the_sdk_knows(service: Runway) -> None:
    rows = {row.model: row for row in surfaces()["runway"].offers if row.tasks}
    for model, row in rows.items():
        for task in row.tasks:
            for ratio in row.sizes.aspect_ratios or [None]:
                for tier in row.sizes.tiers or [None]:
                    found = SHAPES[model](
                        asked(task=task, encoding="mp4" if row.makes_clips else "png"),
                        INPUTS,
                        Resolved(aspect_ratio=ratio, tier=tier),
                    )
                    body = json.dumps({"model": model, "seed": 1, **found.body}).encode()
                    assert checked(service, found.path, body) is None, (model, task, ratio, tier)


@pytest.mark.parametrize("word", SUBJECT.ends)
def test_each_word_ends_as_it_says_and_is_asked_for_once(service: Runway, word: str) -> None:
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
    assert service.refused == []
    assert isinstance(caught, PaidBlock) == (word == "blocked late")
    if caught is not None:
        assert not (ends.paid and caught.retryable), "what was paid for is not asked for again by itself"
        said, shown = str(caught), "".join(traceback.format_exception(caught))
        for secret in ("zebra", KEY, ELSEWHERE):
            assert secret not in said
            assert secret not in shown


def test_every_word_is_spoken_for() -> None:
    assert set(SUBJECT.ends) | set(SUBJECT.never) == set(WORDS)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(504), "AmbiguousSubmit"),
        (Answer(502), "AmbiguousSubmit"),
        (Answer(503), "Transient"),
        (Answer(404), "ModelRetired"),
        (Answer(403), "AuthConfig"),
        (Answer(403, "Model variant gen4_image is not available"), "ModelRetired"),
        (Answer(302, headers={"Location": "http://169.254.169.254/"}), "BackendFault"),
    ],
)
def test_other_statuses_have_their_names(service: Runway, answer: Answer, reason: str) -> None:
    service.next.append(answer)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("code", "cost", "reason", "paid"),
    [
        ("SAFETY.INPUT.TEXT", {"credits": 5}, "ContentBlocked", True),
        ("SAFETY.INPUT.TEXT", {"credits": 0}, "ContentBlocked", False),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", None, "ContentBlocked", True),
        ("INTERNAL.BAD_OUTPUT.CODE01", {"credits": 5}, "BilledBadOutput", True),
        ("INTERNAL", None, "BilledBadOutput", True),
        ("ASSET.INVALID", {"credits": 0}, "InvalidInput", False),
        ("INTERNAL", {"credits": 0}, "BackendFault", False),
        (None, {"credits": 0}, "BackendFault", False),
        ("zebra <script>", {"credits": True}, "BilledBadOutput", True),
    ],
)
def test_what_a_failed_task_cost_decides(service: Runway, code: str | None, cost: Any, reason: str, paid: bool) -> None:
    service.next.append({"status": "FAILED", "failure": PROMPT, "failureCode": code, "cost": cost})
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason
    assert (isinstance(caught.value, PaidBlock) or reason == "BilledBadOutput") == paid
    assert "zebra" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"status": "CANCELLED", "cost": {"credits": 3}}, "BilledBadOutput"),
        ({"status": "CANCELLED", "cost": {"credits": 0}}, "BackendFault"),
        ({"status": "SUCCEEDED", "cost": {"credits": 5}, "output": "https://"}, "BilledBadOutput"),
        ({"status": "SUCCEEDED", "cost": {"credits": 5}, "output": ["http://127.0.0.1/a"]}, "BilledBadOutput"),
    ],
)
def test_other_ends_have_their_names(service: Runway, told: dict[str, Any], reason: str) -> None:
    service.next.append(told)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason


def test_the_handle_is_kept_before_the_first_question_and_progress_is_told(service: Runway) -> None:
    service.next.append("slow poll")
    events: list[Message] = []
    make(service, events=events)
    kinds = [type(each.event) for each in events]
    assert kinds[:2] == [Accepted, Handed]
    assert StepDone in kinds
    (task,) = service.tasks.values()
    assert [each.event.handle for each in events if isinstance(each.event, Handed)] == [task.name]
    assert task.asked == 4


def test_a_call_goes_on_by_its_handle_in_another_process(service: Runway) -> None:
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
    assert len(service.calls) == len(service.paid) == 1
    assert result.billed == service.billed == Decimal("0.05")


def test_a_cancel_reaches_the_api_and_nobody_knows_what_it_cost(service: Runway) -> None:
    service.gate.clear()
    made = client(service)
    assert isinstance(made, Cancellable)
    handles: list[str] = []

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            made.cancel(handles[0])

    with pytest.raises(EaselError) as caught:
        made.generate(asked(), INPUTS, hear, threading.Event())
    assert caught.value.reason == "AmbiguousSubmit", "a task that was cancelled is gone, and was billed if it ran"
    assert service.deleted == handles
    made.cancel("4d9bdd45-4e8b-4bb7-a1b4-000000000000")  # gone: nothing is left to stop
    (service.authority.parent / "API_KEY").write_text("another")
    with pytest.raises(AuthConfig):
        client(service).cancel(handles[0])


def test_a_task_that_never_ends_is_given_up(service: Runway) -> None:
    service.gate.clear()
    with pytest.raises(AmbiguousSubmit):
        client(service, pace=Pace(0.02, 0.05, patience=0.1)).generate(
            asked(), INPUTS, lambda _: None, threading.Event()
        )
    assert len(service.calls) == 1


def test_an_answer_without_a_name_is_ambiguous(service: Runway) -> None:
    for body in (b"{}", b'{"id": "../organization"}', b"<html>"):
        service.next.append(Answer(200, body.decode()))
        with pytest.raises(AmbiguousSubmit):
            make(service)


def test_a_wrong_key_and_a_stranger_are_told_apart(service: Runway) -> None:
    (service.authority.parent / "API_KEY").write_text("another")
    with pytest.raises(AuthConfig) as caught:
        make(service)
    assert "another" not in str(caught.value)
    with pytest.raises(EnvironmentFault, match="not trusted"):
        client(service, authority=False).generate(asked(), INPUTS, lambda _: None, threading.Event())
    assert service.calls == []


def test_nothing_was_sent_where_nobody_listens(service: Runway) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(Transient) as caught:
        make(service)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("model", "told", "inputs", "resolved", "error"),
    [
        ("gen4_image", {"prompt": "ü" * 1001}, INPUTS, Resolved(), Unsupported),
        ("gen4_image", {"prompt": "\U0001fad6" * 501}, INPUTS, Resolved(), Unsupported),  # two units each
        ("gen4_image", {"prompt": ""}, INPUTS, Resolved(), InvalidInput),
        ("gen4_image", {"task": Task.IMAGE_TO_IMAGE}, Inputs(), Resolved(), InvalidInput),
        ("gen4.5", {"task": Task.IMAGE_TO_VIDEO, "encoding": "mp4", "prompt": ""}, INPUTS, Resolved(), Unsupported),
        ("gen4_image", {"task": Task.IMAGE_TO_IMAGE}, Inputs(image=b"GIF89a"), Resolved(), Unsupported),
        ("gen4_image", {}, INPUTS, Resolved(aspect_ratio="5:4"), Unsupported),
        ("gen4.5", {"task": Task.TEXT_TO_VIDEO, "encoding": "gif"}, INPUTS, Resolved(), Unsupported),
        ("gen4.5", {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4"}, INPUTS, Resolved(aspect_ratio="1:1"), Unsupported),
        ("aleph2", {"task": Task.VIDEO_TO_VIDEO, "encoding": "mp4"}, Inputs(clip=png()), Resolved(), Unsupported),
    ],
)
def test_what_cannot_be_said_is_refused_before_the_call(
    service: Runway,
    model: str,
    told: dict[str, Any],
    inputs: Inputs,
    resolved: Resolved,
    error: type[EaselError],
) -> None:
    with pytest.raises(error) as caught:
        make(service, model, resolved, inputs, **told)
    assert type(caught.value) is error
    assert (service.calls, service.refused) == ([], [])


def test_inputs_too_large_and_models_unknown_are_refused(service: Runway) -> None:
    noise = io.BytesIO()
    Image.effect_noise((2200, 2200), 100).save(noise, "PNG")
    with pytest.raises(Unsupported, match="5 MB"):
        make(service, task=Task.IMAGE_TO_IMAGE, inputs=Inputs(image=noise.getvalue()))
    with pytest.raises(Unsupported, match="does not know"):
        make(service, "veo3.1")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(service).generate(asked(), INPUTS, lambda _: None, stop)
    assert (service.calls, service.refused) == ([], [])


def test_the_official_sdk_drives_the_emulator(service: Runway) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(service.authority))) as http:
        sdk = RunwayML(
            api_key=KEY, base_url=service.url, http_client=http, max_retries=0, _strict_response_validation=True
        )
        service.next.extend(["slow poll", "failed", "blocked late"])
        task = sdk.text_to_video.create(model="gen4.5", prompt_text=PROMPT, ratio="1280:720", duration=2, seed=1)
        assert task.estimated_cost.credits == 24
        statuses = [sdk.tasks.retrieve(task.id).status for _ in range(4)]
        assert statuses == ["THROTTLED", "PENDING", "RUNNING", "SUCCEEDED"]
        done = sdk.tasks.retrieve(task.id)
        assert (done.status, done.cost.credits, len(done.output)) == ("SUCCEEDED", 24, 1)
        for cost, code in ((0, "INTERNAL.BAD_OUTPUT.CODE01"), (5, "SAFETY.OUTPUT.IMAGE")):
            picture = sdk.text_to_image.create(model="gen4_image", prompt_text=PROMPT, ratio="720:720")
            ended = sdk.tasks.retrieve(picture.id)
            assert (ended.status, ended.cost.credits, ended.failure_code) == ("FAILED", cost, code)
        picture = sdk.text_to_image.create(model="gen4_image", prompt_text=PROMPT, ratio="720:720")
        sdk.tasks.delete(picture.id)
        with pytest.raises(NotFoundError):
            sdk.tasks.retrieve(picture.id)


def test_the_emulator_refuses_what_the_service_would(service: Runway) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "X-Runway-Version": "2024-11-06"}
    api = Rest("it", service.url, headers, str(service.authority))
    good = {"model": "gen4_image", "promptText": PROMPT, "ratio": "720:720"}
    for change in (
        {"width": 720},
        {"ratio": "720:721"},
        {"seed": "1"},
        {"seed": -1},
        {"promptText": ""},
        {"prompt_text": PROMPT},
        {"referenceImages": [{"uri": "data:image/gif;base64,AAAA"}]},
        {"referenceImages": [{"uri": "https://example.org/a.png", "name": "a"}]},
        {"contentModeration": {"publicFigureThreshold": "none"}},
    ):
        assert api.post("/v1/text_to_image", good | change, "it").status == 400, change
    assert api.post("/v1/text_to_video", good, "it").status == 400
    assert api.post("/v1/text_to_image", good | {"seed": 1}, "it").status == 200
    versionless = Rest("it", service.url, {"Authorization": f"Bearer {KEY}"}, str(service.authority))
    assert versionless.post("/v1/text_to_image", good, "it").status == 400
    assert len(service.paid) == 1
