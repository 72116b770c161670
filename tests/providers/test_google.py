"""Google's tokens, against an endpoint that checks what a service account signed, and a metadata server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.google_tokens import EMAIL, PROJECT, Tokens, metadata_server, service_account
from easel_emulators.vertex import Vertex, vertex

sys.path.insert(0, str(Path(__file__).parent))

from vertex_account import setup, shows_nothing

from easel_api.errors import EaselError
from easel_inference.backends import google
from easel_inference.backends.rest import Answer

FAMILY, MODEL = "VertexGenerateContent", "gemini-2.5-flash-image"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Vertex]:
    with vertex(tmp_path) as made:
        yield made


def headers(service: Vertex, folder: Path, **other: Any) -> Any:
    """The function that gives them."""
    found = google.account(setup(service, folder, FAMILY, MODEL, **other))
    return found.api._headers  # type: ignore[attr-defined] # what a call would send


def failed(service: Vertex, folder: Path, **other: Any) -> EaselError:
    with pytest.raises(EaselError) as caught:
        headers(service, folder, **other)()
    shows_nothing(caught.value)
    return caught.value


def test_a_service_account_signs_for_a_token_that_many_calls_share(service: Vertex, tmp_path: Path) -> None:
    tokens = headers(service, tmp_path)
    given: list[str] = []
    threads = [threading.Thread(target=lambda: given.append(tokens()["Authorization"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 1
    assert given[0].removeprefix("Bearer ") in service.tokens.good
    assert (service.tokens.asked, service.tokens.refused) == (1, [])


def test_a_token_that_ends_is_renewed(service: Vertex, tmp_path: Path) -> None:
    short = {"access_token": "ya29.short", "expires_in": 1, "token_type": "Bearer"}
    service.tokens.next.append((200, short))
    tokens = headers(service, tmp_path)
    assert tokens()["Authorization"] == "Bearer ya29.short"
    assert tokens()["Authorization"] != "Bearer ya29.short"
    assert service.tokens.asked == 2


def test_the_project_is_the_keys_unless_the_provider_names_another(service: Vertex, tmp_path: Path) -> None:
    found = google.account(setup(service, tmp_path, FAMILY, MODEL, project=None))
    assert found.place == f"projects/{PROJECT}/locations/us-central1"
    assert google.account(setup(service, tmp_path, FAMILY, MODEL, project="another")).project == "another"
    nameless = failed(service, tmp_path, project=None, key=service_account(service.url, project_id=""))
    assert (nameless.reason, nameless.where) == ("AuthConfig", "spec.project")


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_each_region_has_its_host(region: str, url: str) -> None:
    assert google.host(region) == url


def test_a_key_that_is_none_names_the_secret(service: Vertex, tmp_path: Path) -> None:
    private = json.loads(service_account(service.url))["private_key"]
    for key in (
        "",
        "no JSON",
        "[]",
        "{}",
        service_account(service.url, private_key="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        service_account("http://127.0.0.1:9"),
        service_account(service.url, client_email=None),
    ):
        error = failed(service, tmp_path, key=key)
        assert (error.reason, error.where, error.found) == ("AuthConfig", "spec.credentials.secretRef", "Secret google")
        shows_nothing(error, private[40:80])


def test_what_the_endpoint_refuses_is_told_from_what_passes(service: Vertex, tmp_path: Path) -> None:
    stranger = failed(service, tmp_path, key=service_account(service.url, client_email=f"other.{EMAIL}"))
    assert (stranger.reason, stranger.retryable) == ("AuthConfig", False)
    assert service.tokens.refused, "the endpoint checks who signed"
    nobody = failed(service, tmp_path, key=service_account("https://127.0.0.1:9"))
    assert (nobody.reason, nobody.retryable) == ("Transient", True)
    untrusted = failed(service, tmp_path, trusted=False)
    assert untrusted.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was signed for"


def test_a_busy_endpoint_is_asked_again(service: Vertex, tmp_path: Path) -> None:
    service.tokens.next.extend([(503, {"error": "backend_error"})])
    assert headers(service, tmp_path)()["Authorization"]
    assert service.tokens.asked == 2


def test_an_endpoint_that_never_answers_holds_nobody(
    service: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google, "TOKEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        key = service_account(f"https://127.0.0.1:{silent.getsockname()[1]}")
        heard: list[EaselError] = []
        asking = threading.Thread(target=lambda: heard.append(failed(service, tmp_path, key=key)), daemon=True)
        asking.start()
        asking.join(20)
    assert [(error.reason, error.retryable) for error in heard] == [("Transient", True)]


ASKS = """
import sys
from easel_api.provider import ProviderSpec
from easel_inference.backends import google
from easel_inference.backends.base import Setup
from easel_inference.routing.request import Resolved
from pathlib import Path
spec = ProviderSpec.model_validate({"family": "VertexPredict", "region": "global", "project": "p", "credentials": {"workloadIdentity": {}},
    "offers": [{"model": "m", "tasks": ["text-to-image"]}]})
account = google.account(Setup("v/m", spec, "m", Resolved(), Path("/nowhere")))
print(account.api._headers()["Authorization"])
"""


def test_the_workers_own_identity_asks_the_metadata_server() -> None:
    tokens = Tokens()
    with metadata_server(tokens) as address:
        # google-auth reads the variable when it is imported, as in a worker's own process.
        env = os.environ | {"GCE_METADATA_HOST": address}
        told = subprocess.run([sys.executable, "-c", ASKS], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.strip().removeprefix("Bearer ") in tokens.good


def test_an_identity_names_its_project(service: Vertex, tmp_path: Path) -> None:
    error = failed(service, tmp_path, project=None, credentials={"workloadIdentity": {}})
    assert (error.reason, error.where) == ("AuthConfig", "spec.project")


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"status": "INVALID_ARGUMENT", "message": "field seed: zebra"}, "InvalidInput"),
        (
            400,
            {"status": "INVALID_ARGUMENT", "message": "the zebra violates Google's Responsible AI"},
            "ContentBlocked",
        ),
        (400, {"status": "FAILED_PRECONDITION", "message": "zebra"}, "InvalidInput"),
        (401, {"status": "UNAUTHENTICATED"}, "AuthConfig"),
        (403, {"status": "PERMISSION_DENIED"}, "AuthConfig"),
        (403, {"status": "PERMISSION_DENIED", "details": [{"reason": "BILLING_DISABLED"}]}, "QuotaExhausted"),
        (404, {"status": "NOT_FOUND"}, "ModelRetired"),
        (429, {"status": "RESOURCE_EXHAUSTED"}, "Throttled"),
        (500, {"status": "INTERNAL"}, "Transient"),
        (503, {"status": "UNAVAILABLE"}, "Transient"),
        (504, {"status": "DEADLINE_EXCEEDED"}, "AmbiguousSubmit"),
        (418, {"status": "a zebra"}, "BackendFault"),
        (500, "a zebra", "Transient"),
        (400, {"details": "zebra", "message": ["zebra"]}, "InvalidInput"),
        (403, {"details": 7}, "AuthConfig"),
    ],
)
def test_each_error_has_its_meaning(status: int, error: Any, reason: str) -> None:
    found = google.refused(Answer(status, {}, json.dumps({"error": error}).encode()), "m")
    assert found.reason == reason
    shows_nothing(found)


@pytest.mark.parametrize(
    ("delay", "header", "seconds"),
    [("17s", "", 17.0), ("0.5s", "", 0.5), ("soon", "", None), ("17s", "3", 3.0), (None, "", None)],
)
def test_how_long_to_wait_is_told(delay: str | None, header: str, seconds: float | None) -> None:
    error = {"status": "RESOURCE_EXHAUSTED", "details": [{"reason": "x"}, {"retryDelay": delay}]}
    answer = Answer(429, {"retry-after": header} if header else {}, json.dumps({"error": error}).encode())
    found = google.refused(answer, "m")
    assert getattr(found, "retry_after", "none") == seconds
