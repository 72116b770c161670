"""Clips of an Azure ML endpoint that lie in Azure Blob Storage: fetched over TLS by the address that the endpoint gives, out of a real Azurite."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.azure_container import HOUR, AzureContainer, azure_container
from easel_emulators.azureml import KEY, STORED, SUBJECTS, AzureML, azureml
from easel_emulators.behind import CUT
from easel_emulators.outstanding import ELSEWHERE

from easel_api.errors import AmbiguousSubmit, BilledBadOutput, EaselError, Throttled, Transient
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.backends import custom_models, rest
from easel_inference.backends.azureml_score import polled
from easel_inference.backends.base import Expired, Result, Setup, StillOut
from easel_inference.backends.polled import Pace, Polled
from easel_inference.backends.rest import Rest
from easel_inference.generation import GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

SUBJECT = SUBJECTS[-1]
OFFER = dict(SUBJECT.offers[0])
PROMPT = "a zebra-striped teapot"
PACE = Pace(first=0.02, longest=0.05)
REQUEST = GenerationRequest(
    id="i", task=Task.TEXT_TO_VIDEO, prompt=PROMPT, seed=9, encoding="mp4", frames=8, fps=8, width=64, height=64
)
SECRETS = ("zebra", KEY, ELSEWHERE, "sig=", "?sp=")


@pytest.fixture(scope="module")
def started(azurite_program: Any) -> Iterator[AzureContainer]:
    """`azurite_program` has the program installed before the first test."""
    with azure_container() as made:
        yield made


@pytest.fixture
def container(started: AzureContainer) -> AzureContainer:
    started.read.clear()
    started.reads.clear()
    return started


@pytest.fixture
def service(container: AzureContainer, tmp_path: Path) -> Iterator[AzureML]:
    (tmp_path / "API_KEY").write_text(KEY)
    with azureml(tmp_path) as made:
        made.container = container
        yield made


def client(service: AzureML, pace: Pace = PACE) -> Polled:
    spec = ProviderSpec.model_validate(
        {
            "family": "AzureMLScore",
            "endpoint": service.url,
            "credentials": {"secretRef": {"name": "azure"}},
            "offers": [OFFER],
        }
    )
    model, resolved = str(OFFER["model"]), Resolved(size=(64, 64), seconds=1)
    return polled(
        Setup(f"azureml/{model}", spec, model, resolved, service.authority.parent, str(service.authority)), pace
    )


def make(service: AzureML) -> Result:
    return client(service).generate(REQUEST, Inputs(), lambda _: None, threading.Event())


def handed(service: AzureML) -> str:
    """The handle of a call that was left alone once it was out."""
    handles, stop = list[str](), threading.Event()

    def hears(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    service.gate.clear()
    with pytest.raises(StillOut):
        client(service).generate(REQUEST, Inputs(), hears, stop)
    service.gate.set()
    return handles[0]


def resumed(service: AzureML, handle: str, pace: Pace = PACE) -> Result:
    return client(service, pace).resume(handle, REQUEST, lambda _: None, threading.Event())


def shows_nothing(error: EaselError) -> None:
    said = str(error) + "".join(traceback.format_exception(error))
    for secret in SECRETS:
        assert secret not in said, secret


def test_a_clip_is_fetched_from_where_the_endpoint_says_that_it_lies(
    service: AzureML, container: AzureContainer
) -> None:
    result = make(service)
    (work,) = service.work.values()
    assert (result.payload, result.finished.frames) == (work.data, 8)
    assert len(container.read) == 1, "by Azurite's own check of the signature"
    assert (service.paid, service.refused) == ([STORED], [])


def test_an_address_is_in_no_handle(service: AzureML) -> None:
    handle = handed(service)
    (work,) = service.work.values()
    assert handle == f"{service.url}/jobs/{work.name}"


@pytest.mark.parametrize("word", SUBJECT.ends)
def test_each_word_ends_as_it_says_and_is_asked_for_once(service: AzureML, word: str) -> None:
    ends, caught = SUBJECT.ends[word], None
    service.next.append(word)
    try:
        make(service)
    except EaselError as error:
        caught = error
    if isinstance(caught, Throttled):
        assert (word, service.paid) in (("throttled", []), ("asks to wait", []))
        return
    assert (caught.reason if caught else "") == ends.reason, caught
    assert (len(service.calls), len(service.paid)) == (1, ends.paid)
    if caught is not None:
        assert not (ends.paid and caught.retryable), "what was paid for is not asked for again by itself"
        shows_nothing(caught)


def test_a_new_address_is_asked_for_once_behind_one_that_ended(service: AzureML, container: AzureContainer) -> None:
    service.next.append("expired")
    result = make(service)
    (work,) = service.work.values()
    assert (result.payload, work.asked, work.named) == (work.data, 2, 2)
    assert len(set(container.read)) == 2


@pytest.mark.parametrize("then", [CUT, 500, 503])
def test_a_reading_that_fails_is_made_again(service: AzureML, container: AzureContainer, then: int | str) -> None:
    container.reads.append(then)
    result = make(service)
    (work,) = service.work.values()
    assert (result.payload, len(container.read)) == (work.data, 2)
    assert len(service.paid) == 1, "the clip is not made again"


@pytest.mark.parametrize(
    ("seconds", "name", "then", "error"),
    [
        (-HOUR, "clip", 0, Expired),
        (HOUR, "nothing", 0, Expired),
        (HOUR, "clip", CUT, Transient),
        (HOUR, "clip", 503, Transient),
        (HOUR, "clip", 302, Transient),
    ],
)
def test_each_end_of_a_reading_has_its_name(
    service: AzureML, container: AzureContainer, seconds: float, name: str, then: int | str, error: type[EaselError]
) -> None:
    container.put("clip", b"half of this is not the clip")
    container.reads.append(then)
    api = Rest("it", service.url, {}, str(service.authority))
    with pytest.raises(error) as caught:
        api.fetch(container.address(service.url, name, seconds), "model")
    assert type(caught.value) is error
    shows_nothing(caught.value)


def test_an_address_that_somebody_changed_reads_nothing(service: AzureML, container: AzureContainer) -> None:
    container.put("clip", b"a clip")
    container.put("another", b"of somebody else")
    good = container.address(service.url, "clip", HOUR)
    api = Rest("it", service.url, {}, str(service.authority))
    assert api.fetch(good, "model") == b"a clip"
    with pytest.raises(Expired):
        api.fetch(good.replace("/clip?", "/another?"), "model")


def test_an_object_that_is_not_whole_is_no_result(service: AzureML, container: AzureContainer) -> None:
    handle = handed(service)
    (work,) = service.work.values()
    container.put(work.name, work.data[: len(work.data) // 2])
    with pytest.raises(BilledBadOutput, match="neither a picture nor a clip"):
        resumed(service, handle)


def test_a_result_is_read_no_further_than_it_may_be_long(
    service: AzureML, container: AzureContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.put("clip", b"0" * 1001)
    monkeypatch.setattr(rest, "LARGEST_ANSWER", 1000)
    with pytest.raises(BilledBadOutput, match="too large"):
        Rest("it", service.url, {}, str(service.authority)).fetch(container.address(service.url, "clip", HOUR), "model")


def test_a_store_within_the_network_is_not_fetched_from(service: AzureML, container: AzureContainer) -> None:
    container.put("clip", b"a clip")
    api = Rest("it", service.url, {}, str(service.authority))
    for base in (container.endpoint, container.endpoint.replace("http:", "https:"), "https://10.0.0.1"):
        with pytest.raises(BilledBadOutput, match="names a result where none can be") as caught:
            api.fetch(container.address(base, "clip", HOUR), "model")
        shows_nothing(caught.value)
    assert container.read == []


def test_a_store_that_is_away_leaves_the_clip_where_it_is(service: AzureML, container: AzureContainer) -> None:
    handle = handed(service)
    container.reads.extend([503] * 1000)
    with pytest.raises(AmbiguousSubmit, match="has not finished"):
        resumed(service, handle, Pace(0.02, 0.05, patience=0.2))
    container.reads.clear()
    assert resumed(service, handle).finished.frames == 8
    assert len(service.calls) == len(service.paid) == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"url": "https://example.org/1"}, "https://example.org/1"),
        ({"url": "https://example.org/1", "blocked": True}, None),
        ({"url": "https://example.org/1", "error": "out of memory"}, None),
        ({"url": ["https://example.org/1"]}, None),
        ({"url": "https://example.org/" + "1" * 9000}, None),
        (["https://example.org/1"], None),
        ("https://example.org/1", None),
    ],
)
def test_an_answer_is_an_address_or_it_is_none(body: Any, place: str | None) -> None:
    assert custom_models.address(json.dumps(body).encode()) == place
    assert custom_models.address(b"\xff\x00") is None
