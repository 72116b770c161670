"""How the workers of a Provider divide its limits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import Cancelled
from easel_inference.jobs.turns import NoTurn, Turns
from easel_inference.jobs.wallet import Share

PATIENCE = 60.0


@given(limit=st.integers(0, 200), workers=st.integers(1, 50))
def test_the_parts_of_all_workers_are_the_limit(limit: int, workers: int) -> None:
    parts = [Share(place, workers).part(limit) for place in range(workers)]
    assert sum(parts) == limit
    assert max(parts) - min(parts) <= 1


def test_no_more_calls_at_once_than_the_share_of_the_moment() -> None:
    share, lock, most, now = [Share()], threading.Lock(), 0, 0
    turns = Turns(4, None, lambda: share[0])
    pause = threading.Event()

    def call() -> None:
        nonlocal most, now
        with turns.one(lambda: None, PATIENCE):
            with lock:
                now += 1
                most = max(most, now)
            pause.wait(0.01)
            with lock:
                now -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: call(), range(40)))
        assert most == 4
        share[0], most = Share(1, 3), 0
        list(pool.map(lambda _: call(), range(20)))
        assert most == 1


def test_the_pace_is_that_of_all_workers_together() -> None:
    turns = Turns(16, 1200, lambda: Share(0, 2))
    began = time.monotonic()
    for _ in range(6):
        with turns.one(lambda: None, PATIENCE):
            pass
    assert time.monotonic() - began >= 5 * 0.1


def test_who_has_no_part_waits_until_the_job_ends_or_another_worker_does() -> None:
    share, looks = [Share(2, 3)], 0
    turns = Turns(2, None, lambda: share[0])

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            share[0] = Share(0, 2)
        if looks > 3:
            raise Cancelled("stopped")

    with turns.one(check, PATIENCE):
        assert looks >= 2
        share[0] = Share(2, 3)
        with pytest.raises(Cancelled), turns.one(check, PATIENCE):
            pass


def test_a_turn_that_somebody_waited_for_in_vain_is_there_for_the_next() -> None:
    turns = Turns(16, 20, Share)
    began = time.monotonic()
    with turns.one(lambda: None, PATIENCE):
        pass
    for _ in range(4):
        with pytest.raises(NoTurn, match="no turn"), turns.one(lambda: None, 0.01):
            pass
    with turns.one(lambda: None, PATIENCE):
        pass
    assert time.monotonic() - began < 3 + 4  # the second slot of three seconds, not the sixth
