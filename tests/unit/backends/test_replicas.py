"""Which replica takes the next item, decided without a network."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import Cancelled, CapacityQueued, EnvironmentFault
from easel_inference.backends.replicas import ReplicaSet, ReplicaSettings, resolve


class World:
    """Addresses and a clock that a test moves."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = set(addresses)
        self.now = 0.0
        self.set = ReplicaSet(
            "model.art.svc:8001",
            ReplicaSettings(patience_seconds=60),
            find=lambda *_: frozenset(self.addresses),
            clock=lambda: self.now,
        )
        self.set.refresh()


def take(world: World, work: float = 1.0) -> str:
    with world.set.lease(work, threading.Event()) as lease:
        return lease.address


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40))
def test_items_go_where_the_least_work_is(works: list[float]) -> None:
    world = World("a:1", "b:1", "c:1")
    load = dict.fromkeys(sorted(world.addresses), 0.0)
    with ExitStack() as stack:
        for work in works:
            lease = stack.enter_context(world.set.lease(work, threading.Event()))
            assert load[lease.address] == min(load.values())
            load[lease.address] += work
    assert all(abs(replica.outstanding) < 1e-6 for replica in world.set._replicas.values())


def test_a_new_replica_takes_the_next_item() -> None:
    world = World("a:1")
    with world.set.lease(1, threading.Event()):
        world.addresses.add("b:1")
        world.set.refresh()
        assert take(world) == "b:1"


def test_one_that_is_not_listed_gets_no_more_and_is_forgotten_once_idle() -> None:
    world = World("a:1", "b:1")
    with world.set.lease(5, threading.Event()) as lease:
        world.addresses.remove(lease.address)
        world.set.refresh()
        assert {take(world) for _ in range(5)} == world.addresses
        assert lease.address in world.set._replicas
    world.set.refresh()
    assert lease.address not in world.set._replicas


def test_one_that_refused_rests_longer_each_time_and_comes_back() -> None:
    world = World("a:1", "b:1")
    rests = []
    for _ in range(5):
        with world.set.lease(1, threading.Event()) as lease:
            assert lease.address == "a:1"
            lease.report_refused("connection refused")
        assert take(world) == "b:1"
        rests.append(world.set._replicas["a:1"].rests_until - world.now)
        world.now += rests[-1]
    assert rests == [0.5, 1, 2, 4, 5]
    with world.set.lease(1, threading.Event()) as lease:
        lease.report_alive()
    assert world.set._replicas["a:1"].failures == 0


def test_items_that_fail_together_are_one_failure() -> None:
    world = World("a:1")
    with ExitStack() as stack:
        leases = [stack.enter_context(world.set.lease(1, threading.Event())) for _ in range(16)]
        for lease in leases:
            lease.report_refused("gone")
    assert world.set._replicas["a:1"].rests_until == 0.5


def test_waiting_for_a_replica_ends_with_the_job() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        World().set._take(1, stop, waits=True)


def test_patience_counts_from_the_last_sign_of_life() -> None:
    world = World("a:1")
    world.now = 50
    with world.set.lease(1, threading.Event()) as lease:
        lease.report_alive()
    world.addresses.clear()
    world.set.refresh()
    world.now = 109
    stop = threading.Timer(0.1, lambda: setattr(world, "now", 111))
    stop.start()
    with pytest.raises(EnvironmentFault, match="for 60 s"):
        world.set._take(1, threading.Event(), waits=True)
    assert world.now == 111


def test_nobody_gives_up_while_an_item_runs() -> None:
    world = World("a:1")
    with world.set.lease(1, threading.Event()) as lease:
        lease.report_refused("slow")
        world.now = 0.2
        world.set._last_alive = -1000
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Cancelled):
            world.set._take(1, stop, waits=True)


@pytest.mark.parametrize("endpoint", ["", "host", "host:", ":1", "host:x"])
def test_an_endpoint_that_is_no_address_is_named(endpoint: str) -> None:
    with pytest.raises(EnvironmentFault, match="HOST:PORT"):
        ReplicaSet(endpoint)


def test_names_are_resolved_to_addresses() -> None:
    assert resolve("127.0.0.1", 80) == {"127.0.0.1:80"}
    assert resolve("::1", 80) == {"[::1]:80"}
    assert resolve("no-such-host.invalid", 80) == frozenset()


def test_who_does_not_wait_is_told_that_there_is_no_replica() -> None:
    world = World("a:1")
    with world.set.lease(1, threading.Event()) as lease:
        lease.report_refused("connection refused")
    with pytest.raises(CapacityQueued) as caught, world.set.lease(1, threading.Event(), waits=False):
        pass
    assert caught.value.found == "1 addresses: connection refused"
