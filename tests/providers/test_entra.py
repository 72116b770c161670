"""Tokens of Entra ID over TLS, against an emulator that verifies secrets and federated tokens."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.entra import CLIENT, SECRET, SUBJECT, TENANT, Entra, entra

from easel_api.errors import EaselError
from easel_api.provider import ProviderSpec
from easel_inference.backends.base import Setup
from easel_inference.backends.entra import COGNITIVE_SERVICES, MACHINE_LEARNING, tokens
from easel_inference.routing.request import Resolved

APPLICATION = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    for name in (*APPLICATION, "AZURE_FEDERATED_TOKEN_FILE", "AZURE_REGIONAL_AUTHORITY_NAME"):
        monkeypatch.delenv(name, raising=False)
    with entra(tmp_path) as made:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{made.url}/")
        yield made


def setup(service: Entra, tmp_path: Path, secret: dict[str, str] | None, authority: str | None = "own") -> Setup:
    """Of an application by its secret, or of the worker's own identity without one."""
    folder = tmp_path / "secret"
    folder.mkdir(exist_ok=True)
    for name, value in (secret or {}).items():
        (folder / name).write_text(value)
    credentials: dict[str, Any] = {"workloadIdentity": {}} if secret is None else {"secretRef": {"name": "azure"}}
    spec = ProviderSpec.model_validate(
        {
            "family": "AzureOpenAIImages",
            "endpoint": "https://art.openai.azure.com",
            "credentials": credentials,
            "offers": [{"model": "gpt-image-2"}],
        }
    )
    trusted = str(service.authority) if authority == "own" else authority
    return Setup("azure", spec, "gpt-image-2", Resolved(), folder, trusted)


@pytest.fixture
def pod(service: Entra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the webhook of Azure Workload Identity puts into a pod; the file of its token."""
    token = tmp_path / "azure-identity-token"
    token.write_text(service.service_account_token())
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    return token


def refusal(ask: Callable[[], object]) -> EaselError:
    with pytest.raises(EaselError) as caught:
        ask()
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert "eyJ" not in shown, "no token, of the cluster or of Entra"
    return caught.value


def test_an_application_with_a_secret_has_tokens_for_each_scope(service: Entra, tmp_path: Path) -> None:
    for scope in (COGNITIVE_SERVICES, MACHINE_LEARNING):
        assert service.given[tokens(setup(service, tmp_path, APPLICATION), scope)()] == scope
    assert service.refused == []


@pytest.mark.usefixtures("pod")
def test_a_worker_with_an_identity_has_tokens_too(service: Entra, tmp_path: Path) -> None:
    assert service.given[tokens(setup(service, tmp_path, None), COGNITIVE_SERVICES)()] == COGNITIVE_SERVICES


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("secret", [APPLICATION, None], ids=["secret", "identity"])
def test_a_token_is_kept_while_it_is_good_and_asked_for_anew_after(
    service: Entra, tmp_path: Path, secret: dict[str, str] | None
) -> None:
    ask = tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)
    with ThreadPoolExecutor(8) as many:
        assert len({many.submit(ask).result() for _ in range(32)}) == 1
    service.lifetime = 0
    anew = tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)
    assert anew() != anew(), "one that is over is not used"


def test_the_token_of_the_pod_is_what_counts(service: Entra, tmp_path: Path, pod: Path) -> None:
    """Not its being there: its subject, its time, its signature."""
    for wrong in (
        service.service_account_token("system:serviceaccount:art:another"),
        service.service_account_token(seconds=-60),
        Entra().service_account_token(SUBJECT),
        "eyJ.no.token",
    ):
        pod.write_text(wrong)
        error = refusal(tokens(setup(service, tmp_path, None), COGNITIVE_SERVICES))
        assert error.reason == "AuthConfig"
        assert "AADSTS70021" in error.found
    pod.unlink()
    assert refusal(tokens(setup(service, tmp_path, None), COGNITIVE_SERVICES)).reason == "AuthConfig"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"AZURE_CLIENT_SECRET": "another"}, "AADSTS7000215"),
        ({"AZURE_CLIENT_ID": "another"}, "AADSTS700016"),
        ({"AZURE_TENANT_ID": "another"}, ""),
        ({"AZURE_TENANT_ID": "no/tenant"}, "ValueError"),
        ({"AZURE_CLIENT_SECRET": ""}, "Secret azure"),
    ],
)
def test_what_is_wrong_with_an_application_is_told(
    service: Entra, tmp_path: Path, changes: dict[str, str], found: str
) -> None:
    error = refusal(lambda: tokens(setup(service, tmp_path, APPLICATION | changes), COGNITIVE_SERVICES)())
    assert error.reason == "AuthConfig"
    assert error.found.startswith(found)
    assert service.given == {}


def test_a_pod_without_an_identity_is_told_what_it_lacks(service: Entra, tmp_path: Path) -> None:
    error = refusal(lambda: tokens(setup(service, tmp_path, None), COGNITIVE_SERVICES))
    assert (error.reason, error.where) == ("AuthConfig", "spec.credentials.workloadIdentity")
    assert "AZURE_FEDERATED_TOKEN_FILE" in error.found


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("secret", [APPLICATION, None], ids=["secret", "identity"])
def test_a_network_that_fails_is_told_from_a_refusal(
    service: Entra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: dict[str, str] | None
) -> None:
    service.next.extend(["unavailable"] * 9)
    assert refusal(tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)).reason == "Transient"
    service.next.clear()
    service.next.append("unavailable")
    assert tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)(), "a question for a token is asked again"
    stranger = tokens(setup(service, tmp_path, secret, authority=None), COGNITIVE_SERVICES)
    assert refusal(stranger).reason == "EnvironmentFault"
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://127.0.0.1:9")
    assert refusal(tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)).reason == "Transient"
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", service.url.replace("https", "http"))
    assert refusal(lambda: tokens(setup(service, tmp_path, secret), COGNITIVE_SERVICES)).reason == "AuthConfig"


def test_the_emulator_refuses_what_entra_would(service: Entra, tmp_path: Path) -> None:
    """Beside the above: a scope that is none, and a token that it did not give."""
    assert refusal(tokens(setup(service, tmp_path, APPLICATION), "art")).found == "AADSTS70011"
    assert not service.accepts("Bearer another", COGNITIVE_SERVICES)
    given = tokens(setup(service, tmp_path, APPLICATION), MACHINE_LEARNING)()
    assert service.accepts(f"Bearer {given}", MACHINE_LEARNING)
    assert not service.accepts(f"Bearer {given}", COGNITIVE_SERVICES)
