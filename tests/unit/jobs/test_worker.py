"""The worker's decisions: what is tried again, what ends a job, what is kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from easel_api.errors import (
    BackendFault,
    BadOutput,
    Cancelled,
    ContentBlocked,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    QuotaExhausted,
    Stalled,
    Transient,
)
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.jobs.worker import CONCURRENCY, Outcome, Worker


def run(worker: Worker, backend: Any, stop: threading.Event | None = None) -> Outcome:
    return worker.run(worker.claim(), backend, stop or threading.Event())


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "mugs/manifest.json").read_text())


def states(folder: Path) -> list[str]:
    return [item["state"] for item in manifest(folder)["items"]]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


@pytest.mark.parametrize("error", [Transient("x"), Stalled("x"), BackendFault("x")])
def test_a_passing_fault_is_tried_again(
    error: EaselError, spec: Any, scripted: Any, worker_for: Any, store: Any
) -> None:
    backend = scripted({2: [error, error]})
    worker = worker_for(spec(maxAttempts=3), store)
    assert run(worker, backend).succeeded == 4
    assert sorted(backend.asked) == [0, 1, 2, 2, 2, 3]
    assert [item["attempts"] for item in manifest(store._root)["items"]] == [1, 1, 3, 1]
    end = worker.tally.snapshot()
    assert (end.last_failure.item[:4], end.last_failure.attempt) == ("0002", 2)


def test_attempts_are_bounded_and_the_first_typed_reason_fails_the_job(
    spec: Any, scripted: Any, worker_for: Any, store: Any
) -> None:
    backend = scripted({1: [BackendFault("out of memory")] * 9})
    with pytest.raises(BackendFault, match="out of memory"):
        run(worker_for(spec(maxAttempts=2), store), backend)
    assert backend.asked.count(1) == 2
    assert "Failed" in states(store._root)


@pytest.mark.parametrize("error", [InvalidInput("x"), ContentBlocked("x")])
def test_a_final_error_is_not_tried_again(
    error: EaselError, spec: Any, scripted: Any, worker_for: Any, store: Any
) -> None:
    backend = scripted({0: [error]})
    with pytest.raises(type(error)):
        run(worker_for(spec(), store), backend)
    assert backend.asked.count(0) == 1


def test_all_or_nothing_starts_nothing_new_after_a_failure_and_keeps_what_ran(
    spec: Any, scripted: Any, worker_for: Any, store: Any
) -> None:
    go = threading.Event()
    job = spec(parameters={"seeds": list(range(40)), "steps": 1})
    backend = scripted({0: [InvalidInput("x")]} | {seed: [go] for seed in range(1, CONCURRENCY)})
    worker = worker_for(job, store)
    missing, ended = worker.claim(), []

    def work() -> None:
        with pytest.raises(InvalidInput):
            worker.run(missing, backend, threading.Event())
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    while not worker.tally.snapshot().failed:
        pass
    go.set()
    thread.join(timeout=30)
    assert ended
    assert len(backend.asked) <= CONCURRENCY + 1  # one more may have been taken while the failure was noted
    assert states(store._root).count("Succeeded") == len(backend.asked) - 1


def test_keep_partial_goes_on_and_names_the_failed_ones(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    backend = scripted({1: [ContentBlocked("refused")]})
    worker = worker_for(spec(failurePolicy="KeepPartial"), store)
    outcome = run(worker, backend)
    assert (outcome.succeeded, outcome.failed) == (3, 1)
    failed = manifest(store._root)["items"][1]
    assert (failed["state"], failed["error"]["reason"], failed["error"]["what"]) == (
        "Failed",
        "ContentBlocked",
        "refused",
    )
    assert worker.tally.snapshot().percent == 100


def test_keep_partial_with_nothing_to_keep_fails(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    backend = scripted({seed: [ContentBlocked("refused")] for seed in range(4)})
    with pytest.raises(ContentBlocked):
        run(worker_for(spec(failurePolicy="KeepPartial"), store), backend)


def test_failed_items_are_tried_anew_by_the_next_run(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    with pytest.raises(InvalidInput):
        run(worker_for(spec(), store), scripted({3: [InvalidInput("x")]}))
    kept = states(store._root).count("Succeeded")
    backend = scripted()
    assert run(worker_for(spec(), store), backend).succeeded == 4
    assert len(backend.asked) == 4 - kept
    assert states(store._root) == ["Succeeded"] * 4


def test_what_a_policy_blocked_is_not_asked_for_again(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    asked = spec(failurePolicy="KeepPartial")
    assert run(worker_for(asked, store), scripted({3: [ContentBlocked("x")]})).failed == 1
    worker = worker_for(asked, store)
    assert worker.claim() == ()
    assert worker.tally.snapshot().failed == 1


@pytest.mark.parametrize("policy", ["AllOrNothing", "KeepPartial"])
@pytest.mark.parametrize("error", [EnvironmentFault("no replica"), QuotaExhausted("spent")])
def test_a_fault_of_the_environment_ends_the_job_whatever_its_policy(
    policy: str, error: EaselError, spec: Any, scripted: Any, worker_for: Any, store: Any
) -> None:
    worker = worker_for(spec(failurePolicy=policy), store)
    with pytest.raises(type(error)):
        run(worker, scripted({0: [error]}))
    end = worker.tally.snapshot()
    assert (end.running, end.last_failure.error, end.last_failure.item) == (0, error, "")


def test_a_full_store_ends_the_job_and_keeps_what_is_there(
    spec: Any, scripted: Any, worker_for: Any, tmp_path: Path
) -> None:
    class Full(DirectoryStore):
        room = 2

        def put(self, key: str, data: bytes, media_type: str) -> None:
            if key.endswith(".png"):
                self.room -= 1
                if self.room < 0:
                    raise QuotaExhausted("no room", where=key)
            super().put(key, data, media_type)

    with pytest.raises(QuotaExhausted, match="no room"):
        run(worker_for(spec(failurePolicy="KeepPartial"), Full(tmp_path)), scripted())
    backend = scripted()
    assert run(worker_for(spec(), DirectoryStore(tmp_path)), backend).succeeded == 4
    assert len(backend.asked) == 2


def test_a_store_that_spoils_an_object_is_found_out_and_the_item_made_again(
    spec: Any, scripted: Any, worker_for: Any, tmp_path: Path
) -> None:
    class Spoiling(DirectoryStore):
        spoil = 1

        def put(self, key: str, data: bytes, media_type: str) -> None:
            if key.endswith(".png") and self.spoil:
                self.spoil, data = 0, data[:-1]
            super().put(key, data, media_type)

    backend = scripted()
    assert run(worker_for(spec(), Spoiling(tmp_path)), backend).succeeded == 4
    assert len(backend.asked) == 5


@pytest.mark.parametrize("lie", [{"sha256": "0" * 64}, {"width": 17}, {"seed": 99}, {"media_type": "image/webp"}])
def test_a_result_that_is_not_what_was_promised_is_never_stored(
    lie: dict[str, Any], spec: Any, scripted: Any, worker_for: Any, tmp_path: Path
) -> None:
    backend = scripted(lies=lie)
    with pytest.raises(BadOutput):
        run(worker_for(spec(maxAttempts=2, parameters={"seeds": [5]}), DirectoryStore(tmp_path)), backend)
    assert backend.asked == [5, 5]
    assert [path.name for path in (tmp_path / "mugs").iterdir()] == ["manifest.json"]


def test_stop_cancels_what_runs_and_the_next_run_goes_on(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    stop, never = threading.Event(), threading.Event()
    backend = scripted({2: [never], 3: [never]})
    worker = worker_for(spec(), store)
    missing = worker.claim()
    ended: list[type[BaseException]] = []

    def work() -> None:
        try:
            worker.run(missing, backend, stop)
        except Cancelled as error:
            ended.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    while worker.tally.snapshot().succeeded < 2:
        pass
    stop.set()
    thread.join(timeout=30)
    assert ended == [Cancelled]
    assert states(store._root) == ["Succeeded"] * 2  # flushed on the way out
    again = scripted()
    assert run(worker_for(spec(), store), again).succeeded == 4
    assert sorted(again.asked) == [2, 3]


def test_items_in_flight_are_bounded(spec: Any, scripted: Any, worker_for: Any, store: Any) -> None:
    backend = scripted()
    run(worker_for(spec(parameters={"seeds": list(range(100)), "steps": 1}), store), backend)
    assert 1 < backend.most_at_once <= CONCURRENCY


def test_a_defect_in_a_backend_is_not_swallowed(spec: Any, worker_for: Any, store: Any) -> None:
    class Broken:
        def generate(self, *_: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(worker_for(spec(), store), Broken())
