"""What cannot be sent at all costs nothing, by every client that a provider is spoken to with."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from easel_api.errors import EaselError
from easel_api.provider import ProviderSpec
from easel_inference.backends import aws, google
from easel_inference.backends.base import Setup
from easel_inference.backends.families import client_of
from easel_inference.backends.rest import Rest
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "StabilityV2Beta": ("sd3.5-large", {}, ("API_KEY",)),
    "OpenAIImages": ("gpt-image-1.5", {}, ("API_KEY",)),
    "BedrockInvoke": (
        "stability.stable-image-core-v1:1",
        {"region": "us-west-2"},
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ),
}
"""One of those that speak by urllib3, by httpx2 and by botocore; with what each Provider has beside its endpoint."""


def sent(family: str, endpoint: str, folder: Path, authority: str | None = None) -> EaselError:
    """What becomes of a paid call."""
    model, told, keys = FAMILIES[family]
    for key in keys:
        (folder / key).write_text("k")
    spec = ProviderSpec.model_validate(
        {
            "family": family,
            "endpoint": endpoint,
            "credentials": {"secretRef": {"name": "s"}},
            "offers": [{"model": model}],
            **told,
        }
    )
    request = GenerationRequest(id="i", task="text-to-image", prompt="p", seed=9)
    with pytest.raises(EaselError) as caught:
        client_of(Setup("it", spec, model, Resolved(), folder, authority)).generate(
            request, Inputs(), lambda _: None, threading.Event()
        )
    return caught.value


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The https URL of a port that speaks no TLS: it answers so, or hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)
            if answer is not None:
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("endpoint", ["https://h:99999", "https://[127.0.0.1:1]"])
def test_an_endpoint_that_cannot_be_one_is_named(tmp_path: Path, family: str, endpoint: str) -> None:
    error = sent(family, endpoint, tmp_path)
    assert (error.reason, error.where, error.found) == ("EnvironmentFault", "spec.endpoint", endpoint)
    assert error.fix


def test_a_buckets_endpoint_is_named_by_its_own_field() -> None:
    with pytest.raises(EaselError) as caught:
        aws.bucket_client(aws.AwsAccount("us-west-2"), "http://h:99999")
    assert (caught.value.reason, caught.value.where) == ("EnvironmentFault", "spec.bucket.endpoint")


def test_a_second_api_of_a_provider_is_named_by_the_field_of_its_own(tmp_path: Path) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as endpoint:
        for found in ("https://h:99999", endpoint):
            with pytest.raises(EaselError) as caught:
                Rest("it", found, {}, where="spec.bucket.endpoint").ask("GET", "/", "model")
            assert (caught.value.reason, caught.value.where) == ("EnvironmentFault", "spec.bucket.endpoint"), found


CLIENTS: dict[str, Callable[[str], object]] = {
    "urllib3": lambda authority: Rest("it", "https://h", {}, authority),
    "botocore": lambda authority: aws.client(aws.AwsAccount("us-west-2", authority=authority), "bedrock-runtime"),
    "google-auth": lambda authority: google.Tokens(lambda: None, authority),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kept", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_an_authority_that_is_none_names_the_secret(tmp_path: Path, client: str, kept: str) -> None:
    (tmp_path / "ca.crt").write_text(kept)
    with pytest.raises(EaselError) as caught:
        CLIENTS[client](str(tmp_path / "ca.crt"))
    assert (caught.value.reason, caught.value.where) == ("AuthConfig", "spec.credentials.secretRef")
    assert "ca.crt" in caught.value.fix


@pytest.mark.parametrize("family", FAMILIES)
def test_an_authority_that_is_none_is_found_before_a_call(tmp_path: Path, family: str) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with answering(None) as endpoint:
        assert sent(family, endpoint, tmp_path, str(tmp_path / "ca.crt")).reason == "AuthConfig"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_a_connection_that_never_stood_sent_nothing(tmp_path: Path, family: str, answer: bytes | None) -> None:
    with answering(answer) as endpoint:
        error = sent(family, endpoint, tmp_path)
    plain = answer and family != "OpenAIImages"  # httpx2 does not say why
    assert error.reason == ("EnvironmentFault" if plain else "Transient"), str(error)
