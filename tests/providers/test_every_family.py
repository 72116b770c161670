"""What holds for every wire family alike, against its emulator."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from easel_emulators.base import Emulator, Subject
from easel_emulators.subjects import subjects
from PIL import Image

from easel_api.errors import Unsupported
from easel_api.provider import ProviderSpec
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.encoding import encode
from easel_inference.backends.base import Backend, Setup, StillOut
from easel_inference.backends.families import client_of
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import Expand, GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.capability import fit
from easel_inference.routing.request import Request, Resolved

SIDE = 64
TOKEN = "clientRequestToken"
SUBJECTS = [pytest.param(subject, id=subject.title) for subject in subjects()]


class Account:
    """A subject's emulator, and the clients of a Provider of it."""

    def __init__(self, subject: Subject, emulator: Emulator, folder: Path) -> None:
        self.emulator, self._folder = emulator, folder
        for key, value in subject.secret.items():
            (folder / key).write_text(value.replace("{url}", emulator.url))
        places = {"url": emulator.url, **getattr(emulator, "places", {})}
        told = {
            "family": subject.family,
            "endpoint": emulator.url,
            "credentials": {"secretRef": {"name": "key"}},
            "offers": [dict(offer) for offer in subject.offers],
            **filled(subject.spec, places),
        }
        self.spec = ProviderSpec.model_validate(told)

    def tasks(self, model: str) -> list[Task]:
        offer = offer_of(self.spec, model)
        return list(offer.tasks) if offer else []

    @cache  # noqa: B019 - a test's, which ends with it
    def client(self, model: str, task: Task) -> Backend:
        offer = offer_of(self.spec, model)
        assert offer is not None
        seconds = 4 if TAKES[task].video else None
        resolved = fit(offer, Request(task, seconds=seconds, prompt_characters=1, adapts=True))
        assert isinstance(resolved, Resolved)
        return client_of(Setup("a", self.spec, model, resolved, self._folder, str(self.emulator.authority)))

    def asked(self, model: str, task: Task, inputs: Inputs, **other: Any) -> list[Any]:
        """What one item asked of the provider, which is not waited for."""
        self.emulator.calls.clear()
        stop = threading.Event()

        def hears(message: Message) -> None:
            if isinstance(message.event, Handed):
                stop.set()

        with contextlib.suppress(StillOut):
            self.client(model, task).generate(request(task, **other), inputs, hears, stop)
        files: list[Any] = getattr(self.emulator, "files", [])
        found = [{name: value for name, value in call.items() if name != TOKEN} for call in self.emulator.calls] + files
        files.clear()
        return found


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """With the emulator's own addresses in place of `{url}` and others."""
    match value:
        case str():
            for name, place in places.items():
                value = value.replace(f"{{{name}}}", place)
            return value
        case Mapping():
            return {key: filled(each, places) for key, each in value.items()}
        case list() | tuple():
            return [filled(each, places) for each in value]
    return value


def request(task: Task, **other: Any) -> GenerationRequest:
    takes = TAKES[task]
    told: dict[str, Any] = {
        "id": uuid4().hex,
        "task": task,
        "prompt": "a mug",
        "seed": 9,
        "steps": 20,
        "guidance_scale": 4.0,
    }
    if takes.video:
        told |= {"encoding": "mp4", "frames": 32, "fps": 8}
    if takes.expand:
        told |= {"expand": Expand(left=64)}
    if takes.search:
        told |= {"search_prompt": "the cup"}
    if takes.mute:
        told |= {"prompt": ""}
    return GenerationRequest(**(told | other))


def noise(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def picture(seed: int) -> bytes:
    target = io.BytesIO()
    Image.fromarray(noise(seed)).save(target, "PNG")
    return target.getvalue() + b"\0" * seed  # of another length, too: some emulators keep that alone


@cache
def inputs(seed: int = 0) -> Inputs:
    clip = encode(np.repeat(noise(seed)[None], 8, axis=0), "mp4", 8)
    pictures = {part: picture(seed) for part in Inputs().named() if part != "clip"}
    return Inputs(**pictures, clip=clip)


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    subject: Subject = request.param
    served, secret = tmp_path / "served", tmp_path / "secret"
    served.mkdir()
    secret.mkdir()
    with subject.start(served) as emulator:
        yield Account(subject, emulator, secret)


@pytest.mark.parametrize("account", SUBJECTS, indirect=True)
def test_each_input_that_a_task_takes_is_sent(account: Account) -> None:
    one, other = inputs(), inputs(1)
    for model in (offer.model for offer in account.spec.offers):
        for task in account.tasks(model):
            takes = TAKES[task]
            if not takes.has_input:
                continue
            before = account.asked(model, task, one)
            assert before, f"{model} is not asked for {task}: {account.emulator.refused}"
            for part in one.named():
                if getattr(takes, part):
                    changed = replace(one, **{part: getattr(other, part)})
                    assert account.asked(model, task, changed) != before, f"{model} is asked for {task} without {part}"


@pytest.mark.parametrize("account", SUBJECTS, indirect=True)
def test_a_format_that_no_provider_makes_is_refused_before_the_call(account: Account) -> None:
    for model in (offer.model for offer in account.spec.offers):
        for task in account.tasks(model):
            for encoding in ("gif", "webp") if TAKES[task].video else ("gif", "mp4"):
                with pytest.raises(Unsupported) as caught:
                    account.asked(model, task, inputs(), encoding=encoding)
                assert (caught.value.where, caught.value.found) == ("spec.output.format", encoding), model
    assert (account.emulator.calls, account.emulator.paid, account.emulator.refused) == ([], [], [])


def test_every_row_that_a_job_can_use_is_offered_by_a_subject() -> None:
    rows = {(row.family, row.model) for surface in surfaces().values() for row in surface.offers if row.tasks}
    assert rows == {
        (row.family, row.model)
        for surface in surfaces().values()
        for row in surface.offers
        for subject in subjects()
        if subject.family == row.family and row.model in subject.rows
    }
