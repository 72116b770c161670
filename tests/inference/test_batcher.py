"""The rendezvous itself, around small functions: joined equals alone, and nobody suffers for a neighbour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from waiting import held, until

from easel_api.errors import BackendFault, Cancelled, Transient
from easel_inference.engine.batcher import Batcher, Job, enough_calls
from easel_inference.engine.counters import Counters
from easel_inference.engine.participant import Participant
from easel_inference.engine.rows import Rows

pytestmark = pytest.mark.engine

SECONDS = 60


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def batcher(counters: Counters) -> Iterator[Batcher]:
    batcher = Batcher(counters, units=64)
    yield batcher
    batcher.close()


def together(batcher: Batcher, calls: list[Callable[[], Any]]) -> list[Any]:
    """Run calls of one request each in threads of their own, all of them taking part from the start."""
    ready = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        with batcher.taking_part(Participant()):
            ready.wait(SECONDS)
            try:
                return call()
            except Exception as error:  # noqa: BLE001 - the error is the result that the test looks at
                return error

    with held(batcher, len(calls)), ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def call(batcher: Batcher, key: Any, run: Callable[..., Any], *parts: Any, units: int, counted: bool = False) -> Any:
    return batcher.call(Job(key, run, parts, len(parts[0]), units, counted))


def doubled(x: Any) -> tuple[Any]:
    return (x * 2,)


def test_calls_of_one_key_become_one_pass(batcher: Batcher, counters: Counters) -> None:
    values = [torch.full((rows, 3), float(rows)) for rows in (1, 2, 3, 4)]
    results = together(
        batcher, [lambda x=x: call(batcher, "k", doubled, x, units=len(x), counted=True) for x in values]
    )
    for value, (result,) in zip(values, results, strict=True):
        assert torch.equal(result, value * 2)
    assert counters.snapshot().joined == {4: 1}


def test_calls_of_other_keys_stay_apart(batcher: Batcher, counters: Counters) -> None:
    results = together(
        batcher,
        [lambda k=k: call(batcher, k, doubled, torch.ones(1, k), units=1, counted=True) for k in (2, 3, 2, 3)],
    )
    assert [result[0].shape for result in results] == [(1, 2), (1, 3), (1, 2), (1, 3)]
    assert counters.snapshot().joined == {2: 2}


def test_tensors_with_a_multiple_of_rows_are_split_alike(batcher: Batcher) -> None:
    """A clip's text has a row for each frame of each of its samples."""

    def run(sample: Any, text: Any) -> tuple[Any, Any]:
        return sample + text.reshape(len(sample), -1).sum(1, keepdim=True), text

    values = [(torch.full((2, 1), float(i)), torch.full((8, 1), float(i))) for i in range(4)]
    results = together(batcher, [lambda s=s, t=t: call(batcher, "k", run, s, t, units=1) for s, t in values])
    for index, (sample, text) in enumerate(results):
        assert torch.equal(sample, torch.full((2, 1), 5.0 * index))
        assert torch.equal(text, torch.full((8, 1), float(index)))


def test_a_pass_keeps_within_its_units(batcher: Batcher, counters: Counters) -> None:
    together(batcher, [lambda: call(batcher, "k", doubled, torch.ones(1, 1), units=32, counted=True) for _ in range(5)])
    assert max(counters.snapshot().joined) == 2


def test_one_bad_call_never_takes_its_neighbours(batcher: Batcher) -> None:
    def run(x: Any) -> tuple[Any]:
        if (x < 0).any():
            raise ValueError("negative")
        return (x.sqrt(),)

    values = [4.0, -1.0, 9.0, 16.0]
    results = together(batcher, [lambda v=v: call(batcher, "k", run, torch.full((1, 1), v), units=1) for v in values])
    assert isinstance(results[1], BackendFault)
    assert [float(results[index][0]) for index in (0, 2, 3)] == [2, 3, 4]


def test_memory_that_suffices_for_one_serves_all_in_turn(batcher: Batcher) -> None:
    def run(x: Any) -> tuple[Any]:
        if len(x) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return (x + 1,)

    results = together(batcher, [lambda i=i: call(batcher, "k", run, torch.full((1, 1), i), units=1) for i in range(3)])
    assert [int(result[0]) for result in results] == [1, 2, 3]


def test_a_call_too_large_for_memory_fails_alone_and_typed(batcher: Batcher) -> None:
    def run(x: Any) -> tuple[Any]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    (error,) = together(batcher, [lambda: call(batcher, "k", run, torch.ones(1, 1), units=1)])
    assert isinstance(error, BackendFault)
    assert error.what == "out of memory"


def test_a_waiting_call_leaves_when_its_request_is_cancelled(batcher: Batcher, counters: Counters) -> None:
    busy, free = threading.Event(), threading.Event()

    def slow(x: Any) -> tuple[Any]:
        busy.set()
        assert free.wait(SECONDS)
        return (x,)

    participant = Participant()

    def waiting() -> Any:
        with batcher.taking_part(participant):
            return call(batcher, "other", doubled, torch.ones(1), units=1, counted=True)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: call(batcher, "k", slow, torch.ones(1), units=1))
        assert busy.wait(SECONDS)
        second = pool.submit(waiting)
        participant.cancel()
        free.set()
        with pytest.raises(Cancelled):
            second.result(SECONDS)
        assert float(first.result(SECONDS)[0]) == 1
    batcher.close()
    assert counters.snapshot().joined == {}, "the cancelled call ran"


def test_closing_fails_what_comes_later(counters: Counters) -> None:
    batcher = Batcher(counters)
    batcher.close()
    with pytest.raises(Transient):
        call(batcher, "k", doubled, torch.ones(1), units=1)


def test_the_heart_beats_while_nobody_calls(batcher: Batcher) -> None:
    before, waited = batcher.heartbeat, threading.Event()
    for _ in range(100):
        if batcher.heartbeat > before:
            return
        waited.wait(0.05)
    pytest.fail("no beat in five seconds")


def test_a_short_request_overtakes_a_long_one_at_every_step(batcher: Batcher) -> None:
    """The first in rank runs first: here the long one came first and still has more to do."""
    order: list[str] = []
    busy, free = threading.Event(), threading.Event()

    def slow(x: Any) -> tuple[Any]:
        busy.set()
        assert free.wait(SECONDS)
        return (x,)

    def one(name: str, steps: int) -> None:
        participant = Participant()
        participant.begin(steps)

        def run(x: Any) -> tuple[Any]:
            order.append(name)
            return (x,)

        with batcher.taking_part(participant):
            call(batcher, name, run, torch.ones(1), units=1, counted=True)

    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(lambda: call(batcher, "k", slow, torch.ones(1), units=1))
        assert busy.wait(SECONDS)
        long = pool.submit(one, "long", 50)
        until(lambda: len(batcher._calls) == 1, "the long request waits")
        short = pool.submit(one, "short", 2)
        until(lambda: len(batcher._calls) == 2, "both wait")
        free.set()
        for future in (blocker, long, short):
            future.result(SECONDS)
    assert order == ["short", "long"]


def work(seconds: float) -> None:
    """Keeps a core busy, for budgets are measured in this process's time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_pass_grows_while_that_pays(batcher: Batcher, counters: Counters) -> None:
    """Passes of one cost up to four rows and grow with the rows beyond: the budget found is four."""

    def run(x: Any) -> tuple[Any]:
        work(0.01 * max(1, len(x) / 4))
        return (x,)

    share = batcher.measure(Job("k", run, (torch.ones(1, 1),), 1, 10, counted=True))
    assert share == pytest.approx(0.0025, rel=0.2)  # a quarter of the pass of four
    units = batcher._budgets["k"]
    assert units in (40, 80)  # the last doubling pays nothing; noise may let it through
    together(batcher, [lambda: call(batcher, "k", run, torch.ones(1, 1), units=10, counted=True) for _ in range(12)])
    assert max(counters.snapshot().joined) == units // 10


def test_measuring_stops_where_memory_ends(batcher: Batcher) -> None:
    def run(x: Any) -> tuple[Any]:
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        work(0.01)
        return (x,)

    batcher.measure(Job("k", run, (torch.ones(1, 1),), 1, 10))
    assert batcher._budgets["k"] == 20


def test_lists_with_an_entry_for_each_row_are_joined_and_split(batcher: Batcher) -> None:
    def run(x: list[Any], names: list[str]) -> Any:
        return (Rows([f"{name}{float(value)}" for value, name in zip(x, names, strict=True)]),)

    inputs = [([torch.tensor(1.0)], ["a"]), ([torch.tensor(2.0), torch.tensor(3.0)], ["b", "c"])]
    results = together(batcher, [lambda x=x, n=n: call(batcher, "k", run, x, n, units=1) for x, n in inputs])
    assert results == [(["a1.0"],), (["b2.0", "c3.0"],)]


def test_a_late_request_leaves_while_it_waits(batcher: Batcher) -> None:
    late = Participant(deadline=0.0)
    with batcher.taking_part(late), pytest.raises(Cancelled, match="deadline"):
        call(batcher, "k", doubled, torch.ones(1), units=1)


@pytest.mark.parametrize(
    ("shares", "calls"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.5, 8: 0.49, 16: 0.48}, 4),
        ({1: 1.0, 2: 1.04, 4: 0.97}, 2),
        ({1: 1.0, 2: 1.2, 4: 1.3}, 1),
        ({1: 1.0}, 1),
    ],
)
def test_a_pass_holds_as_many_calls_as_pay(shares: dict[int, float], calls: int) -> None:
    assert enough_calls(shares) == calls
