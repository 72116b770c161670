"""The way to the API server is bad, or the clock is: lost packets, an API server that turns everybody away, a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from easel_cluster import tools
from easel_cluster.apionly import ApiServer
from easel_cluster.toxiproxy import toxiproxy
from operating.clock import Clock
from operating.place import Place
from operating.process import OperatorProcess, until
from operating.rights import grant, through

from conftest import Start

pytestmark = pytest.mark.apiserver

PATIENT = {"duration": 120, "renewDeadline": 100, "retry": 0.5}
DAY = timedelta(days=1)
FLOW = "flowcontrol.apiserver.k8s.io"


def serving(place: Place) -> int:
    # How many jobs it takes until a fault is noticed nobody knows, and none of them may wait for its turn.
    place.model("studio", engine={"maxConcurrentRequests": 256})
    place.serve("studio")
    return int((place.get("deployment", "studio") or {})["metadata"]["generation"])


def unhurt(place: Place, operator: OperatorProcess, generation: int) -> None:
    """It is the same process, it met no defect of its own, and nothing was written anew."""
    assert operator.process is not None
    assert operator.process.poll() is None, operator.tail()
    assert "a defect of the operator" not in operator.log.read_text()
    assert (place.get("deployment", "studio") or {})["metadata"]["generation"] == generation


def test_a_network_that_loses_everything_for_a_while_is_sat_out(
    server: ApiServer, place: Place, start: Start, progress: Callable[[str], None], tmp_path: Path
) -> None:
    program = tools.ensure(["toxiproxy"], progress)["toxiproxy"]
    with toxiproxy(program, urlsplit(server.url).netloc, tmp_path) as proxy:
        kubeconfig = through(server.kubeconfig, f"https://127.0.0.1:{proxy.port}", tmp_path / "proxied")
        watched = {"auditInterval": 0.5, "auditGrace": 2}
        operator = start(place, kubeconfig=kubeconfig, leaseTimes=PATIENT, watchTimes=watched).ready().leads()
        generation = serving(place)
        proxy.lose()
        place.job("lost")
        until(
            lambda: operator.health("healthz")[0] == 503 or "cannot be reached" in operator.log.read_text(), "noticed"
        )
        proxy.serve()
        until(lambda: place.get("job", "lost"), "its batch Job", 120)
        until(lambda: operator.health("healthz")[0] == 200, "healthy again", 120)
        unhurt(place, operator, generation)


def test_an_api_server_that_turns_every_request_away_is_waited_for(
    server: ApiServer, place: Place, start: Start, tmp_path: Path
) -> None:
    user = grant(place, server.kubeconfig, tmp_path)
    operator = start(place, kubeconfig=user, leaseTimes=PATIENT).ready().leads()
    generation = serving(place)
    account = {"kind": "ServiceAccount", "serviceAccount": {"name": "easel-operator", "namespace": place.namespace}}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    no_seat = {
        "nominalConcurrencyShares": 0,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    name = f"storm-{place.namespace}"
    level = {
        "apiVersion": f"{FLOW}/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": no_seat},
    }
    flow = {
        "apiVersion": f"{FLOW}/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [account], "resourceRules": [everything]}],
        },
    }
    place.kubectl.apply(level, flow)
    jobs: list[str] = []

    def turned_away() -> bool:
        # The API server takes its time to heed the new rule.
        jobs.append(f"job-{len(jobs)}")
        place.job(jobs[-1])
        return "asks to slow down" in operator.log.read_text()

    try:
        until(turned_away, "it was turned away", 60)
    finally:
        place.kubectl("delete", f"flowschemas.{FLOW}", name)
        place.kubectl("delete", f"prioritylevelconfigurations.{FLOW}", name)
    until(lambda: {job["metadata"]["name"] for job in place.list("jobs")} == set(jobs), "every batch Job", 120)
    unhurt(place, operator, generation)


def test_a_clock_that_jumps_stops_nothing(
    place: Place, start: Start, progress: Callable[[str], None], tmp_path: Path
) -> None:
    clock = Clock(tmp_path, progress)
    operator = start(place, environment=clock.environment).ready().leads()
    generation = serving(place)
    for number, jump in enumerate((DAY, -DAY, timedelta())):
        clock.jump(jump)
        place.job(f"job-{number}")
        until(lambda name=f"job-{number}": place.get("job", name), f"the batch Job after {jump}")  # type: ignore[misc]  # bound at once
        assert operator.metric("easel_operator_leader") == 1.0
    place.await_condition("gen", "job-0", "Reconciling", "True", "WorkerStarting")
    unhurt(place, operator, generation)
    lease = place.get("lease", "easel-operator") or {}
    assert lease["spec"].get("leaseTransitions", 0) <= 1
