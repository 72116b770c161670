"""Veo's clips out of a bucket of the account: asked for over TLS with the account's own token, out of a real Cloud Storage API behind it."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.behind import CUT
from easel_emulators.google_bucket import API, NAME, PREFIX, GoogleBucket
from easel_emulators.google_tokens import metadata_server
from easel_emulators.outstanding import ELSEWHERE
from easel_emulators.vertex import Vertex, vertex_with_bucket
from easel_emulators.vertex_clips import key
from easel_emulators.vertex_subjects import SUBJECTS
from google.auth.compute_engine import _metadata

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import NEVER, PACE, PROMPT, Inputs, OnEvent, official, request, setup, shows_nothing

from easel_api.errors import AmbiguousSubmit, AuthConfig, BilledBadOutput, EaselError, Throttled, Transient
from easel_api.tasks import Task
from easel_inference.backends import cloud_storage, google, polled, rest
from easel_inference.backends.base import Expired, Result, StillOut
from easel_inference.backends.polled import Pace
from easel_inference.backends.vertex_long_running import VertexLongRunning, asked
from easel_inference.generation import Handed, Message
from easel_inference.routing.request import Resolved

FAMILY, MODEL = "VertexLongRunning", "veo-3.1-lite-generate-001"
SUBJECT = next(each for each in SUBJECTS if each.left)
FOUR = Resolved(aspect_ratio="9:16", tier="720p", seconds=4)
CLIP = {"task": Task.TEXT_TO_VIDEO, "encoding": "mp4"}


@pytest.fixture
def service(gcs_program: Path, tmp_path: Path) -> Iterator[Vertex]:
    with vertex_with_bucket(tmp_path) as made:
        yield made


@pytest.fixture
def bucket(service: Vertex) -> GoogleBucket:
    assert service.bucket is not None
    return service.bucket


def account(service: Vertex, folder: Path, **spec: Any) -> google.GoogleAccount:
    told = {"bucket": {"name": NAME, "prefix": PREFIX, "endpoint": service.url}} | spec
    return google.account(setup(service, folder, FAMILY, MODEL, FOUR, **told))


def client(service: Vertex, folder: Path, pace: Pace = PACE, **spec: Any) -> VertexLongRunning:
    return VertexLongRunning("veo", account(service, folder, **spec), MODEL, FOUR, pace)


def make(service: Vertex, folder: Path, hears: OnEvent = lambda _: None, **spec: Any) -> Result:
    return client(service, folder, **spec).generate(request(**CLIP), Inputs(), hears, NEVER)


def handed(service: Vertex, folder: Path, **spec: Any) -> str:
    """The handle of a call that was left alone once it was out."""
    handles, stop = list[str](), threading.Event()

    def hears(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    service.gate.clear()
    with pytest.raises(StillOut):
        client(service, folder, **spec).generate(request(**CLIP), Inputs(), hears, stop)
    service.gate.set()
    return handles[0]


def resumed(service: Vertex, folder: Path, handle: str, pace: Pace = PACE, **spec: Any) -> Result:
    return client(service, folder, pace, **spec).resume(handle, request(**CLIP), lambda _: None, NEVER)


def opened(service: Vertex, folder: Path, **spec: Any) -> cloud_storage.Bucket:
    found = account(service, folder, **spec).bucket
    assert found is not None
    return found


def test_a_clip_is_left_in_the_bucket_and_fetched_from_there(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path
) -> None:
    result = make(service, tmp_path)
    (sent,), (work,) = service.calls, service.works.values()
    assert sent["parameters"]["storageUri"] == f"gs://{NAME}/made"
    assert bucket.listed() == [key(work)]
    assert bucket.read == [f"{API}b/{NAME}/o/{key(work).replace('/', '%2F')}?alt=media"]
    assert (result.payload, result.finished.frames) == (work.data, 32)
    assert service.refused == []


def test_without_a_bucket_a_clip_comes_inline(service: Vertex, bucket: GoogleBucket, tmp_path: Path) -> None:
    assert make(service, tmp_path, bucket=None).finished.frames == 32
    assert "storageUri" not in service.calls[0]["parameters"]
    assert (bucket.listed(), bucket.read) == ([], [])


def test_the_nodes_identity_reads_the_bucket_too(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metadata_server(service.tokens) as place:
        with monkeypatch.context() as patched:
            for name in ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"):
                patched.setenv(name, place)
            importlib.reload(_metadata)  # it looks at its environment when it is imported
            assert make(service, tmp_path, credentials={"workloadIdentity": {}}).finished.frames == 32
        importlib.reload(_metadata)
    assert len(bucket.read) == 1


FAULTS = {word: ends for word, ends in SUBJECT.ends.items() if ends.reason}


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_has_its_name_and_is_asked_for_once(service: Vertex, tmp_path: Path, word: str) -> None:
    service.next.append(word)
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path)
    assert caught.value.reason == FAULTS[word].reason, str(caught.value)
    assert (len(service.calls), len(service.paid)) == (1, FAULTS[word].paid)
    assert not (service.paid and caught.value.retryable)
    shows_nothing(caught.value, ELSEWHERE)


@pytest.mark.parametrize("then", [CUT, 429, 500, 503, 504])
def test_a_reading_that_fails_is_made_again(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, then: int | str
) -> None:
    bucket.reads.append(then)
    result = make(service, tmp_path)
    (work,) = service.works.values()
    assert result.payload == work.data
    assert len(bucket.read) == 2
    assert len(service.paid) == 1, "the clip is not made again"


@pytest.mark.parametrize(
    ("then", "error"),
    [(CUT, Transient), (404, Expired), (403, AuthConfig), (401, AuthConfig), (429, Throttled), (503, Transient)],
)
def test_each_end_of_a_reading_has_its_name(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, then: int | str, error: type[EaselError]
) -> None:
    bucket.put("made/1/sample_0.mp4", b"half of this is not the clip", "video/mp4")
    bucket.reads.append(then)
    with pytest.raises(error) as caught:
        opened(service, tmp_path).fetch(f"gs://{NAME}/made/1/sample_0.mp4", MODEL)
    assert type(caught.value) is error
    shows_nothing(caught.value)


def test_an_object_that_is_gone_ends_the_call_as_paid(service: Vertex, bucket: GoogleBucket, tmp_path: Path) -> None:
    handle = handed(service, tmp_path)
    (gone,) = bucket.listed()
    bucket.delete(gone)
    with pytest.raises(BilledBadOutput, match="gone"):
        resumed(service, tmp_path, handle)
    assert len(service.calls) == 1


def test_an_object_that_is_not_whole_is_no_result(service: Vertex, bucket: GoogleBucket, tmp_path: Path) -> None:
    handle = handed(service, tmp_path)
    (kept,), (work,) = bucket.listed(), service.works.values()
    bucket.put(kept, work.data[: len(work.data) // 2], "video/mp4")
    with pytest.raises(BilledBadOutput, match="neither a picture nor a clip"):
        resumed(service, tmp_path, handle)


def test_a_result_is_read_no_further_than_it_may_be_long(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "LARGEST_ANSWER", 1000)
    bucket.put("made/1", b"0" * 1001, "video/mp4")
    with pytest.raises(BilledBadOutput, match="too large"):
        opened(service, tmp_path).fetch(f"gs://{NAME}/made/1", MODEL)


@pytest.mark.parametrize(
    "place",
    [
        "gs://another-bucket/made/1/sample_0.mp4",
        f"gs://{NAME}-of-others/made/1/sample_0.mp4",
        f"gs://{NAME}/other/1/sample_0.mp4",
        f"gs://{NAME}/",
        f"gs://{NAME}",
        f"s3://{NAME}/made/1/sample_0.mp4",
        f"https://storage.googleapis.com/{NAME}/made/1",
        ELSEWHERE,
        "",
    ],
)
def test_nothing_is_fetched_from_out_of_the_bucket(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, place: str
) -> None:
    with pytest.raises(BilledBadOutput) as caught:
        opened(service, tmp_path).fetch(place, MODEL)
    assert "names a result where none can be" in str(caught.value)
    assert bucket.read == []
    shows_nothing(caught.value, "another-bucket")


@pytest.mark.parametrize(
    "place", [f"gs://{NAME}/.", f"gs://{NAME}/..", f"gs://{NAME}/", f"gs://{NAME}", "gs://another-bucket/1", ELSEWHERE]
)
def test_a_whole_bucket_ends_somewhere_too(service: Vertex, bucket: GoogleBucket, tmp_path: Path, place: str) -> None:
    whole = opened(service, tmp_path, bucket={"name": NAME, "endpoint": service.url})
    assert whole.uri == f"gs://{NAME}"
    with pytest.raises(BilledBadOutput):
        whole.fetch(place, MODEL)
    assert bucket.read == []


@pytest.mark.parametrize("name", ["a b/#1?.mp4", "../../../etc", "made/%2e%2e/é"])
def test_a_name_stays_a_name_on_the_wire(service: Vertex, bucket: GoogleBucket, tmp_path: Path, name: str) -> None:
    whole = opened(service, tmp_path, bucket={"name": NAME, "endpoint": service.url})
    bucket.put(name, name.encode(), "video/mp4")
    assert whole.fetch(f"gs://{NAME}/{name}", MODEL) == name.encode()


def test_a_provider_that_no_longer_names_the_bucket_fetches_nothing(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path
) -> None:
    handle = handed(service, tmp_path)
    with pytest.raises(BilledBadOutput, match="names none"):
        resumed(service, tmp_path, handle, bucket=None)
    assert bucket.read == []


def test_a_call_from_before_the_bucket_was_named_is_still_delivered(service: Vertex, tmp_path: Path) -> None:
    handle = handed(service, tmp_path, bucket=None)
    assert resumed(service, tmp_path, handle).finished.frames == 32


def test_a_bucket_that_cannot_be_read_leaves_the_clip_where_it_is(
    service: Vertex, bucket: GoogleBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = handed(service, tmp_path)
    bucket.reads.extend([403] * 2)
    with monkeypatch.context() as patched:
        patched.setattr(polled, "RENEWAL_SECONDS", 0.0)
        with pytest.raises(AmbiguousSubmit, match=r"storage\.objects\.get"):
            resumed(service, tmp_path, handle)
    away = {"name": NAME, "prefix": PREFIX, "endpoint": "https://127.0.0.1:9"}
    with pytest.raises(AmbiguousSubmit, match="has not finished"):
        resumed(service, tmp_path, handle, Pace(0.02, 0.05, patience=0.2), bucket=away)
    assert resumed(service, tmp_path, handle).finished.frames == 32
    assert len(service.paid) == 1


def test_a_token_of_nobody_reads_nothing(service: Vertex, bucket: GoogleBucket, tmp_path: Path) -> None:
    bucket.put("made/1", b"a clip", "video/mp4")
    strange = rest.Rest("it", service.url, {"Authorization": "Bearer ya29.mine"}, str(service.authority))
    with pytest.raises(AuthConfig):
        cloud_storage.Bucket(strange, NAME, PREFIX).fetch(f"gs://{NAME}/made/1", MODEL)
    assert bucket.read == []


def test_the_emulator_refuses_a_bucket_that_there_is_not(service: Vertex, tmp_path: Path) -> None:
    with pytest.raises(EaselError) as caught:
        make(service, tmp_path, bucket={"name": "not-there", "endpoint": service.url})
    assert caught.value.reason == "InvalidInput"
    assert service.paid == []


def test_googles_own_client_asks_the_same(service: Vertex, tmp_path: Path) -> None:
    theirs = official(service)
    operation = theirs.models.generate_videos(
        model=MODEL,
        source={"prompt": PROMPT},
        config={
            "number_of_videos": 1,
            "duration_seconds": 4,
            "aspect_ratio": "9:16",
            "resolution": "720p",
            "seed": 9,
            "generate_audio": False,
            "output_gcs_uri": f"gs://{NAME}/made",
        },
    )
    (video,) = theirs.operations.get(operation).response.generated_videos
    (work,) = service.works.values()
    assert video.video.uri == f"gs://{NAME}/{key(work)}"
    store = opened(service, tmp_path)
    assert service.calls == [asked(request(Task.TEXT_TO_VIDEO), Inputs(), FOUR, store.uri)]
    assert store.fetch(video.video.uri, MODEL) == work.data
    assert service.refused == []
