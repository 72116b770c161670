"""What a worker says of objects of another release's kinds."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from easel_api.errors import InvalidInput
from easel_inference.jobs.access import APPLY, Api, JobAccess, JobName, Server
from easel_inference.jobs.purses import ProviderName, read_provider

OTHER = {"metadata": {"name": "west", "namespace": "art"}, "spec": {"task": "smell", "family": "Telepathy"}}


class Says(Api):
    """An API server that has one object, whatever is asked for."""

    def __init__(self, body: object) -> None:
        super().__init__(Server("http://127.0.0.1:9", None, Path("/nonexistent")), threading.Event())
        self.body = json.dumps(body).encode()

    def answer(self, method: str, path: str, what: str, body: bytes | None = None, media_type: str = APPLY) -> bytes:
        return self.body


def test_a_job_that_is_not_understood_is_told_with_its_field() -> None:
    with pytest.raises(InvalidInput, match="this worker does not understand the job: Input should be") as caught:
        JobAccess(Says(OTHER), JobName("mugs", "art")).read()
    assert caught.value.where == "spec.task"
    assert caught.value.fix == "Run operator, worker and CRDs of one release"
    assert "smell" not in str(caught.value), "it might be a prompt"


def test_a_provider_that_is_not_understood_is_told_with_its_name_and_field() -> None:
    with pytest.raises(InvalidInput, match="this worker does not understand the Provider: Input should be") as caught:
        read_provider(Says(OTHER), ProviderName("art", "west"))
    assert caught.value.where == "provider art/west: spec.family"
    assert "Telepathy" not in str(caught.value)
