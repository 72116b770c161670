"""The API server and etcd go away and come back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_cluster import processes
from easel_cluster.apionly import ApiServer
from operating.place import Place
from operating.process import until

from conftest import Start, controlled_server, new_place

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def fragile(progress: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server that tests may stop."""
    with controlled_server(tmp_path_factory.mktemp("fragile"), progress) as server:
        yield server


@pytest.fixture
def place(fragile: ApiServer) -> Place:
    return new_place(fragile)


def serving(place: Place) -> Any:
    place.model("studio")
    place.serve("studio")
    return (place.get("deployment", "studio") or {})["metadata"]["generation"]


def back(server: ApiServer, *parts: str) -> None:
    """Start what was stopped."""
    plane = server.plane
    for name, program in (("etcd", plane.etcd), ("kube-apiserver", plane.api_server)):
        if name in parts:
            processes.start(program(), plane.state)


def test_an_operator_sits_an_outage_out(fragile: ApiServer, place: Place, start: Start) -> None:
    patient = {"duration": 120, "renewDeadline": 100, "retry": 0.5}
    operator = start(place, kubeconfig=fragile.kubeconfig, leaseTimes=patient).ready().leads()
    generation = serving(place)
    for parts in (("kube-apiserver",), ("etcd",), ("kube-apiserver", "etcd")):
        for name in parts:
            processes.stop(name, fragile.plane.state)
        back(fragile, *parts)
        job = f"after-{'-and-'.join(parts)}"
        place.job(job)
        # The Job and not its pod: how soon the other controllers come back is not ours.
        until(functools.partial(place.get, "job", job), "its batch Job", 90)
    assert operator.process is not None
    assert operator.process.poll() is None
    assert "a defect of the operator" not in operator.log.read_text()
    assert (place.get("deployment", "studio") or {})["metadata"]["generation"] == generation


def test_a_leader_that_cannot_renew_ends_and_its_successor_goes_on(
    fragile: ApiServer, place: Place, start: Start, tmp_path: Path
) -> None:
    operator = start(place, kubeconfig=fragile.kubeconfig).ready().leads()
    generation = serving(place)
    processes.stop("kube-apiserver", fragile.plane.state)
    assert operator.process is not None
    assert operator.process.wait(60) == 1
    assert "could not be renewed" in operator.tail()
    assert "Traceback" not in operator.log.read_text()
    back(fragile, "kube-apiserver")
    operator.start().ready().leads()  # as kubelet does
    place.job("after")
    until(lambda: place.get("job", "after"), "its batch Job", 90)
    until(lambda: place.condition("mdep", "studio", "Ready").get("status") == "True", "it still serves")
    assert (place.get("deployment", "studio") or {})["metadata"]["generation"] == generation
