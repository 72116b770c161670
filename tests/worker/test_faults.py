"""Every wire family through every fault: how the item ends, how often it is paid for, and that the ledger knows of every cent.

The families, and how each says what goes wrong, are in the emulators (`SUBJECTS`); docs/faults.md is written from the same.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx  # noqa: F401 - first of all: openai looks at it, half imported by another family's thread
import pytest
from bought import PROMPT, Cell, item_of, png
from easel_emulators.base import WORDS, Ends, Subject
from easel_emulators.pictures import Miniature
from easel_emulators.subjects import subjects
from every_family import AT_A_TIME, MARKS, SUBJECTS
from PIL import Image
from worker_pods import NAMESPACE

from easel_api.errors import EnvironmentFault
from easel_api.offers import WireFamily
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.backends import polled
from easel_inference.jobs import attempts, purses, routes
from easel_inference.jobs.access import JobAccess

pytestmark = MARKS


@pytest.fixture(scope="module")
def cells(opened: Callable[..., Any]) -> dict[str, dict[str, Cell | Exception]]:
    """All families, some at a time."""

    def through(subject: Subject) -> dict[str, Cell | Exception]:
        model = str(subject.offers[0]["model"])
        with opened(subject) as shop:
            found: dict[str, Cell | Exception] = shop.cells(subject.ends, subject.rows[model], model)
            return found

    # A key that was taken back is not waited for as long as a Secret may take.
    with ThreadPoolExecutor(AT_A_TIME) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(polled, "RENEWAL_SECONDS", 1.0)
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
        worker = shop.start(job, model)
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


@pytest.mark.parametrize("why", ["cancelled", "timed", "stopped"])
def test_a_worker_that_is_told_to_stop_has_the_provider_stop_what_nobody_will_ask_for(
    why: str, opened: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """A job that was cancelled, or whose time is up; a worker that moves to another node leaves the call where it is, for the next one."""
    over = why != "stopped"
    subject = SUBJECTS["ReplicatePredictions"]
    model = str(subject.offers[0]["model"])
    with opened(subject) as shop:
        shop.emulator.gate.clear()
        name = f"{shop.name}-{why}"
        job = shop.jobs({name: subject.rows[model]}, deadlineSeconds=3600)[name]
        worker = shop.start(job, model)
        eventually(lambda: bool(shop.emulator.calls) and "remote" in shop.delivered(name), "the call is out")
        if why == "cancelled":
            shop.kubectl("patch", "gen", name, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"cancel":true}}')
        worker.terminate()
        if why == "timed":
            failed = '{"status":{"phase":"Failed"}}'
            shop.kubectl("patch", "gen", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", failed)
        assert worker.wait(30) == 128 + 15
        assert len(shop.emulator.cancelled) == over
        assert shop.delivered(name)["state"] == "Submitted", "as it is known to be"
        if not over:
            shop.emulator.gate.set()
            assert shop.run(job, model) is None
            assert shop.delivered(name)["state"] == "Succeeded"
            assert shop.ledger() == shop.emulator.billed
        assert len(shop.emulator.calls) == 1


SPENT = "jsonpath={.status.cost.spent}"


class Killed(BaseException):
    """As the end of a process, which no code hears of."""


def test_a_worker_that_dies_while_it_stores_a_paid_result_leaves_it_to_the_next(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = SUBJECTS["ReplicatePredictions"]
    model = str(subject.offers[0]["model"])
    with opened(subject) as shop:
        name = f"{shop.name}-storing"
        job = shop.jobs({name: subject.rows[model]})[name]

        def dies(store: Any, key: str, data: bytes, media_type: str) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(attempts, "put_checked", dies)
            with pytest.raises(Killed):
                shop.run(job, model)
        assert (shop.delivered(name)["state"], "remote" in shop.delivered(name)) == ("Storing", True)
        assert shop.run(job, model) is None
        assert (shop.delivered(name)["state"], "remote" in shop.delivered(name)) == ("Succeeded", False)
        assert len(shop.emulator.calls) == 1
        assert shop.ledger() == shop.emulator.billed


def test_a_fault_of_the_surroundings_ends_no_job_with_calls_that_are_out(
    opened: Callable[..., Any], eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are paid for; the batch Job starts another worker while its backoffLimit lasts."""
    subject = SUBJECTS["ReplicatePredictions"]
    model = str(subject.offers[0]["model"])
    with opened(subject) as shop:
        shop.emulator.gate.clear()
        name = f"{shop.name}-away"
        job = shop.jobs({name: subject.rows[model]})[name]
        worker = shop.start(job, model)
        eventually(lambda: bool(shop.emulator.calls) and "remote" in shop.delivered(name), "the call is out")
        eventually(lambda: shop.kubectl("get", "gen", name, "-n", NAMESPACE, "-o", SPENT) != "", "its status says so")
        worker.kill()
        worker.wait()
        shop.emulator.gate.set()

        def away(*_: Any, **__: Any) -> Any:
            raise EnvironmentFault("the disk is away")

        # The store twice: what the first of them tells of the job must not hide from the second that it paid.
        for broken in (
            (DirectoryStore, "get"),
            (DirectoryStore, "get"),
            (JobAccess, "read"),
            (routes, "read_provider"),
            (purses, "read_provider"),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(*broken, away)
                error = shop.run(job, model)
            assert error is not None
            assert (error.reason, error.found) == ("Cancelled", "EnvironmentFault"), error
        assert shop.run(job, model) is None
        assert shop.delivered(name)["state"] == "Succeeded"
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
            # What reads no prompt is to show what the picture did.
            seen = judge_files([path], [item["prompt"] or PROMPT])
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
