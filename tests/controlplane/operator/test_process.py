"""The operator as a process: restarts, fail-over, silent watches, an end on request."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from easel_cluster.apionly import ApiServer
from operating.forwarding import Forwarder
from operating.place import Place
from operating.process import OperatorProcess, until
from operating.rights import through

pytestmark = pytest.mark.apiserver

KINDS = ("mdep", "gen", "deployment", "service", "pdb", "networkpolicy", "job", "pod")


def versions(place: Place) -> dict[str, str]:
    return {
        f"{kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for kind in KINDS
        for item in place.list(kind)
    }


def settle(place: Place) -> None:
    """One model that serves, one job at work, one that is over, one that waits."""
    place.model("studio")
    place.serve("studio")
    for name in ("working", "over"):
        place.job(name)
        place.run_pod(place.await_pod(f"easel.dev/generation-job={name}"), "worker", ready=True)
        place.await_condition("gen", name, "Ready", "False", "Generating")
    place.end_pod(place.await_pod("easel.dev/generation-job=over"), "worker", 0)
    place.await_condition("gen", "over", "Ready", "True", "Complete")
    place.job("waiting", model="nobody")
    place.await_condition("gen", "waiting", "Ready", "False", "ModelNotFound")


def reconciled(operator: OperatorProcess, result: str) -> float:
    lines = [line for line in operator.metrics().splitlines() if line.startswith("easel_operator_reconciles_total")]
    return sum(float(line.split()[-1]) for line in lines if f'result="{result}"' in line)


def test_a_restart_on_a_settled_cluster_writes_nothing(place: Place, start: Any) -> None:
    first = start(place).ready().leads()
    settle(place)
    assert first.stop() == 0
    before = versions(place)
    second = start(place, "second").ready().leads()
    until(lambda: reconciled(second, "settled") >= 4, "every object was reconciled")
    assert "easel_operator_actions_total{" not in second.metrics()
    assert versions(place) == before


def test_one_of_two_acts_and_the_other_takes_over(place: Place, start: Any) -> None:
    first = start(place, "first").ready().leads()
    second = start(place, "second").ready()
    place.model("studio")
    place.serve("studio")
    assert second.metric("easel_operator_leader") in (None, 0.0)
    assert "easel_operator_actions_total{" not in second.metrics()
    first.stop(signal.SIGKILL)
    place.job("orphaned")
    second.leads()
    place.await_pod("easel.dev/generation-job=orphaned")
    lease = place.get("lease", "easel-operator") or {}
    assert lease["spec"]["holderIdentity"].startswith("second_")
    assert lease["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_another_takes_over_within_fifteen_seconds(place: Place, start: Any, number: signal.Signals) -> None:
    first = start(place, "first", leaseTimes={}).ready().leads()
    second = start(place, "second", leaseTimes={}).ready()
    place.model("studio")
    place.serve("studio")
    first.process.send_signal(number)
    frozen = time.monotonic()
    until(lambda: second.metric("easel_operator_leader") == 1.0, "the other leads", 20)
    assert time.monotonic() - frozen < 15
    place("scale", "mdep", "studio", "--replicas=2")
    until(lambda: (place.get("deployment", "studio") or {})["spec"]["replicas"] == 2, "the other acts")
    if number == signal.SIGSTOP:
        version = (place.get("deployment", "studio") or {})["metadata"]["generation"]
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(60) == 1
        assert "could not be renewed" in first.tail()
        assert (place.get("deployment", "studio") or {})["metadata"]["generation"] == version
        assert second.metric("easel_operator_leader") == 1.0


def test_sigterm_hands_the_lease_over(place: Place, start: Any) -> None:
    operator = start(place).ready().leads()
    assert operator.stop() == 0
    assert (place.get("lease", "easel-operator") or {})["spec"]["holderIdentity"] == ""
    assert "Traceback" not in operator.log.read_text()


def test_a_leader_that_loses_its_lease_ends(place: Place, start: Any) -> None:
    operator = start(place).ready().leads()
    place.patch("lease", "easel-operator", {"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 600}})
    assert operator.process.wait(20) == 1
    assert "could not be renewed" in operator.tail()


def test_a_silent_watch_makes_the_process_unhealthy(
    server: ApiServer, place: Place, start: Any, tmp_path: Path
) -> None:
    address = urlsplit(server.url)
    forwarder = Forwarder((str(address.hostname), int(address.port or 443)))
    kubeconfig = through(server.kubeconfig, forwarder.url, tmp_path / "forwarded")
    operator = start(
        place,
        kubeconfig=kubeconfig,
        watchTimes={"auditInterval": 0.5, "auditGrace": 2},
        leaseTimes={"duration": 60, "renewDeadline": 50, "retry": 1},
    )
    operator.ready().leads()
    assert operator.health("healthz") == (200, "ok\n")
    forwarder.silence()
    place.model("unseen")
    until(lambda: operator.health("healthz")[0] == 503, "unhealthy", 60)
    assert "modeldeployments" in operator.health("healthz")[1]
    assert operator.health("readyz")[0] == 503
    forwarder.close()
    # The probes end it, as kubelet does; what comes next finds the model.
    operator.gone()
    start(place, "next", leaseName="next").ready().leads()
    until(lambda: place.get("deployment", "unseen"), "the model that no watch told of")


def test_a_configuration_that_is_wrong_is_told_with_its_field(place: Place, start: Any) -> None:
    operator = start(place, workerImagePullPolicy="Sometimes")
    assert operator.process.wait(20) == 3
    assert "workerImagePullPolicy" in operator.tail()
    assert "Traceback" not in operator.tail()


def test_prompts_never_reach_the_log_or_an_event(place: Place, start: Any) -> None:
    operator = start(place).ready().leads()
    place.job("quiet", prompts=[{"text": "a zebra-striped teapot {{oops}}"}])
    place.await_condition("gen", "quiet", "Failed", "True", "InvalidInput")
    assert "zebra" not in operator.log.read_text()
    assert "zebra" not in place("get", "events.events.k8s.io", "-o", "yaml")
