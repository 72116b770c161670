"""Finished results kept by bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from easel_inference.engine.retention import Retention
from easel_inference.generation import Accepted, Message

steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60)), max_size=40)


@given(steps)
def test_it_never_holds_more_than_its_limit_and_the_newest_stays(kept: list[tuple[str, int]]) -> None:
    retention, newest = Retention(100), {}
    for key, size in kept:
        newest[key] = bytes(size)
        retention.keep(key, Message(Accepted(), newest[key]))
        assert retention.bytes <= 100
        found = retention.find(key)
        assert found is not None
        assert found.payload == newest[key]


def test_what_was_used_last_stays_longest() -> None:
    retention = Retention(100)
    for key in "ab":
        retention.keep(key, Message(Accepted(), bytes(40)))
    retention.find("a")
    retention.keep("c", Message(Accepted(), bytes(40)))
    assert retention.find("b") is None
    assert retention.find("a") is not None


def test_a_result_larger_than_the_limit_is_not_kept() -> None:
    retention = Retention(100)
    retention.keep("a", Message(Accepted(), bytes(40)))
    retention.keep("b", Message(Accepted(), bytes(101)))
    assert retention.find("b") is None
    assert retention.find("a") is not None
