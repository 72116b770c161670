"""The API server alone and the S3 server alone: on loopback ports, as any user, side by side with others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from easel_cluster import processes, s3
from easel_cluster.controlplane import LOOPBACK, ControlPlane, Ports
from easel_cluster.kubectl import Kubectl
from easel_cluster.layout import State
from easel_cluster.tools import API_TOOLS, Report, ensure, locked, say


@dataclass(frozen=True)
class ApiServer:
    """A running API server without nodes."""

    plane: ControlPlane
    kubectl: Kubectl

    @property
    def url(self) -> str:
        """Its HTTPS address."""
        return self.plane.url

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.plane.state.kubeconfig

    def start_controllers(self, which: str = "*", report: Report = say) -> None:
        """Start kube-controller-manager too: garbage collection of children, namespaces' end, Jobs, Deployments."""
        plane = replace(self.plane, tools=self.plane.tools | ensure(["kube-controller-manager"], report))
        processes.start(plane.controllers(which), plane.state)


def start_api_server(state: State, report: Report = say, *, port: int | None = None, tied: bool = False) -> ApiServer:
    """Start etcd and kube-apiserver; what runs already is left alone.

    Raises `EnvironmentFault` when a tool cannot be built or `port` is in use.
    """
    tools = ensure(API_TOOLS, report)
    state.make()
    with locked(state.root / "lock", "another command works on this cluster", report):
        plane = ControlPlane(state, tools, kept_ports(state, port), tied=tied)
        kubeconfig = plane.write_admin_kubeconfig()
        processes.start(plane.etcd(), state)
        processes.start(plane.api_server(), state)
    return ApiServer(plane, Kubectl(tools["kubectl"], kubeconfig))


def start_s3(state: State, report: Report = say, *, tied: bool = False) -> s3.S3Server:
    """Start the S3 server."""
    versitygw = ensure(["versitygw"], report)["versitygw"]
    state.make()
    kept = state.config / "s3-port"
    if not kept.exists():
        kept.write_text(str(processes.free_ports(1)[0]))
    port = int(kept.read_text())
    processes.start(s3.program(state, versitygw, LOOPBACK, port, tied=tied), state)
    return s3.credentials(state, LOOPBACK, port)


def kept_ports(state: State, port: int | None = None) -> Ports:
    """The ports of this cluster: chosen once, so that a second `up` finds what runs."""
    file = state.config / "ports.json"
    if not file.exists():
        api, *others = processes.free_ports(5)
        file.write_text(json.dumps(asdict(Ports(port or api, *others))))
    return Ports(**json.loads(file.read_text()))


STOP_ORDER = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")


def stop_all(state: State) -> list[str]:
    """Stop the programs of a state folder, those that others lean on last, and forget what they kept; who was stopped."""
    names = sorted(processes.names(state), key=lambda name: STOP_ORDER.index(name) if name in STOP_ORDER else -1)
    stopped = [name for name in names if processes.kill(name, state)]
    shutil.rmtree(state.root, ignore_errors=not state.root.exists())
    return stopped


@contextmanager
def temporary_api_server(folder: Path, report: Report = say) -> Iterator[ApiServer]:
    """An API server for one test session, gone with it however it ends."""
    state = State(folder)
    try:
        yield start_api_server(state, report, tied=True)
    finally:
        stop_all(state)


@contextmanager
def temporary_s3(folder: Path, report: Report = say) -> Iterator[s3.S3Server]:
    """An S3 server for one test session, gone with it however it ends."""
    state = State(folder)
    try:
        yield start_s3(state, report, tied=True)
    finally:
        stop_all(state)
