"""Replicas that die, come back and come up while a job runs: real servers, found anew every moment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3
from easel_cluster import processes

from easel_api.errors import EaselError, EnvironmentFault, Transient
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.backends.replicas import ReplicaSet, ReplicaSettings
from easel_inference.backends.triton import TritonBackend, TritonSettings
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.jobs.worker import Worker

pytestmark = [pytest.mark.triton, pytest.mark.engine]

SPEC = json.dumps({"model": {"source": "builtin://miniature"}})
SETTINGS = ReplicaSettings(refresh_seconds=0.1, patience_seconds=90, longest_rest_seconds=0.5)


@dataclass
class Replica:
    """A launcher with its Triton on an address and ports of its own, as a pod has them."""

    address: str
    state: Path
    ports: tuple[int, int, int]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def endpoint(self) -> str:
        return f"{self.address}:{self.ports[0]}"

    def start(self) -> None:
        grpc, metrics, http = map(str, self.ports)
        environment = {
            "EASEL_MODEL_DEPLOYMENT": SPEC,
            "EASEL_STATE_DIR": str(self.state),
            "EASEL_BIND": self.address,
            "EASEL_GRPC_PORT": grpc,
            "EASEL_METRICS_PORT": metrics,
            "EASEL_HTTP_PORT": http,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "easel_inference.serving"],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the replica ended"
        try:
            return urllib3.request("GET", f"http://{self.address}:{self.ports[2]}/readyz", retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def kill_engine(self) -> None:
        """SIGKILL to the process that runs the engine; the launcher ends by itself, as its container would."""
        assert self.process is not None
        pulse = json.loads((self.state / "pulse.json").read_text())
        os.kill(pulse["pid"], 9)
        self.process.wait(timeout=60)

    def freeze_triton(self) -> int:
        """SIGSTOP to tritonserver: its connections stay open and say nothing, as those of a vanished pod."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (int(child) for child in children if "tritonserver" in Path(f"/proc/{child}/cmdline").read_text())
        os.kill(pid, signal.SIGSTOP)
        return pid

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            finally:
                self.process.kill()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Callable[[str], Replica]]:
    made: list[Replica] = []

    def make(address: str) -> Replica:
        grpc, metrics, http = processes.free_ports(3, address)
        made.append(Replica(address, tmp_path / f"state-{len(made)}", (grpc, metrics, http)))
        return made[-1]

    yield make
    for replica in made:
        replica.stop()


class Recording(TritonBackend):
    """The real backend; remembers how often each item was asked for."""

    def __init__(self, replica_set: ReplicaSet) -> None:
        super().__init__(replica_set, "studio-mini", TritonSettings(stall_seconds=60))
        self.started = threading.Semaphore(0)

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: Any, stop: Any) -> Any:
        def hear(message: Any) -> None:
            if message.event.kind == "step" and message.event.step == 2:
                self.started.release()
            on_event(message)

        return super().generate(request, inputs, hear, stop)


def in_background(worker: Worker, backend: Recording, stop: threading.Event) -> Callable[[], Any]:
    """Runs the job; the returned function waits for its end and returns or raises what it did."""
    missing, ended = worker.claim(), []

    def work() -> None:
        try:
            ended.append(worker.run(missing, backend, stop))
        except EaselError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Any:
        thread.join(timeout=240)
        assert not thread.is_alive(), "the job did not end"
        if isinstance(ended[0], Exception):
            raise ended[0]
        return ended[0]

    return result


def test_a_killed_engine_costs_an_attempt_and_loses_nothing(
    replicas: Any, tmp_path: Path, spec: Any, worker_for: Any, eventually: Any
) -> None:
    replica = replicas("127.0.0.1")
    replica.start()
    eventually(replica.ready, "the replica serves", 120)
    job = spec(parameters={"steps": 40, "seeds": list(range(8))})
    worker, stop = worker_for(job, DirectoryStore(tmp_path)), threading.Event()
    with ReplicaSet(replica.endpoint, SETTINGS) as found:
        backend = Recording(found)
        result = in_background(worker, backend, stop)
        assert backend.started.acquire(timeout=60)
        replica.kill_engine()
        replica.start()
        assert result().succeeded == 8
    manifest = json.loads((tmp_path / "mugs/manifest.json").read_text())
    assert len({item["delivered"]["sha256"] for item in manifest["items"]}) == 8
    assert {item["attempts"] for item in manifest["items"]} <= {1, 2}
    assert 2 in {item["attempts"] for item in manifest["items"]}


def test_a_replica_that_says_nothing_any_more_is_noticed_long_before_an_engine_counts_as_stalled(
    replicas: Any, eventually: Any
) -> None:
    replica = replicas("127.0.0.1")
    replica.start()
    eventually(replica.ready, "the replica serves", 120)
    ended: list[Any] = []
    with ReplicaSet(replica.endpoint, SETTINGS) as found:
        backend = TritonBackend(found, "studio-mini")
        heard = threading.Event()

        def one() -> None:
            request = GenerationRequest(id="silent", task="text-to-image", prompt="x", steps=200)
            try:
                ended.append(backend.generate(request, Inputs(), lambda _: heard.set(), threading.Event()))
            except EaselError as error:
                ended.append(error)

        thread = threading.Thread(target=one)
        thread.start()
        assert heard.wait(60)
        frozen = replica.freeze_triton()
        try:
            thread.join(timeout=90)
            assert not thread.is_alive(), "the silence was not noticed"
        finally:
            os.kill(frozen, signal.SIGCONT)
            thread.join(timeout=60)
    assert type(ended[0]) is Transient, ended
    assert "is gone" in ended[0].what


def test_a_replica_that_comes_up_is_used_in_the_middle_of_a_job_and_one_that_goes_gets_no_more(
    replicas: Any, tmp_path: Path, spec: Any, worker_for: Any, eventually: Any
) -> None:
    first, second = replicas("127.0.0.1"), replicas("127.0.0.2")
    listed = {first.endpoint}
    used: dict[str, int] = {}
    for replica in (first, second):
        replica.start()
    eventually(lambda: first.ready() and second.ready(), "both serve", 180)
    job = spec(parameters={"steps": 3, "seeds": list(range(60))})
    worker, stop = worker_for(job, DirectoryStore(tmp_path)), threading.Event()
    with ReplicaSet("replicas:1", SETTINGS, find=lambda *_: frozenset(listed)) as found:
        take = found._take

        def counted(work: float, flag: threading.Event, *, waits: bool) -> Any:
            address, replica = take(work, flag, waits=waits)
            used[address] = used.get(address, 0) + 1
            return address, replica

        found._take = counted  # type: ignore[method-assign]  # watched, not replaced
        result = in_background(worker, Recording(found), stop)
        eventually(lambda: used.get(first.endpoint, 0) > 16, "items end on the first replica")
        assert second.endpoint not in used
        listed.add(second.endpoint)
        eventually(lambda: used.get(second.endpoint, 0) > 2, "the second replica gets items")
        listed.remove(first.endpoint)
        seen = used[first.endpoint]
        assert result().succeeded == 60
    assert used[first.endpoint] <= seen + 1  # one may have been chosen while the list changed
    assert sum(used.values()) == 60


def test_a_job_without_any_replica_gives_up_after_its_patience(tmp_path: Path, spec: Any, worker_for: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = worker_for(spec(), DirectoryStore(tmp_path))
        settings = ReplicaSettings(refresh_seconds=0.1, patience_seconds=1.5, longest_rest_seconds=0.2)
        started = time.monotonic()
        with ReplicaSet(endpoint, settings) as found, pytest.raises(EnvironmentFault) as caught:
            worker.run(worker.claim(), TritonBackend(found, "studio-mini"), threading.Event())
    assert time.monotonic() - started < 30
    assert caught.value.where == endpoint
    assert "no replica of the model answered" in caught.value.what
    assert "1 addresses" in caught.value.found
    end = worker.tally.snapshot()
    assert (end.running, end.succeeded, end.last_failure.error.reason) == (0, 0, "EnvironmentFault")


def test_a_cancelled_item_leaves_the_engine_and_the_others_alone(serving: Any, eventually: Any) -> None:
    before = serving.cancelled(), serving.generations()
    flags = [threading.Event() for _ in range(3)]
    ended: dict[int, Any] = {}
    with ReplicaSet(serving.endpoint) as found:
        backend = Recording(found)

        def one(number: int) -> None:
            request = GenerationRequest(id=f"c{number}", task="text-to-image", prompt="x", steps=60, seed=900 + number)
            try:
                ended[number] = backend.generate(request, Inputs(), lambda _: None, flags[number])
            except EaselError as error:
                ended[number] = error

        threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert backend.started.acquire(timeout=60)
        flags[1].set()
        eventually(lambda: serving.running() == 2, "the engine lets go of the cancelled one", 30)
        for thread in threads:
            thread.join(timeout=120)
    assert type(ended[1]).__name__ == "Cancelled"
    assert (serving.cancelled(), serving.generations()) == (before[0] + 1, before[1] + 2)
    assert {ended[0].finished.seed, ended[2].finished.seed} == {900, 902}
