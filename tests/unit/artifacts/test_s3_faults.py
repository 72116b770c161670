"""What the bucket store makes of an endpoint that is none, or that breaks off; the rest needs a real S3 (tests/worker)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from easel_api.errors import EaselError, EnvironmentFault, InvalidInput
from easel_api.generationjob import S3Store as S3Reference
from easel_inference.artifacts import s3
from easel_inference.artifacts.s3 import Credentials, S3Store

ANSWERS = {
    "whole": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "cut-off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "cut-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    "garbage": b"\x00\x01\r\n",
    "silence": b"",
    "page": b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>",
    "broken-error": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 4\r\n\r\n<a b",
    "elsewhere": b"HTTP/1.1 301 Moved\r\nConnection: close\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
}


class Saying(BaseHTTPRequestHandler):
    """Answers with the bytes that the first part of the path, the bucket, names, and closes."""

    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]  # set by the fixture
        self.wfile.write(ANSWERS[self.path.split("/")[1]])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(s3, "_FIRST_WAIT_SECONDS", 0.001)
    with ThreadingHTTPServer(("127.0.0.1", 0), Saying) as served:
        served.asked = 0  # type: ignore[attr-defined]  # counted by the handler
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def store(endpoint: str, bucket: str = "art", region: str | None = None) -> S3Store:
    reference = S3Reference(bucket=bucket, endpoint=endpoint, region=region)
    return S3Store(reference, reference.bucket, Credentials("key", "a-secret"), threading.Event())


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("answer", ["whole", "chunks"])
def test_an_object_is_read_up_to_its_limit(server: ThreadingHTTPServer, answer: str) -> None:
    here = store(address(server), answer)
    assert here.get("a", limit=3) == b"abc"
    with pytest.raises(InvalidInput, match="larger than 2 bytes"):
        here.get("a", limit=2)


@pytest.mark.parametrize("answer", ["cut-off", "cut-chunk", "garbage", "silence", "page"])
def test_what_breaks_off_is_tried_again_and_then_named(server: ThreadingHTTPServer, answer: str) -> None:
    with pytest.raises(EnvironmentFault, match="did not serve in 5 tries") as caught:
        store(address(server), answer).get("a", limit=1000)
    assert address(server) in caught.value.found
    assert server.asked == 5  # type: ignore[attr-defined]  # counted by the handler


@pytest.mark.parametrize("answer", ["broken-error", "elsewhere"])
def test_what_no_second_try_mends_is_not_tried_on_and_on(server: ThreadingHTTPServer, answer: str) -> None:
    with pytest.raises(EnvironmentFault, match="S3"):
        store(address(server), answer).get("a", limit=1000)
    # Twice when the connection is reset before the answer is read: that is worth a second try.
    assert server.asked <= 2  # type: ignore[attr-defined]  # counted by the handler


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("http://a_b:7070", None),
        ("http://[::1", None),
        ("http://ex..ample", None),
        ("http://s3:port", None),
        ("http://s3:99999", None),
        ("http://s3:7070", "-"),
    ],
)
def test_an_endpoint_or_region_that_is_none_is_named_at_once(endpoint: str, region: str | None) -> None:
    with pytest.raises(EaselError) as caught:
        store(endpoint, region=region).get("a", limit=1)
    assert isinstance(caught.value, EnvironmentFault)
    assert caught.value.where == "spec.output.store.s3"
    assert endpoint in caught.value.found
    assert "Check endpoint, region" in caught.value.fix
    assert "a-secret" not in str(caught.value)
