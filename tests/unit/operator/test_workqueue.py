"""The keyed work queue."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from easel_operator.core.resources import Key
from easel_operator.shell import workqueue
from easel_operator.shell.workqueue import Outcome, WorkQueue

A, B = Key("GenerationJob", "art", "a"), Key("GenerationJob", "art", "b")


@asynccontextmanager
async def running(work: Callable[[Key], Awaitable[Outcome]], concurrency: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(work, concurrency)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        await queue.stop()
        await asyncio.wait_for(task, 5)


async def test_a_key_that_waits_is_there_once() -> None:
    seen: list[Key] = []
    done = asyncio.Event()

    async def work(key: Key) -> Outcome:
        seen.append(key)
        if len(seen) == 2:
            done.set()
        return Outcome()

    queue = WorkQueue(work, 1)
    for key in (A, A, B, A):
        queue.add(key)
    task = asyncio.create_task(queue.run())
    await asyncio.wait_for(done.wait(), 5)
    await queue.stop()
    await task
    assert seen == [A, B]


async def test_one_object_is_worked_on_once_at_a_time_and_once_more_when_it_changes() -> None:
    active, most, count = 0, 0, 0
    begun, go, twice = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(_: Key) -> Outcome:
        nonlocal active, most, count
        active, count = active + 1, count + 1
        most = max(most, active)
        begun.set()
        if count == 2:
            twice.set()
        await go.wait()
        active -= 1
        return Outcome()

    async with running(work) as queue:
        queue.add(A)
        await asyncio.wait_for(begun.wait(), 5)
        queue.add(A)
        queue.add(A)
        go.set()
        await asyncio.wait_for(twice.wait(), 5)
    assert (most, count) == (1, 2)


async def test_different_objects_are_worked_on_at_once() -> None:
    both = asyncio.Barrier(2)

    async def work(_: Key) -> Outcome:
        await asyncio.wait_for(both.wait(), 5)
        return Outcome()

    async with running(work) as queue:
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(0)


async def test_failures_are_tried_again_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "FIRST_PAUSE", 0.02)
    loop, times, done = asyncio.get_running_loop(), [], asyncio.Event()

    async def work(_: Key) -> Outcome:
        times.append(loop.time())
        if len(times) == 4:
            done.set()
        return Outcome(failed=len(times) < 4)

    async with running(work) as queue:
        queue.add(A)
        await asyncio.wait_for(done.wait(), 5)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[0] >= 0.019
    assert pauses[1] >= 0.039
    assert pauses[2] >= 0.079


async def test_what_failed_is_tried_at_once_when_it_has_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_PAUSE", 60.0)
    count, done = 0, asyncio.Event()

    async def work(key: Key) -> Outcome:
        nonlocal count
        count += 1
        if count == 1:
            queue.add(key)
        if count == 2:
            done.set()
        return Outcome(failed=count == 1)

    async with running(work) as queue:
        queue.add(A)
        await asyncio.wait_for(done.wait(), 5)


async def test_a_key_is_worked_on_again_when_asked_for() -> None:
    count, done = 0, asyncio.Event()

    async def work(_: Key) -> Outcome:
        nonlocal count
        count += 1
        if count == 3:
            done.set()
        return Outcome(requeue_after=0.01 if count < 3 else None)

    async with running(work) as queue:
        queue.add(A)
        await asyncio.wait_for(done.wait(), 5)
    assert count == 3


async def test_what_is_being_worked_on_is_finished_at_the_end() -> None:
    begun, finished = asyncio.Event(), []

    async def work(key: Key) -> Outcome:
        begun.set()
        await asyncio.sleep(0.05)
        finished.append(key)
        return Outcome()

    async with running(work, 1) as queue:
        queue.add(A)
        await asyncio.wait_for(begun.wait(), 5)
        queue.add(B)
    assert finished == [A]


async def test_a_defect_of_the_work_ends_the_queue() -> None:
    async def work(_: Key) -> Outcome:
        raise ZeroDivisionError

    queue = WorkQueue(work, 2)
    queue.add(A)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(queue.run(), 5)
