"""Veo's clips over TLS, against an emulator that checks every request and answer, and keeps operations."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.vertex import Vertex, vertex
from easel_emulators.vertex_clips import SECOND
from easel_emulators.vertex_subjects import SUBJECTS

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PACE, PROMPT, Inputs, OnEvent, official, png, request, row, setup, shows_nothing

from easel_api.errors import Cancelled, EaselError, InvalidInput, Unsupported
from easel_api.tasks import Task
from easel_inference.backends import google
from easel_inference.backends.base import Cancellable, Result, StillOut
from easel_inference.backends.families import client_of
from easel_inference.backends.vertex_long_running import VertexLongRunning, asked
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import Handed, Message
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

FAMILY, MODEL = "VertexLongRunning", "veo-3.1-lite-generate-001"
SUBJECT = next(each for each in SUBJECTS if each.family == FAMILY)
FOUR = Resolved(aspect_ratio="9:16", tier="720p", seconds=4)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Vertex]:
    with vertex(tmp_path) as made:
        yield made


def client(
    service: Vertex, folder: Path, model: str = MODEL, resolved: Resolved = FOUR, **spec: Any
) -> VertexLongRunning:
    made = setup(service, folder, FAMILY, model, resolved, **spec)
    return VertexLongRunning(made.name, google.account(made), model, resolved, PACE)


def make(
    service: Vertex,
    folder: Path,
    inputs: Inputs | None = None,
    hears: OnEvent = lambda _: None,
    stop: threading.Event = NEVER,
    resolved: Resolved = FOUR,
    model: str = MODEL,
    **asks: Any,
) -> Result:
    told = request(**({"task": Task.TEXT_TO_VIDEO, "encoding": "mp4"} | asks))
    return client(service, folder, model, resolved).generate(told, inputs or Inputs(), hears, stop)


@pytest.mark.parametrize("model", SECOND)
def test_every_model_is_asked_in_its_own_words(service: Vertex, tmp_path: Path, model: str) -> None:
    result = make(service, tmp_path, model=model, negative_prompt="blur", fps=24)
    assert (service.refused, service.paid) == ([], [model])
    assert service.calls == [
        {
            "instances": [{"prompt": PROMPT}],
            "parameters": {
                "sampleCount": 1,
                "durationSeconds": 4,
                "aspectRatio": "9:16",
                "resolution": "720p",
                "seed": 9,
                "fps": 24,
                "negativePrompt": "blur",
                "generateAudio": False,
            },
        }
    ]
    assert result.finished.media_type == "video/mp4"
    assert (result.finished.width, result.finished.height, result.finished.frames) == (144, 256, 32)


@pytest.mark.parametrize("model", SECOND)
def test_what_is_billed_is_what_was_known_before(service: Vertex, tmp_path: Path, model: str) -> None:
    for tier in row(model).sizes.tiers:
        resolved = Resolved(tier=tier, seconds=4)
        offer = offer_of(setup(service, tmp_path, FAMILY, model).spec, model)
        assert offer is not None
        before, known = service.billed, estimate(offer, Request(Task.TEXT_TO_VIDEO, seconds=4), resolved)
        make(service, tmp_path, model=model, resolved=resolved)
        assert service.billed - before == known == Decimal(SECOND[model][tier]) * 4


def test_a_picture_begins_the_clip_with_or_without_words(service: Vertex, tmp_path: Path) -> None:
    make(service, tmp_path, Inputs(image=png("red")), task=Task.IMAGE_TO_VIDEO)
    make(service, tmp_path, Inputs(image=png("red")), task=Task.IMAGE_TO_VIDEO, prompt="")
    first, second = (call["instances"][0] for call in service.calls)
    assert first["prompt"] == PROMPT
    assert "prompt" not in second
    assert base64.b64decode(second["image"]["bytesBase64Encoded"]) == png("red")
    assert second["image"]["mimeType"] == "image/png"


def test_every_row_of_the_family_is_emulated() -> None:
    rows = {each.model for each in surfaces()["vertex"].offers if each.family == FAMILY and each.tasks}
    assert rows == set(SECOND) == set(SUBJECT.rows)
    for model, tiers in SECOND.items():
        assert list(row(model).sizes.tiers) == list(tiers)


FAULTS = {word: ends for word, ends in SUBJECT.ends.items() if ends.reason}


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == FAULTS[word].paid
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value)


@pytest.mark.parametrize("word", ["slow poll", "lost poll", "throttled poll"])
def test_questions_are_asked_again(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    assert make(service, tmp_path).finished.frames == 32
    assert len(service.calls) == 1
    (work,) = service.works.values()
    assert work.asked > 1


def test_a_call_goes_on_without_us_and_is_found_by_its_handle(service: Vertex, tmp_path: Path) -> None:
    service.gate.clear()
    stop, handles = threading.Event(), list[str]()

    def hears(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    with pytest.raises(StillOut):
        make(service, tmp_path, hears=hears, stop=stop)
    (handle,) = handles
    assert len(handle) < 2000
    service.gate.set()
    later = client(service, tmp_path)
    result = later.resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert result.finished.frames == 32
    assert len(service.calls) == len(service.paid) == 1, "nothing is made twice"
    assert not isinstance(later, Cancellable), "Google stops no operation of a publisher's model"


@pytest.mark.parametrize(
    "handle",
    ["", "projects/p", "../../v1/projects", "projects/p/locations/l/publishers/google/models/m/operations/a?b"],
)
def test_a_handle_that_is_none_is_not_asked_for(service: Vertex, tmp_path: Path, handle: str) -> None:
    with pytest.raises(EaselError) as caught:
        client(service, tmp_path).resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert caught.value.reason == "BilledBadOutput"
    assert service.tokens.asked == 0


def test_an_operation_that_nobody_knows_may_be_billed(service: Vertex, tmp_path: Path) -> None:
    handle = "projects/p/locations/l/publishers/google/models/m/operations/1"
    with pytest.raises(EaselError) as caught:
        client(service, tmp_path).resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert caught.value.reason == "AmbiguousSubmit"


def test_nothing_was_sent_where_nobody_listens(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        client(service, tmp_path, endpoint="https://127.0.0.1:9").generate(
            request(Task.TEXT_TO_VIDEO, encoding="mp4"), Inputs(), lambda _: None, NEVER
        )
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_what_cannot_be_said_is_refused_before_the_call(service: Vertex, tmp_path: Path) -> None:
    for asks in ({"task": Task.VIDEO_TO_VIDEO}, {"resolved": Resolved(size=(512, 512))}):
        with pytest.raises(Unsupported):
            make(service, tmp_path, **asks)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        make(service, tmp_path, task=Task.IMAGE_TO_VIDEO)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        make(service, tmp_path, stop=stop)
    assert isinstance(client_of(setup(service, tmp_path, FAMILY, MODEL, FOUR)), VertexLongRunning)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


def test_the_emulator_refuses_what_google_would(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, MODEL))
    path = f"/v1/{found.place}/publishers/google/models/{MODEL}:predictLongRunning"
    good = asked(request(Task.TEXT_TO_VIDEO), Inputs(), FOUR)
    for change in (
        {"instances": []},
        {"instances": [{}]},
        {"instances": [{"prompt": PROMPT, "images": []}]},
        {"parameters": good["parameters"] | {"durationSeconds": 5}},
        {"parameters": good["parameters"] | {"durationSeconds": "4"}},
        {"parameters": good["parameters"] | {"aspect_ratio": "16:9"}},
        {"parameters": good["parameters"] | {"resolution": "480p"}},
        {"webhook": "https://example.org"},
    ):
        assert found.api.post(path, good | change, MODEL).status == 400, change
    assert found.api.post(path.replace("lite", "heavy"), good, MODEL).status == 404
    assert service.paid == []


def test_googles_own_client_is_understood_and_understands(service: Vertex, tmp_path: Path) -> None:
    theirs = official(service)
    operation = theirs.models.generate_videos(
        model=MODEL,
        source={"prompt": PROMPT, "image": {"image_bytes": png("red"), "mime_type": "image/png"}},
        config={
            "number_of_videos": 1,
            "duration_seconds": 4,
            "aspect_ratio": "9:16",
            "resolution": "720p",
            "seed": 9,
            "fps": 24,
            "negative_prompt": "blur",
            "generate_audio": False,
        },
    )
    operation = theirs.operations.get(operation)
    assert operation.done
    (video,) = operation.response.generated_videos
    assert video.video.video_bytes[4:8] == b"ftyp"
    told = request(Task.IMAGE_TO_VIDEO, fps=24, negative_prompt="blur")
    assert service.calls == [asked(told, Inputs(image=png("red")), FOUR)]
    service.next.append("blocked as 200")
    blocked = theirs.operations.get(theirs.models.generate_videos(model=MODEL, source={"prompt": PROMPT}))
    assert blocked.response.rai_media_filtered_count == 1
    assert service.refused == []
