"""Which replica takes the next item.

A headless Service answers with the address of every ready replica, so the set is asked for anew every few seconds: a
replica that came up is used in the middle of a job, one that went away gets nothing more. Items go to the replica with
the least outstanding work. One that refused a connection rests for a while; when all are gone the caller waits, and after
`patience_seconds` without a sign of life from any of them the environment is at fault.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from easel_api.errors import Cancelled, CapacityQueued, EnvironmentFault

Resolve = Callable[[str, int], frozenset[str]]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Times, in seconds."""

    refresh_seconds: float = 2.0
    """A new replica is used this soon; the query goes to the cluster's own DNS."""
    patience_seconds: float = 600.0
    """A large model takes minutes to load after a restart."""
    first_rest_seconds: float = 0.5
    longest_rest_seconds: float = 5.0


@dataclass(slots=True)
class _Replica:
    outstanding: float = 0.0
    failures: int = 0
    rests_until: float = 0.0
    last_problem: str = ""
    listed: bool = True
    leases: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to send one item to one replica."""

    address: str
    report_alive: Callable[[], None]
    report_refused: Callable[[str], None]


def resolve(host: str, port: int) -> frozenset[str]:
    """Addresses (`IP:PORT`) of all replicas; empty when the name has none right now."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(
        f"[{address[0]}]:{port}" if family is socket.AF_INET6 else f"{address[0]}:{port}"
        for family, _, _, _, address in found
    )


class ReplicaSet:
    """All replicas behind one name. Safe for many threads; use it as a context manager."""

    def __init__(
        self,
        endpoint: str,
        settings: ReplicaSettings | None = None,
        *,
        find: Resolve = resolve,
        clock: Clock = time.monotonic,
    ) -> None:
        """`endpoint` is `HOST:PORT`; `find` and `clock` are the real ones but in tests."""
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isdecimal():
            raise EnvironmentFault("the backend's address is not HOST:PORT", where="EASEL_ENDPOINT", found=endpoint)
        self._endpoint, self._host, self._port = endpoint, host.strip("[]"), int(port)
        self._settings = settings or ReplicaSettings()
        self._find, self._clock = find, clock
        self._replicas: dict[str, _Replica] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._last_alive = clock()
        self._refresher = threading.Thread(target=self._keep_refreshing, name="replicas", daemon=True)

    def __enter__(self) -> ReplicaSet:
        self.refresh()
        self._refresher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._refresher.join(timeout=self._settings.refresh_seconds + 5)

    def refresh(self) -> None:
        """Asks for the addresses once more."""
        found = self._find(self._host, self._port)
        with self._changed:
            for address, replica in list(self._replicas.items()):
                replica.listed = address in found
                if not replica.listed and not replica.leases:
                    del self._replicas[address]
            for address in found:
                self._replicas.setdefault(address, _Replica())
            self._changed.notify_all()

    def serves(self) -> bool:
        """Whether there is a replica that an item can be sent to now."""
        with self._changed:
            now = self._clock()
            return any(replica.listed and replica.rests_until <= now for replica in self._replicas.values())

    @contextlib.contextmanager
    def lease(self, work: float, stop: threading.Event, *, waits: bool = True) -> Iterator[Lease]:
        """The least busy replica for an item of that much work; waits for one to be there, or raises `CapacityQueued`.

        Raises `Cancelled` when `stop` is set and `EnvironmentFault` when no replica showed life for too long.
        """
        address, replica = self._take(work, stop, waits=waits)
        try:
            yield Lease(address, lambda: self._alive(replica), lambda problem: self._refused(replica, problem))
        finally:
            with self._changed:
                replica.outstanding -= work
                replica.leases -= 1
                self._changed.notify_all()

    def _take(self, work: float, stop: threading.Event, *, waits: bool) -> tuple[str, _Replica]:
        with self._changed:
            while True:
                if stop.is_set():
                    raise Cancelled("the job was stopped")
                now = self._clock()
                ready = [
                    (replica.outstanding, address, replica)
                    for address, replica in self._replicas.items()
                    if replica.listed and replica.rests_until <= now
                ]
                if ready:
                    _, address, replica = min(ready, key=lambda entry: entry[:2])
                    replica.outstanding += work
                    replica.leases += 1
                    return address, replica
                if not waits:
                    raise CapacityQueued(
                        "the model has no replica that serves", where=self._endpoint, found=self._problem()
                    )
                self._give_up_after_patience(now)
                self._changed.wait(timeout=0.2)

    def _give_up_after_patience(self, now: float) -> None:
        if any(replica.leases for replica in self._replicas.values()):
            return  # whoever runs an item there will say whether it is alive
        if now - self._last_alive < self._settings.patience_seconds:
            return
        raise EnvironmentFault(
            f"no replica of the model answered for {self._settings.patience_seconds:.0f} s",
            where=self._endpoint,
            found=self._problem(),
            fix="See the conditions of the ModelDeployment and the logs of its pods",
        )

    def _problem(self) -> str:
        """What is known of those that do not serve."""
        problems = sorted({replica.last_problem for replica in self._replicas.values() if replica.last_problem})
        return f"{len(self._replicas)} addresses{': ' + problems[0] if problems else ''}"

    def _alive(self, replica: _Replica) -> None:
        with self._changed:
            self._last_alive = self._clock()
            replica.failures, replica.rests_until, replica.last_problem = 0, 0.0, ""

    def _refused(self, replica: _Replica, problem: str) -> None:
        with self._changed:
            now = self._clock()
            replica.last_problem = problem
            if replica.rests_until > now:
                return  # the items that failed together are one failure
            rest = self._settings.first_rest_seconds * 2**replica.failures
            replica.rests_until = now + min(rest, self._settings.longest_rest_seconds)
            replica.failures = min(replica.failures + 1, 16)

    def _keep_refreshing(self) -> None:
        while not self._closed.wait(self._settings.refresh_seconds):
            self.refresh()
