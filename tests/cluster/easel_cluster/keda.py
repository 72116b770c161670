"""KEDA as processes on this machine's side of the node cluster: its operator, and its adapter behind the API server.

A pod's worth of flags is given by hand; what they leave out (webhooks, leader election, certificates of its own making) has
no part in scaling. The API server finds the adapter by a Service whose endpoint is this machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from easel_api.errors import Stalled
from easel_cluster import processes
from easel_cluster.cluster import Cluster
from easel_cluster.namespaces import HOST_ADDRESS
from easel_cluster.pki import Authority
from easel_cluster.tools import last_lines, source_of

NAMESPACE = "keda"
SERVICE = "keda-metrics-apiserver"
MODULE = "github.com/kedacore/keda/v2"


@contextlib.contextmanager
def keda(cluster: Cluster, programs: Mapping[str, Path], folder: Path) -> Iterator[None]:
    """KEDA at work, for as long as the context lasts; `programs` are `keda-operator` and `keda-adapter`."""
    cluster.kubectl("apply", "--server-side", "-f", str(source_of("keda", MODULE) / "config/crd/bases"))
    # `kubectl wait` gives up on a CRD that has no conditions yet.
    served = ("get", "scaledobjects.keda.sh", "--all-namespaces")
    if not processes.wait_for(lambda: cluster.kubectl.run(*served).returncode == 0, 30):
        raise Stalled("KEDA's kinds are not served")
    serving, grpc, metrics, probes = processes.free_ports(4, HOST_ADDRESS)
    authority = Authority(folder / "pki", "keda")
    environment = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
    }
    cluster.kubectl.apply(*_objects(serving))
    operator = [
        str(programs["keda-operator"]),
        f"--cert-dir={_certificates(authority, folder / 'operator', server=True)}",
        f"--metrics-bind-address={HOST_ADDRESS}:{metrics}",
        f"--health-probe-bind-address={HOST_ADDRESS}:{probes}",
        f"--metrics-service-bind-address={HOST_ADDRESS}:{grpc}",
    ]
    adapter = [
        str(programs["keda-adapter"]),
        f"--cert-dir={_certificates(authority, folder / 'adapter', server=False)}",
        f"--bind-address={HOST_ADDRESS}",
        f"--secure-port={serving}",
        f"--metrics-service-address={HOST_ADDRESS}:{grpc}",
        f"--lister-kubeconfig={cluster.kubeconfig}",
        f"--authentication-kubeconfig={cluster.kubeconfig}",
        f"--authorization-kubeconfig={cluster.kubeconfig}",
    ]
    with (
        _running(operator, environment, folder / "operator.log"),
        _running(adapter, environment, folder / "adapter.log"),
    ):
        listed = ("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1")
        if not processes.wait_for(lambda: cluster.kubectl.run(*listed).returncode == 0, 90):
            said = last_lines(folder / "adapter.log", 4)
            raise Stalled("KEDA's adapter does not answer", where=str(folder), found=said)
        try:
            yield
        finally:
            # While its operator is there to take its finalizers off.
            cluster.kubectl("delete", "scaledobjects.keda.sh", "--all", "--all-namespaces", "--timeout=60s")
            cluster.kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io")


def _certificates(authority: Authority, folder: Path, *, server: bool) -> Path:
    """What KEDA expects in its folder: ca.crt, tls.crt and tls.key."""
    folder.mkdir(parents=True)
    pair = authority.server("server", "keda", [HOST_ADDRESS]) if server else authority.client("client", "keda")
    for name, path in (("ca.crt", authority.certificate), ("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (folder / name).write_bytes(path.read_bytes())
    return folder


def _objects(port: int) -> tuple[object, ...]:
    metadata = {"name": SERVICE, "namespace": NAMESPACE}
    ports = [{"name": "https", "port": 443}]
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [HOST_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": port}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "service": {"name": SERVICE, "namespace": NAMESPACE},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    )


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=environment, stdout=written, stderr=written)
    try:
        yield
    finally:
        processes.end(process, 15)
