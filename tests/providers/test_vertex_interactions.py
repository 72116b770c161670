"""Gemini Omni's clips over TLS, against an emulator that checks every request and answer by the types of Google's own client."""

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
from easel_emulators.vertex_clips import LONGEST, STATES, STATUSES
from easel_emulators.vertex_subjects import SUBJECTS

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PACE, PROMPT, Inputs, OnEvent, clip, official, png, request, row, setup, shows_nothing

from easel_api.errors import Cancelled, EaselError, InvalidInput, Unsupported
from easel_api.tasks import Task
from easel_inference.backends import google
from easel_inference.backends.base import PaidBlock, Result, StillOut
from easel_inference.backends.families import client_of
from easel_inference.backends.vertex_interactions import VertexInteractions, asked
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import Handed, Message
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

FAMILY, MODEL = "VertexInteractions", "gemini-omni-1.2-flash"
SUBJECT = next(each for each in SUBJECTS if each.family == FAMILY)
FIVE = Resolved(aspect_ratio="9:16", tier="720p", seconds=5)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Vertex]:
    with vertex(tmp_path) as made:
        yield made


def client(
    service: Vertex, folder: Path, model: str = MODEL, resolved: Resolved = FIVE, **spec: Any
) -> VertexInteractions:
    made = setup(service, folder, FAMILY, model, resolved, **spec)
    return VertexInteractions(made.name, google.account(made), model, resolved, google.tariff(made), PACE)


def make(
    service: Vertex,
    folder: Path,
    inputs: Inputs | None = None,
    hears: OnEvent = lambda _: None,
    stop: threading.Event = NEVER,
    resolved: Resolved = FIVE,
    model: str = MODEL,
    **asks: Any,
) -> Result:
    told = request(**({"task": Task.TEXT_TO_VIDEO, "encoding": "mp4"} | asks))
    return client(service, folder, model, resolved).generate(told, inputs or Inputs(), hears, stop)


@pytest.mark.parametrize("model", LONGEST)
def test_every_model_is_asked_in_its_own_words(service: Vertex, tmp_path: Path, model: str) -> None:
    seconds = 5 if row(model).seconds else None
    result = make(service, tmp_path, model=model, resolved=Resolved(aspect_ratio="9:16", tier="720p", seconds=seconds))
    assert (service.refused, service.paid) == ([], [model])
    shape = {"type": "video", "delivery": "inline", "aspect_ratio": "9:16", "resolution": "720p"}
    assert service.calls == [
        {
            "model": model,
            "input": [{"type": "user_input", "content": [{"type": "text", "text": PROMPT}]}],
            "response_format": shape | ({"duration": "5s"} if seconds else {}),
            "generation_config": {"seed": 9, "video_config": {"task": "text_to_video"}},
            "background": True,
            "store": True,
        }
    ]
    assert (result.finished.width, result.finished.height) == (144, 256)
    assert result.billed == service.billed > 0


def test_what_google_counts_is_what_was_known_before(service: Vertex, tmp_path: Path) -> None:
    made = setup(service, tmp_path, FAMILY, MODEL)
    offer = offer_of(made.spec, MODEL)
    assert offer is not None
    known = estimate(offer, Request(Task.TEXT_TO_VIDEO, seconds=5), FIVE)
    assert make(service, tmp_path).billed == service.billed == known == Decimal("0.5068")
    tariff = google.tariff(setup(service, tmp_path, FAMILY, MODEL, FIVE))
    assert tariff is not None
    assert tariff.cost(google.Usage(made=1, read=10**6)) == known, (
        "nobody says what it reads costs: no less than was known"
    )
    unknown = estimate(offer, Request(Task.TEXT_TO_VIDEO, seconds=5), Resolved(tier="4k", seconds=5))
    assert unknown is None, "nobody says how many tokens a clip of another size takes"


def test_what_a_clip_read_and_thought_is_counted_where_it_has_a_price(service: Vertex, tmp_path: Path) -> None:
    result = make(service, tmp_path, model="gemini-omni-1.1-flash", resolved=Resolved(tier="720p"))
    assert result.billed == service.billed == Decimal("0.408331")  # 23,168 tokens at 17.5, 25 at 1.5, and 317 at 9


@pytest.mark.parametrize(
    ("task", "inputs", "kind", "name"),
    [
        (Task.IMAGE_TO_VIDEO, Inputs(image=png("red")), "image", "image_to_video"),
        (Task.VIDEO_TO_VIDEO, Inputs(clip=clip()), "video", "edit"),
    ],
)
def test_a_picture_or_a_clip_goes_with_the_words(
    service: Vertex, tmp_path: Path, task: Task, inputs: Inputs, kind: str, name: str
) -> None:
    make(service, tmp_path, inputs, task=task)
    (sent,) = service.calls
    words, given = sent["input"][0]["content"]
    assert words == {"type": "text", "text": PROMPT}
    assert (given["type"], given["mime_type"]) == (kind, {"image": "image/png", "video": "video/mp4"}[kind])
    assert base64.b64decode(given["data"]) == (inputs.image or inputs.clip)
    assert sent["generation_config"]["video_config"] == {"task": name}
    assert service.refused == []


def test_every_row_of_the_family_is_emulated() -> None:
    rows = {each.model for each in surfaces()["vertex"].offers if each.family == FAMILY and each.tasks}
    assert rows == set(LONGEST) == set(SUBJECT.rows)
    for model, longest in LONGEST.items():
        assert max(row(model).seconds, default=0) == longest


FAULTS = {word: ends for word, ends in SUBJECT.ends.items() if ends.reason}


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert len(service.paid) == FAULTS[word].paid
    assert isinstance(caught.value, PaidBlock) == (word == "blocked late")
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value)


@pytest.mark.parametrize("word", [*STATUSES, "failed and counted"])
def test_an_end_behind_some_of_the_work_counts_as_paid(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == "BilledBadOutput"


@pytest.mark.parametrize("word", ["slow poll", "lost poll", "throttled poll"])
def test_questions_are_asked_again(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    assert make(service, tmp_path).billed == service.billed
    (work,) = service.works.values()
    assert work.asked > 1
    assert len(service.calls) == 1


@pytest.mark.parametrize("word", STATES)
def test_a_state_that_is_no_end_is_waited_out(service: Vertex, tmp_path: Path, word: str) -> None:
    """Google may add one, and a page in place of an answer names none."""
    service.next.append(word)
    assert make(service, tmp_path).billed == service.billed > 0
    (work,) = service.works.values()
    assert work.asked > 1
    assert len(service.calls) == 1


def handed(service: Vertex, folder: Path) -> str:
    """The handle of a call that this process left."""
    service.gate.clear()
    stop, handles = threading.Event(), list[str]()

    def hears(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    with pytest.raises(StillOut):
        make(service, folder, hears=hears, stop=stop)
    (handle,) = handles
    assert len(handle) < 2000
    return handle


def test_a_call_goes_on_without_us_and_is_found_by_its_handle(service: Vertex, tmp_path: Path) -> None:
    handle = handed(service, tmp_path)
    service.gate.set()
    later = client(service, tmp_path)
    result = later.resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert result.billed == service.billed
    assert len(service.calls) == len(service.paid) == 1, "nothing is made twice"


def test_a_call_is_stopped_at_the_provider(service: Vertex, tmp_path: Path) -> None:
    handle = handed(service, tmp_path)
    later = client(service, tmp_path)
    later.cancel(handle)
    assert service.cancelled == [handle.rpartition("/")[2]]
    with pytest.raises(EaselError) as caught:
        later.resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert caught.value.reason == "AmbiguousSubmit", "what it had begun may be billed"
    with pytest.raises(EaselError) as caught:
        later.cancel(f"{handle}0")
    assert caught.value.reason == "ModelRetired", "nobody knows it"


@pytest.mark.parametrize("handle", ["", "projects/p", "../../v1/projects", "projects/p/locations/l/interactions/a?b"])
def test_a_handle_that_is_none_is_not_asked_for(service: Vertex, tmp_path: Path, handle: str) -> None:
    with pytest.raises(EaselError) as caught:
        client(service, tmp_path).resume(handle, request(Task.TEXT_TO_VIDEO, encoding="mp4"), lambda _: None, NEVER)
    assert caught.value.reason == "BilledBadOutput"
    assert service.tokens.asked == 0


def test_nothing_was_sent_where_nobody_listens(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        client(service, tmp_path, endpoint="https://127.0.0.1:9").generate(
            request(Task.TEXT_TO_VIDEO, encoding="mp4"), Inputs(), lambda _: None, NEVER
        )
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_what_cannot_be_said_is_refused_before_the_call(service: Vertex, tmp_path: Path) -> None:
    for asks in ({"task": Task.INTERPOLATION}, {"resolved": Resolved(size=(512, 512))}, {"seed": 2**31}):
        with pytest.raises(Unsupported):
            make(service, tmp_path, **asks)
    for task, part in ((Task.IMAGE_TO_VIDEO, "image"), (Task.VIDEO_TO_VIDEO, "clip")):
        with pytest.raises(InvalidInput, match=rf"spec\.inputs\.{part}"):
            make(service, tmp_path, task=task)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        make(service, tmp_path, stop=stop)
    assert isinstance(client_of(setup(service, tmp_path, FAMILY, MODEL, FIVE)), VertexInteractions)
    assert (service.calls, service.refused, service.tokens.asked) == ([], [], 0)


PICTURE = {"type": "image", "mime_type": "image/png", "data": "AAAA"}


def test_the_emulator_refuses_what_google_would(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, MODEL))
    path = f"/v1beta1/{found.place}/interactions"
    good = {"model": MODEL} | asked(request(Task.TEXT_TO_VIDEO), Inputs(), FIVE)
    shape = good["response_format"]
    for change in (
        {"model": "gemini-omni-9-flash"},
        {"prompt": PROMPT},
        {"response_format": shape | {"aspectRatio": "16:9"}},
        {"response_format": shape | {"resolution": "480p"}},
        {"response_format": shape | {"duration": "16s"}},
        {"response_format": shape | {"duration": 5}},
        {"generation_config": {"seed": 2**31}},
        {"generation_config": {"video_config": {"task": "remix"}}},
        {"input": [{"type": "user_input", "content": [PICTURE | {"data": "not base64!"}]}]},
        {"input": [{"type": "user_input", "content": [PICTURE | {"mimeType": "image/png"}]}]},
        {"background": False},
    ):
        assert found.api.post(path, good | change, MODEL).status == 400, change
    assert service.paid == []


def test_googles_own_client_is_understood_and_understands(service: Vertex) -> None:
    theirs = official(service, "v1beta1")
    ours = asked(request(Task.TEXT_TO_VIDEO), Inputs(), FIVE)
    begun = theirs.interactions.create(model=MODEL, **ours)
    assert begun.status == "in_progress"
    found = theirs.interactions.get(begun.id)
    assert found.status == "completed"
    assert base64.b64decode(found.output_video.data)[4:8] == b"ftyp"
    assert found.usage.output_tokens_by_modality[0].tokens == 5 * 5792
    assert service.calls == [{"model": MODEL} | ours]
    service.gate.clear()
    out = theirs.interactions.create(model=MODEL, **ours)
    assert theirs.interactions.cancel(out.id).status == "cancelled"
    assert service.refused == []
