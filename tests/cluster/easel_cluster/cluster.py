"""The node cluster: up, down and status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault, EnvironmentFault
from easel_cluster import debian, oci, processes, s3
from easel_cluster.apionly import kept_ports, stop_all
from easel_cluster.controlplane import ControlPlane
from easel_cluster.kubectl import Kubectl
from easel_cluster.layout import State
from easel_cluster.namespaces import HOST_ADDRESS, NODE_NAME, Namespaces
from easel_cluster.node import POD_IMAGE, Node, client_command, containerd_folder, dns_permissions
from easel_cluster.tools import NODE_TOOLS, Report, ensure, locked, say

API_PORT = 6443
S3_PORT = 7070
GPUS = 4
CTR = "ctr-path"
"""Taking a cluster down needs this program, and must not need what builds it."""


@dataclass(frozen=True)
class Cluster:
    """A running node cluster."""

    node: Node
    kubectl: Kubectl
    s3: s3.S3Server

    @property
    def state(self) -> State:
        """Its folder."""
        return self.node.plane.state

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state.kubeconfig

    @property
    def client(self) -> tuple[str, ...]:
        """The beginning of a command line for containerd's client, among Kubernetes' images."""
        return (*processes.enter(self.node.inside), *client_command(self.node.plane.tools["ctr"]))

    def ctr(self, *arguments: str) -> str:
        """Run containerd's client; its standard output."""
        command = (*self.client, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendFault(f"ctr {' '.join(arguments[:2])} failed", found=done.stderr.strip())
        return done.stdout

    def images(self) -> set[str]:
        """Names of the images that pods can use."""
        return set(self.ctr("images", "list", "--quiet").split())


def up(state: State, report: Report = say, *, gpus: int = GPUS) -> Cluster:
    """Start what is missing of the node cluster.

    Raises `EnvironmentFault` when this machine cannot run it (no root, no Go, a port, link or network in use), `Stalled`
    when a part does not come up, with the end of its log.
    """
    need_root()
    debian.need_node_programs(report)
    tools = ensure(NODE_TOOLS, report)
    state.make()
    with locked(state.root / "lock", "another command works on this cluster", report):
        if Namespaces(state).pid() is None:
            _clear(state)
            state.make()
        return _start(state, tools, gpus, report)


def attach(state: State, report: Report = say) -> Cluster | None:
    """The running node cluster of a state folder, or None."""
    inside = Namespaces(state).pid()
    if inside is None or processes.running(state, "kubelet") is None:
        return None
    plane = ControlPlane(state, ensure(NODE_TOOLS, report), kept_ports(state, API_PORT), HOST_ADDRESS)
    kubectl = Kubectl(plane.tools["kubectl"], state.kubeconfig)
    return Cluster(Node(plane, inside), kubectl, s3.credentials(state, HOST_ADDRESS, S3_PORT))


def down(state: State, report: Report = say) -> None:
    """Stop everything of a state folder and leave the machine as it was; the caches stay."""
    if not state.root.exists():
        report(f"nothing is up in {state.root}")
        return
    with locked(state.root / "lock", "another command works on this cluster", report):
        _clear(state)
    report(f"down: {state.root}")


def need_root() -> None:
    """Pods need namespaces, mounts and control groups."""
    if os.geteuid() != 0:
        raise EnvironmentFault(
            "a node with pods needs root",
            found=f"user {os.geteuid()}",
            fix="Run as root, or use --api-only for an API server without pods.",
        )


def _start(state: State, tools: dict[str, Path], gpus: int, report: Report) -> Cluster:
    inside = Namespaces(state).raise_walls(tools["pod"])
    plane = ControlPlane(state, tools, kept_ports(state, API_PORT), HOST_ADDRESS)
    node = Node(plane, inside)
    kubectl = Kubectl(tools["kubectl"], plane.write_admin_kubeconfig())
    (state.config / CTR).write_text(str(tools["ctr"]))
    report("starting etcd and the API server")
    processes.start_all(
        [plane.etcd(), node.containerd(), s3.program(state, tools["versitygw"], HOST_ADDRESS, S3_PORT)], state
    )
    processes.start(plane.api_server(), state)
    cluster = Cluster(node, kubectl, s3.credentials(state, HOST_ADDRESS, S3_PORT))
    _import_pod_image(cluster)
    kubectl.apply(*dns_permissions())
    report("starting the node")
    processes.start_all([plane.controllers(), plane.scheduler(), node.kubelet(), node.proxy(), node.dns()], state)
    _await_node(cluster, gpus)
    report(f"up: export KUBECONFIG={state.kubeconfig}")
    return cluster


def _await_node(cluster: Cluster, gpus: int) -> None:
    kubectl = cluster.kubectl
    if not processes.wait_for(lambda: kubectl.run("get", "node", NODE_NAME).returncode == 0, 60):
        raise BackendFault("the node did not register", where=str(cluster.state.logs / "kubelet.log"))
    kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=90s")
    capacity = {"status": {"capacity": {"nvidia.com/gpu": str(gpus)}}}
    kubectl("patch", "node", NODE_NAME, "--subresource=status", "--type=merge", "-p", json.dumps(capacity))
    kubectl("wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=60s")


def _import_pod_image(cluster: Cluster) -> None:
    """The image of the pods' sandboxes: without it no pod starts."""
    scratch = cluster.state.data / "pod-image"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    layer, layout = scratch / "layer.tar", scratch / "layout"
    oci.layer_of_files(layer, {"/pod": cluster.node.plane.tools["pod"]})
    oci.write_layout(layout, [layer], oci.Runs(entrypoint=["/pod"], user="65532:65532"), POD_IMAGE)
    oci.archive(layout, scratch / "image.tar")
    cluster.ctr("images", "import", str(scratch / "image.tar"))
    shutil.rmtree(scratch)


def _clear(state: State) -> None:
    """Everything but the caches: pods by their runtime first, then the programs, the namespaces, the folder."""
    walls = Namespaces(state)
    inside = walls.pid()
    if inside is not None:
        processes.kill("kubelet", state)
        _forget_containers(state, inside)
    if os.geteuid() == 0:
        walls.fall()
    _refuse_mounts(state.root)
    stop_all(state)


def _forget_containers(state: State, inside: int) -> None:
    """Remove pods from the runtime's records, which outlive this cluster together with its images."""
    kept = state.config / CTR
    if processes.running(state, "containerd") is None or not kept.exists():
        return
    client = (*processes.enter(inside), *client_command(Path(kept.read_text())))
    containers = _lines(*client, "containers", "list", "--quiet")
    if containers:
        _lines(*client, "tasks", "delete", "--force", *containers)
        _lines(*client, "containers", "delete", *containers)
    processes.kill("containerd", state)
    for folder in ("sandboxes", "containers"):
        shutil.rmtree(containerd_folder() / "io.containerd.grpc.v1.cri" / folder, ignore_errors=True)


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.split()


def _refuse_mounts(folder: Path) -> None:
    """A folder is not deleted while something is mounted in it: that could be a person's own files."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [each for each in mounted if Path(each).is_relative_to(folder)]
    if found:
        raise EnvironmentFault(
            "something is mounted in the cluster's folder",
            found=", ".join(found),
            fix="Unmount it, then run down again.",
        )
