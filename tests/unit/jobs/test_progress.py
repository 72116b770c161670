"""Adding up what happens, and showing it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import BackendFault, EaselError
from easel_api.generationjob import GenerationJobStatus
from easel_inference.artifacts.manifest import Delivered
from easel_inference.generation import Chosen
from easel_inference.jobs.access import behind, status_of, was_paid
from easel_inference.jobs.progress import LastFailure, Snapshot, StoredResult, Tally
from easel_inference.jobs.report import ReportLoop

DELIVERED = Delivered(
    uri="s3://b/k", key="k", sha256="0" * 64, bytes=7, media_type="image/png", width=8, height=8, steps=4,
    model_digest="sha256:0", dtype="float32", device="cpu",
)  # fmt: skip


def result(number: int) -> StoredResult:
    return StoredResult(f"{number:04d}", number, DELIVERED)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


EVENTS = st.lists(
    st.tuples(st.sampled_from(["found", "started", "stepped", "stopped", "stored", "failed"]), st.integers(0, 9), st.integers(0, 4)),
    max_size=60,
)  # fmt: skip


@given(EVENTS)
def test_counts_never_contradict_each_other(events: list[tuple[str, int, int]]) -> None:
    tally, done = Tally(10, 4, Clock()), set()
    for what, number, step in events:
        if number in done:
            continue
        match what:
            case "found" | "stored":
                getattr(tally, what)(result(number))
                done.add(number)
            case "failed":
                tally.failed(LastFailure(BackendFault("x"), f"{number:04d}", 1))
                done.add(number)
            case "stepped":
                tally.stepped(f"{number:04d}", step, 4)
            case _:
                getattr(tally, what)(f"{number:04d}")
        shown = tally.snapshot()
        assert shown.succeeded + shown.failed == len(done)
        assert shown.succeeded + shown.failed + shown.running <= shown.total
        assert 0 <= shown.steps_done <= shown.steps_total == 40
        assert (shown.percent == 100) == (len(done) == 10)
        assert shown.eta_seconds is None or shown.eta_seconds >= 0
        status_of(shown)


def chosen(backend: str, reason: str = "Ordered", **passed_over: str) -> Chosen:
    return Chosen(backend=backend, selected_reason=reason, passed_over=passed_over)


def test_who_makes_how_much_and_why_is_told_those_with_most_first() -> None:
    tally = Tally(5, 4, Clock())
    tally.expect(Decimal("0.20"))
    assert tally.snapshot().backends == ()
    for number, backend in enumerate(("studio", "west/core", "west/core", "east/core", "")):
        tally.chosen(f"{number:04d}", chosen(backend, "Ordered" if backend else ""))
    tally.chosen("0000", fallen := chosen("west/core", "Fallback", studio="it has no replica"))
    for number in (0, 1):
        tally.stored(replace(result(number), choice=fallen))
    tally.found(replace(result(3), choice=chosen("east/core")))
    status = status_of(tally.snapshot()).to_manifest()
    assert status["cost"] == {"estimated": "0.2", "currency": "USD"}
    west = {"name": "west/core", "items": 2, "selectedReason": "Fallback", "message": "studio: it has no replica"}
    assert status["backends"] == [west, {"name": "east/core", "items": 1, "selectedReason": "Ordered", "message": ""}]
    tally.stored(result(2))
    assert status_of(tally.snapshot()).to_manifest()["backends"][0]["items"] == 2, "made without a class"


def test_what_an_item_waits_for_is_told_while_nobody_may_make_it() -> None:
    tally = Tally(2, 4, Clock())
    tally.started("0000")
    tally.chosen("0000", chosen("", "", **{"west/core": "it rests", "studio": "it has no replica"}))
    assert status_of(tally.snapshot()).waiting_for == "west/core: it rests; studio: it has no replica"
    tally.chosen("0000", chosen("west/core"))
    assert status_of(tally.snapshot()).waiting_for == ""
    tally.chosen("0000", chosen("", "", a="it rests"))
    tally.stopped("0000")
    assert status_of(tally.snapshot()).waiting_for == "", "it is not under way"


def test_what_nobody_knows_the_price_of_is_counted_and_is_not_nothing() -> None:
    tally = Tally(3, 4, Clock())
    tally.paid("0000", "")
    assert status_of(tally.snapshot()).to_manifest()["cost"] == {"unpriced": 1, "currency": "USD"}
    tally.paid("0001", "0.04")
    tally.paid("0002", "")
    tally.paid("0002", None)
    shown = status_of(tally.snapshot())
    assert shown.to_manifest()["cost"] == {"spent": "0.04", "unpriced": 1, "currency": "USD"}
    assert was_paid(shown)
    assert not was_paid(status_of(Tally(3, 4, Clock()).snapshot()))


def test_a_worker_that_ends_before_it_knows_what_is_there_takes_back_nothing_but_the_failure() -> None:
    first, second = Tally(3, 4, Clock()), Tally(3, 4, Clock())
    first.started("0001")
    first.stored(replace(result(0), choice=chosen("west/core")))
    first.paid("0000", "0.04")
    earlier = status_of(first.snapshot())
    second.broke(BackendFault("the bucket is away"))
    told = behind(earlier, status_of(second.snapshot())).to_manifest()
    assert told == earlier.to_manifest() | {
        "items": {"total": 3, "succeeded": 1, "failed": 0, "running": 0},
        "lastFailure": told["lastFailure"],
    }
    assert told["lastFailure"]["reason"] == "BackendFault"
    assert behind(GenerationJobStatus(), earlier) == earlier, "nobody told anything before"


def test_a_status_holds_no_more_than_its_schema_allows() -> None:
    tally = Tally(100, 4, Clock())
    for number in range(100):
        tally.chosen(f"{number:04d}", chosen(f"west/{'w' * 300}-{number}", a="x" * 2000))
    tally.started("0100")
    tally.chosen("0100", chosen("", "", a="x" * 2000))
    status = status_of(tally.snapshot()).to_manifest()
    told = status["backends"]
    assert len({each["name"] for each in told}) == 32
    assert len(status["waitingFor"]) == 1024
    assert len(told[0]["message"]) == 1024
    assert told[0]["message"].endswith("…")


def test_the_estimate_counts_this_runs_own_work_alone() -> None:
    clock = Clock()
    tally = Tally(10, 4, clock)
    for number in range(6):
        tally.found(result(number))
    tally.started("0006")
    assert tally.snapshot().eta_seconds is None
    clock.now += 10
    tally.stored(result(6))
    assert tally.snapshot().eta_seconds == 30


def test_a_failed_attempt_takes_its_steps_back() -> None:
    tally = Tally(2, 10, Clock())
    tally.started("0000")
    tally.stepped("0000", 5, 10)
    assert tally.snapshot().steps_done == 5
    tally.stopped("0000", LastFailure(BackendFault("x"), "0000", 1))
    assert tally.snapshot().steps_done == 0


def test_the_status_is_what_the_contract_says() -> None:
    tally = Tally(30, 4, Clock())
    for number in range(25):
        tally.stored(result(number))
    tally.failed(LastFailure(BackendFault("out of memory", where="engine", fix="Wait"), "0029", 3))
    status = status_of(tally.snapshot()).to_manifest()
    assert status["items"] == {"total": 30, "succeeded": 25, "failed": 1, "running": 0}
    assert status["done"] == "25/30"
    assert len(status["artifacts"]) == 20
    assert status["lastFailure"] == {
        "reason": "BackendFault", "message": "engine: out of memory. Wait", "item": "0029", "attempt": 3, "retryable": True,
    }  # fmt: skip
    assert "conditions" not in status  # the operator's
    assert GenerationJobStatus.model_validate(status)


class Recorder:
    interval_seconds = 0.001

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.shown: list[Snapshot] = []

    def show(self, snapshot: Snapshot) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.shown.append(snapshot)


def test_the_last_state_is_shown_for_certain() -> None:
    tally, recorder = Tally(1, 1, Clock()), Recorder()
    with ReportLoop(recorder, tally.snapshot):
        tally.stored(result(0))
    assert recorder.shown[-1].succeeded == 1


def test_a_reporter_that_fails_never_fails_the_job_and_is_asked_again() -> None:
    tally, recorder = Tally(1, 1, Clock()), Recorder(OSError("x"), EaselError("y"), ValueError("z"))
    with ReportLoop(recorder, tally.snapshot):
        tally.stored(result(0))
    assert recorder.shown[-1].succeeded == 1


def test_a_reporter_that_always_fails_is_left_alone_at_last() -> None:
    class Broken(Recorder):
        def show(self, snapshot: Snapshot) -> None:
            self.shown.append(snapshot)
            raise OSError

    recorder = Broken()
    with ReportLoop(recorder, Tally(1, 1, Clock()).snapshot, final_tries=3):
        pass
    assert len(recorder.shown) >= 3


def test_what_happened_before_an_error_is_shown_too() -> None:
    tally, recorder = Tally(2, 1, Clock()), Recorder()
    with contextlib.suppress(BackendFault), ReportLoop(recorder, tally.snapshot):
        tally.failed(LastFailure(BackendFault("x"), "0000", 1))
        raise BackendFault("x")
    assert recorder.shown[-1].failed == 1


def test_an_unchanged_state_is_shown_once() -> None:
    recorder, seen = Recorder(), threading.Event()
    tally: Any = Tally(1, 1, Clock())
    asked = 0

    def snapshot() -> Snapshot:
        nonlocal asked
        asked += 1
        if asked > 5:
            seen.set()
        return tally.snapshot()

    with ReportLoop(recorder, snapshot):
        assert seen.wait(10)
    assert len(recorder.shown) == 1
