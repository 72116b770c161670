"""What a worker says of objects of another release's kinds."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
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


def test_the_day_is_that_of_the_api_server() -> None:
    """A node's clock may be days ahead, and windows of a ledger never go back."""

    class Dated(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", "Tue, 31 Dec 2030 23:59:59 GMT")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Dated) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        api = Api(Server(f"http://127.0.0.1:{server.server_port}", None, None), threading.Event())
        assert api.today() == datetime.now(UTC).date(), "nobody was asked yet"
        api.answer("GET", "/", "it")
        server.shutdown()
    assert api.today() in (date(2030, 12, 31), date(2031, 1, 1))
