"""The node runs pods as a real one does: policies, GPUs, names, Services, permissions."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from easel_cluster import processes
from easel_cluster.cluster import Cluster, attach
from easel_cluster.kubectl import Kubectl
from easel_cluster.namespaces import NODE_NAME
from web_workload import deploy, pods, run

from easel_api.errors import BackendFault

pytestmark = pytest.mark.cluster

NAMESPACE = "easel-node-test"


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Iterator[Cluster]:
    deploy(cluster, NAMESPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait", "--timeout=90s")


def test_a_service_reaches_every_pod_by_its_name(served: Cluster) -> None:
    names = pods(served, NAMESPACE)
    assert len(names) == 2
    answered: set[str] = set()
    assert processes.wait_for(
        lambda: answered.add(run(served, NAMESPACE, "fetch", "http://web/").strip()) or len(answered) == 2, 60
    )
    assert sorted(answered) == names


def test_a_headless_service_resolves_to_the_pods_own_addresses(served: Cluster) -> None:
    listed = served.kubectl(
        "get", "pods", f"--namespace={NAMESPACE}", "-o", "jsonpath={.items[*].status.podIP}"
    ).split()
    name = f"each.{NAMESPACE}.svc.cluster.local"
    assert processes.wait_for(lambda: run(served, NAMESPACE, "resolve", name).split() == sorted(listed), 30)


def test_a_name_outside_the_cluster_does_not_exist(served: Cluster) -> None:
    command = ("exec", pods(served, NAMESPACE)[0], f"--namespace={NAMESPACE}", "--", "/pod", "resolve", "example.com")
    assert "no such host" in served.kubectl.run(*command).stderr


def test_pods_reach_the_s3_server(served: Cluster) -> None:
    assert "AccessDenied" in run(served, NAMESPACE, "fetch", served.s3.endpoint)


def test_pods_reach_the_api_server_by_its_service(served: Cluster) -> None:
    command = (
        "exec",
        pods(served, NAMESPACE)[0],
        f"--namespace={NAMESPACE}",
        "--",
        "/pod",
        "fetch",
        "https://kubernetes.default/",
    )
    # That the certificate is not trusted there is said by who got as far as the handshake.
    assert "certificate" in served.kubectl.run(*command).stderr


def test_gpus_are_scheduled_and_run_out(served: Cluster) -> None:
    capacity = served.kubectl("get", "node", NODE_NAME, "-o", "jsonpath={.status.allocatable.nvidia\\.com/gpu}")
    served.kubectl("scale", "deployment/web", f"--namespace={NAMESPACE}", f"--replicas={int(capacity) + 1}")
    try:
        told = 'jsonpath={.items[*].status.conditions[?(@.reason=="Unschedulable")].message}'
        seen = lambda: served.kubectl("get", "pods", f"--namespace={NAMESPACE}", "-o", told)  # noqa: E731 - polled below
        assert processes.wait_for(lambda: "Insufficient nvidia.com/gpu" in seen(), 30)
    finally:
        served.kubectl("scale", "deployment/web", f"--namespace={NAMESPACE}", "--replicas=2")
        served.kubectl("rollout", "status", "deployment/web", f"--namespace={NAMESPACE}", "--timeout=90s")


def test_a_pod_that_breaks_the_policy_is_refused(served: Cluster) -> None:
    container = {"name": "root", "image": "docker.io/easel/pod:dev", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {"containers": [container]},
    }
    with pytest.raises(BackendFault, match="violates PodSecurity"):
        served.kubectl.apply(pod)


def test_a_node_may_read_only_the_secrets_of_its_own_pods(served: Cluster) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "other", "namespace": NAMESPACE},
        "stringData": {"a": "b"},
    }
    served.kubectl.apply(secret)
    as_node = Kubectl(served.kubectl.program, served.state.config / "kubelet.kubeconfig")
    assert "no relationship found" in as_node.run("get", "secret", "other", f"--namespace={NAMESPACE}").stderr


def test_a_second_up_finds_what_runs(served: Cluster, pytestconfig: pytest.Config) -> None:
    before = {name: processes.running(served.state, name) for name in processes.names(served.state)}
    from easel_cluster.cluster import up

    again = up(served.state)
    assert before == {name: processes.running(served.state, name) for name in processes.names(served.state)}
    assert None not in before.values()
    assert again.s3 == served.s3


def test_a_part_that_died_is_started_again(served: Cluster) -> None:
    from easel_cluster.cluster import up

    processes.kill("kube-scheduler", served.state)
    up(served.state)
    assert processes.running(served.state, "kube-scheduler")


def test_taking_down_another_folder_leaves_the_node_alone(served: Cluster) -> None:
    from easel_cluster.cluster import down
    from easel_cluster.layout import State

    with tempfile.TemporaryDirectory() as folder:  # a test's own folder is too long a path for sockets
        other = State(Path(folder))
        other.make()
        down(other)
    assert Path("/sys/class/net/easel0").exists()
    assert served.kubectl("get", "--raw", "/readyz") == "ok"


def test_others_find_the_cluster_that_is_up(served: Cluster) -> None:
    found = attach(served.state)
    assert found is not None
    assert found.images() >= {"docker.io/easel/pod:dev"}
    done = subprocess.run(
        [served.kubectl, "--kubeconfig", found.kubeconfig, "get", "nodes", "-o", "json"],
        capture_output=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["items"]) == 1
    assert Path(found.kubeconfig).stat().st_mode & 0o077 == 0
