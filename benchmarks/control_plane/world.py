"""A control plane for thousands of objects: the real API server, controllers and scheduler, and nodes that KWOK pretends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from easel_cluster import processes, tools
from easel_cluster.apionly import kept_ports, stop_all
from easel_cluster.controlplane import ControlPlane
from easel_cluster.kubectl import Kubectl
from easel_cluster.layout import State

ROOT = Path(__file__).parents[2]
NODES = 20
RATE = ("--kube-api-qps", "1000", "--kube-api-burst", "2000")
"""Kubernetes' own controllers shall not be what is measured."""
AUDIT: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}
LOADED = {
    "digest": "sha256:0", "family": "StableDiffusion", "tasks": ["text-to-image"], "parameters": 9, "loaded_seconds": 4.0,
    "step_seconds": {"128x128": 0.05},
}  # fmt: skip


@dataclass
class World:
    """Everything but the operator."""

    plane: ControlPlane
    kubectl: Kubectl
    runtime_port: int

    def writes(self, user: str) -> Counter[str]:
        """Writes of a user so far that the API server let through, by resource and verb."""
        found: Counter[str] = Counter()
        with self.audit.open() as lines:
            for line in lines:
                event = json.loads(line)
                if event["user"]["username"] == user and event["responseStatus"].get("code", 500) < 300:
                    target = event["objectRef"]
                    resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
                    found[f"{event['verb']} {resource}"] += 1
        return found

    @property
    def audit(self) -> Path:
        """Every write, one in a line."""
        return self.plane.state.root / "audit.log"

    def user(self, name: str) -> Path:
        """A kubeconfig for a user who may do everything, so that the audit log tells who wrote."""
        return self.plane.kubeconfig(name, name, "system:masters")


@contextlib.contextmanager
def world(folder: Path, report: tools.Report) -> Iterator[World]:
    """Started, and gone afterwards."""
    programs = tools.ensure([*tools.API_TOOLS, "kube-controller-manager", "kube-scheduler", "kwok"], report)
    state = State(folder)
    state.make()
    plane = ControlPlane(state, programs, kept_ports(state), tied=True)
    kubectl = Kubectl(programs["kubectl"], plane.write_admin_kubeconfig())
    policy = state.root / "audit.yaml"
    policy.write_text(yaml.safe_dump(AUDIT))
    audit = (
        *("--audit-policy-file", str(policy), "--audit-log-path", str(state.root / "audit.log")),
        *("--audit-log-maxsize", "100000"),  # megabytes: a log that begins anew forgets writes
    )
    with runtimes() as port:
        try:
            processes.start(plane.etcd(), state)
            processes.start(_with(plane.api_server(), *audit), state)
            processes.start(_with(plane.controllers(), *RATE), state)
            processes.start(_with(plane.scheduler(), *RATE), state)
            _kwok(plane, programs["kwok"])
            _populate(kubectl)
            yield World(plane, kubectl, port)
        finally:
            stop_all(state)


def _with(program: processes.Program, *flags: str) -> processes.Program:
    return replace(program, argv=(*program.argv, *flags))


def _kwok(plane: ControlPlane, program: Path) -> None:
    """With the stages that come with it: nodes and pods get ready at once, pods of a Job end at once."""
    stages = tools.source_of("kwok", "sigs.k8s.io/kwok") / "kustomize/stage"
    folders = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    files = [
        path for name in folders for path in sorted((stages / name).glob("*.yaml")) if path.name != "kustomization.yaml"
    ]
    flags = (
        *(part for path in files for part in ("--config", str(path))),
        "--kubeconfig", str(plane.state.kubeconfig), "--manage-all-nodes", "--cidr", "127.77.0.1/16", "--node-ip", "127.0.0.1",
        "--node-lease-duration-seconds", "40",
    )  # fmt: skip
    processes.start(processes.Program("kwok", (str(program), *flags), lambda: True, tied=True), plane.state)


def _populate(kubectl: Kubectl) -> None:
    for number in range(NODES):
        capacity = {"cpu": "10000", "memory": "10000Gi", "pods": "100000"}
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"kwok-{number}", "annotations": {"kwok.x-k8s.io/node": "fake"}},
                "status": {"capacity": capacity, "allocatable": capacity},
            }
        )
    kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        kubectl("apply", "--server-side", "-f", str(path))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


@contextlib.contextmanager
def runtimes() -> Iterator[int]:
    """Answers for every runtime: KWOK's pods have addresses of this machine."""

    class Runtime(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(LOADED if self.path == "/model" else {"running": 0, "waiting": 0}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("0.0.0.0", 0), Runtime)  # noqa: S104 - every address of the loopback network
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


@dataclass
class Measured:
    """A program under test, and what it takes."""

    argv: tuple[str, ...]
    kubeconfig: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Measured:
        """Begin, or begin anew."""
        with self.log.open("ab") as log:
            environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "POD_NAME": "bench"}
            self.process = subprocess.Popen([sys.executable, *self.argv], env=environment, stdout=log, stderr=log)
        return self

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory in MB, at its highest."""
        (line,) = (line for line in self._proc("status").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000

    def stop(self) -> None:
        """End."""
        if self.process is not None:
            processes.end(self.process, 30)

    def _proc(self, name: str) -> str:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/{name}").read_text()
