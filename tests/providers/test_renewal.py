"""Keys that are replaced while a worker goes on: each request is made with those that the Secret has then."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from easel_emulators.base import Emulator, Subject, drawn
from easel_emulators.entra import CLIENT, SECRET, TENANT, entra
from easel_emulators.runway import SUBJECTS as RUNWAY
from easel_emulators.subjects import subjects

from easel_api.errors import AmbiguousSubmit, AuthConfig
from easel_api.provider import ProviderSpec
from easel_api.tasks import TAKES, Task
from easel_inference.backends import polled, runway_tasks
from easel_inference.backends.base import Renewed, Setup
from easel_inference.backends.entra import COGNITIVE_SERVICES, tokens
from easel_inference.backends.families import client_of
from easel_inference.backends.polled import Pace
from easel_inference.generation import GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

SUBJECTS = {subject.title: subject for subject in subjects()}
NEVER = threading.Event()
INPUTS = Inputs(image=drawn({"aspect_ratio": "4:4"}))


def setup(subject: Subject, service: Emulator, folder: Path) -> Setup:
    """With the Secret's folder, which is empty yet."""
    (folder / "secret").mkdir()
    places = {"{url}": service.url} | {f"{{{k}}}": v for k, v in getattr(service, "places", {}).items()}
    told = json.dumps(
        {
            "family": subject.family,
            "endpoint": service.url,
            "credentials": {"secretRef": {"name": "s"}},
            "offers": [dict(subject.offers[0])],
            **subject.spec,
        }
    )
    for name, place in places.items():
        told = told.replace(name, place)
    model = str(subject.offers[0]["model"])
    spec = ProviderSpec.model_validate_json(told)
    return Setup("it", spec, model, Resolved(), folder / "secret", str(service.authority))


def keep(made: Setup, secret: Mapping[str, str], url: str) -> None:
    """Puts keys where a kubelet does."""
    for name, value in secret.items():
        (made.secret / name).write_text(value.replace("{url}", url))


def earlier(secret: Mapping[str, str]) -> dict[str, str]:
    """Of the same shape, and no longer good."""
    account = "SERVICE_ACCOUNT_JSON"
    if account in secret:
        return {account: json.dumps(json.loads(secret[account]) | {"client_email": "earlier@example.org"})}
    return {name: f"{value[:-1]}x" for name, value in secret.items()}


def asked(subject: Subject) -> GenerationRequest:
    row = subject.rows[str(subject.offers[0]["model"])]
    shape = {name: row.parameters[name] for name in ("frames", "fps") if name in row.parameters}
    encoding = "mp4" if TAKES[Task(row.task)].video else "png"
    return GenerationRequest(id="i", task=row.task, prompt="a teapot", seed=9, encoding=encoding, **shape)


@pytest.mark.parametrize("family", SUBJECTS)
def test_each_family_calls_with_the_keys_of_the_moment(family: str, tmp_path: Path) -> None:
    subject = SUBJECTS[family]
    with subject.start(tmp_path) as service:
        made = setup(subject, service, tmp_path)
        keep(made, earlier(subject.secret), service.url)
        client = client_of(made)
        with pytest.raises(AuthConfig):
            client.generate(asked(subject), INPUTS, lambda _: None, NEVER)
        assert service.paid == []
        keep(made, subject.secret, service.url)
        assert client.generate(asked(subject), INPUTS, lambda _: None, NEVER).payload
        assert len(service.paid) == 1


def handed(made: Setup, service: Emulator) -> str:
    """The handle of a call that a worker left."""
    stop, handles = threading.Event(), list[str]()

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    service.gate.clear()
    with pytest.raises(polled.StillOut):
        runway_tasks.polled(made, PACE).generate(asked(RUNWAY[0]), Inputs(), hear, stop)
    service.gate.set()
    return handles[0]


PACE = Pace(first=0.02, longest=0.05)


def test_a_call_that_is_out_waits_for_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paid for; whoever replaces a key needs some time to bring it."""
    subject = RUNWAY[0]
    with subject.start(tmp_path) as service:
        made = setup(subject, service, tmp_path)
        keep(made, subject.secret, service.url)
        handle = handed(made, service)
        keep(made, earlier(subject.secret), service.url)
        later = runway_tasks.polled(made, PACE)
        with pytest.raises(AmbiguousSubmit, match="AuthConfig"):
            later.resume(handle, asked(subject), lambda _: None, NEVER)
        monkeypatch.setattr(polled, "RENEWAL_SECONDS", 60.0)
        renewal = threading.Timer(0.3, keep, (made, subject.secret, service.url))
        renewal.start()
        assert later.resume(handle, asked(subject), lambda _: None, NEVER).payload
        renewal.join()
        assert len(service.paid) == 1, "never submitted again"


def test_an_application_asks_with_the_secret_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with entra(tmp_path) as service:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{service.url}/")
        made = replace(setup_of_azure(tmp_path), authority=str(service.authority))
        application = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
        keep(made, application | {"AZURE_CLIENT_SECRET": "earlier"}, "")
        token = tokens(made, COGNITIVE_SERVICES)
        with pytest.raises(AuthConfig):
            token()
        keep(made, {"AZURE_CLIENT_SECRET": SECRET}, "")
        assert service.accepts(f"Bearer {token()}", COGNITIVE_SERVICES)


def setup_of_azure(folder: Path) -> Setup:
    (folder / "secret").mkdir()
    spec = ProviderSpec.model_validate(
        {
            "family": "AzureOpenAIImages",
            "endpoint": "https://h",
            "credentials": {"secretRef": {"name": "s"}},
            "offers": [{"model": "gpt-image-1.5"}],
        }
    )
    return Setup("it", spec, "gpt-image-1.5", Resolved(), folder / "secret")


def test_what_is_made_of_keys_is_made_of_those_that_belong_together(tmp_path: Path) -> None:
    """A kubelet replaces all of them between two readings."""
    made = setup_of_azure(tmp_path)
    keep(made, {"a": "1", "b": "1"}, "")
    interrupts: list[dict[str, str]] = []

    def both() -> Any:
        first = made.file("a")
        if interrupts:
            keep(made, interrupts.pop(), "")
        return first, made.file("b")

    kept = Renewed(made, ("a", "b"), both)
    assert kept() == ("1", "1")
    assert kept() is kept(), "made once"
    keep(made, {"a": "2", "b": "2"}, "")
    interrupts.append({"a": "3", "b": "3"})
    assert kept() == ("3", "3")
