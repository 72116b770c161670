"""Every wire family through every fault: how the item ends, how often it is paid for, and that the ledger knows of every cent.

The families, and how each says what goes wrong, are in the emulators (`SUBJECTS`); docs/faults.md is written from the same.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import httpx  # noqa: F401 - first of all: openai looks at it, half imported by another family's thread
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from bought import Cell, Shop, item_of, png
from easel_emulators.base import WORDS, Draw, Ends, Subject
from easel_emulators.pictures import Miniature
from easel_emulators.subjects import subjects
from worker_pods import NAMESPACE

from easel_api.offers import WireFamily
from easel_api.tasks import TAKES, Task

pytestmark = [pytest.mark.apiserver, pytest.mark.engine, pytest.mark.s3, pytest.mark.timeout(900)]

SUBJECTS = {subject.title: subject for subject in subjects()}
AT_A_TIME = 6
"""Families; most of the time is spent waiting."""


@pytest.fixture(scope="module")
def in_a_pod(api_server: Any) -> Iterator[None]:
    """Workers in this process find the API server as in a pod."""
    server = urlsplit(api_server.url)
    told = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def opened(
    api_server: Any,
    account: Path,
    s3_server: Any,
    in_a_pod: None,
    tmp_path_factory: pytest.TempPathFactory,
    new_bucket: Any,
) -> Iterator[Callable[..., contextlib.AbstractContextManager[Shop]]]:
    """Opens a shop with an emulator of a family."""

    @contextlib.contextmanager
    def open_shop(subject: Subject, draw: Draw | None = None) -> Iterator[Shop]:
        folder = tmp_path_factory.mktemp("shop")
        bucket = new_bucket()
        (folder / "credentials").mkdir()
        for name, value in bucket.environment.items():
            (folder / "credentials" / name).write_text(value)
        with subject.start(folder / "emulator", draw=draw) as emulator:
            shop = Shop(api_server.kubectl, account, bucket, folder, subject, emulator)
            shop.open()
            try:
                yield shop
            finally:
                api_server.kubectl("delete", "provider", shop.name, "-n", NAMESPACE)

    yield open_shop
    api_server.kubectl("delete", "generationjobs", "--all", "-n", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def cells(opened: Callable[..., Any]) -> dict[str, dict[str, Cell | Exception]]:
    """All families, some at a time."""

    def through(subject: Subject) -> dict[str, Cell | Exception]:
        model = str(subject.offers[0]["model"])
        with opened(subject) as shop:
            found: dict[str, Cell | Exception] = shop.cells(subject.ends, subject.rows[model], model)
            return found

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(zip(SUBJECTS, pool.map(through, SUBJECTS.values()), strict=True))


@pytest.mark.parametrize("family", SUBJECTS)
def test_each_fault_ends_as_it_must_and_is_paid_once_at_most(
    family: str, cells: dict[str, dict[str, Cell | Exception]]
) -> None:
    subject, wrong = SUBJECTS[family], []
    assert set(subject.ends) | set(subject.never) == set(WORDS), "every fault happens, or it is said why it cannot"
    assert not set(subject.ends) & set(subject.never)
    for word, ends in subject.ends.items():
        cell = cells[family][word]
        if not isinstance(cell, Cell):
            wrong.append(f"{word}: {cell!r}")
            continue
        print(f"{family:26} {word:18} {cell.reason or 'delivered':18} paid {cell.paid}, ledger ${cell.ledger}")
        if Ends(cell.reason, cell.paid) != ends:
            wrong.append(f"{word}: {cell} where {ends} was said")
        if cell.ledger != cell.billed or cell.reserved or cell.paid > 1:
            wrong.append(f"{word}: money {cell}")
    assert not wrong, "\n".join(wrong)


def test_every_family_has_an_emulator() -> None:
    assert {subject.family for subject in SUBJECTS.values()} == set(WireFamily)
    assert len(SUBJECTS) == len(subjects())


@pytest.mark.parametrize("family", SUBJECTS)
def test_a_worker_that_is_killed_in_a_call_never_has_it_made_twice(
    family: str, opened: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """A call with a handle is picked up and delivered; of another one nobody knows, and it is not made again."""
    subject = SUBJECTS[family]
    model, polled = str(subject.offers[0]["model"]), "slow poll" in subject.ends
    with opened(subject) as shop:
        shop.emulator.gate.clear()
        name = f"{shop.name}-killed"
        job = shop.jobs({name: subject.rows[model]})[name]
        worker = subprocess.Popen(
            [sys.executable, "-m", "easel_inference.jobs"],
            env={**os.environ, **shop.environment(job, model)},
            stderr=subprocess.DEVNULL,
        )
        eventually(
            lambda: bool(shop.emulator.calls) and (not polled or "remote" in shop.delivered(name)), "the call is out"
        )
        worker.kill()
        worker.wait()
        shop.emulator.gate.set()
        eventually(lambda: len(shop.emulator.paid) == 1, "it is made and billed")
        error = shop.run(job, model)
        assert (error.reason if error else "") == ("" if polled else "AmbiguousSubmit")
        assert len(shop.emulator.calls) == 1, "never submitted again"
        assert shop.ledger() == shop.emulator.billed


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_worker_that_is_told_to_stop_has_the_provider_stop_what_nobody_will_ask_for(
    cancelled: bool, opened: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """A job that was cancelled; a worker that moves to another node leaves the call where it is, for the next one."""
    subject = SUBJECTS["ReplicatePredictions"]
    model = str(subject.offers[0]["model"])
    with opened(subject) as shop:
        shop.emulator.gate.clear()
        name = f"{shop.name}-{'cancelled' if cancelled else 'stopped'}"
        job = shop.jobs({name: subject.rows[model]})[name]
        worker = subprocess.Popen(
            [sys.executable, "-m", "easel_inference.jobs"],
            env={**os.environ, **shop.environment(job, model)},
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: bool(shop.emulator.calls) and "remote" in shop.delivered(name), "the call is out")
        if cancelled:
            shop.kubectl("patch", "gen", name, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"cancel":true}}')
        worker.terminate()
        assert worker.wait(30) == 128 + 15
        assert len(shop.emulator.cancelled) == cancelled
        assert shop.delivered(name)["state"] == "Submitted", "as it is known to be"
        if not cancelled:
            shop.emulator.gate.set()
            assert shop.run(job, model) is None
            assert shop.delivered(name)["state"] == "Succeeded"
            assert shop.ledger() == shop.emulator.billed
        assert len(shop.emulator.calls) == 1


@pytest.fixture(scope="module")
def drawing() -> Miniature:
    return Miniature()


@pytest.mark.parametrize("family", SUBJECTS)
def test_each_model_delivers_what_was_asked_for(
    family: str, opened: Callable[..., Any], drawing: Miniature, tmp_path: Path
) -> None:
    """A job on the API server, a worker, the provider, an object in the store; judged by what it shows."""
    from easel_inference.miniature.judge import judge_files

    subject, wrong = SUBJECTS[family], []
    with opened(subject, drawing) as shop:
        names = {model: f"{shop.name}-row-{number}" for number, model in enumerate(subject.rows)}
        jobs = shop.jobs({names[model]: row for model, row in subject.rows.items()}, to_bucket=True)
        for model, row in subject.rows.items():
            began, name = time.monotonic(), names[model]
            error = shop.run(jobs[name], model)
            if error is not None:
                wrong.append(f"{model}: {error}")
                continue
            item = item_of(shop.bucket.bytes_of(f"{name}/manifest.json"))
            data = shop.bucket.bytes_of(item["delivered"]["key"])
            video = TAKES[Task(row.task)].video
            path = tmp_path / f"{name}.png"
            middle_of(first_frame(data) if video else data).save(path)
            seen = judge_files([path], [item["prompt"]])
            print(f"{family:26} {model:45} {row.task:18} ${item['cost']:8} {time.monotonic() - began:.1f} s")
            if seen.share("product") < 1 or item["backend"] != f"{shop.name}/{model}":
                wrong.append(f"{model}: {seen}")
        if shop.ledger() != shop.emulator.billed:
            wrong.append(f"ledger {shop.ledger()}, billed {shop.emulator.billed}")
    assert not wrong, "\n".join(wrong)


def first_frame(clip: bytes) -> bytes:
    """Of an MP4, as PNG."""
    with av.open(io.BytesIO(clip)) as opened:
        return png(next(opened.decode(video=0)).to_ndarray(format="rgb24"))


def middle_of(picture: bytes) -> Image.Image:
    """Its largest square, which the judge knows the proportions of."""
    with Image.open(io.BytesIO(picture)) as opened:
        side = min(opened.size)
        left, top = ((length - side) // 2 for length in opened.size)
        return opened.convert("RGB").crop((left, top, left + side, top + side))
