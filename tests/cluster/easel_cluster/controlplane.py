"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their flags, certificates and health."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from easel_cluster.layout import State
from easel_cluster.pki import Authority, signing_key, tls_context, write_kubeconfig
from easel_cluster.processes import Program

SERVICE_CIDR = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
POD_CIDR = "10.77.0.0/16"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where the control plane listens; all but the API server on loopback."""

    api: int
    etcd: int
    etcd_peer: int
    controllers: int
    scheduler: int


@dataclass(frozen=True)
class ControlPlane:
    """One control plane: where it is and what it may be told."""

    state: State
    tools: dict[str, Path]
    ports: Ports
    address: str = LOOPBACK
    tied: bool = False

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{self.address}:{self.ports.api}"

    def authority(self) -> Authority:
        """Who signs the cluster's certificates."""
        return Authority(self.state.pki)

    def kubeconfig(self, name: str, user: str, *groups: str) -> Path:
        """A kubeconfig for a part of the cluster."""
        authority = self.authority()
        client = authority.client(name, user, *groups)
        return write_kubeconfig(self.state.config / f"{name}.kubeconfig", self.url, authority.certificate, client)

    def write_admin_kubeconfig(self) -> Path:
        """The kubeconfig for people and tests: everything is allowed."""
        authority = self.authority()
        client = authority.client("admin", "easel-admin", "system:masters")
        return write_kubeconfig(self.state.kubeconfig, self.url, authority.certificate, client)

    def etcd(self) -> Program:
        """The database. Durability is given up for speed: a test cluster does not outlive its machine."""
        client, peer = f"http://{LOOPBACK}:{self.ports.etcd}", f"http://{LOOPBACK}:{self.ports.etcd_peer}"
        return Program(
            "etcd",
            (
                str(self.tools["etcd"]), "--name", "easel", "--data-dir", str(self.state.data / "etcd"), "--unsafe-no-fsync",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"easel={peer}", "--log-level", "warn",
            ),
            lambda: answers(f"{client}/health"),
            ports=((LOOPBACK, self.ports.etcd), (LOOPBACK, self.ports.etcd_peer)),
            tied=self.tied,
        )  # fmt: skip

    def api_server(self) -> Program:
        """kube-apiserver with RBAC, the Node authoriser and its usual admission plugins."""
        authority = self.authority()
        admin = authority.client("admin", "easel-admin", "system:masters")
        context = tls_context(authority.certificate, admin)
        return Program(
            "kube-apiserver",
            (str(self.tools["kube-apiserver"]), *self._api_server_flags(authority)),
            lambda: answers(f"{self.url}/readyz", context),
            deadline=120.0,
            ports=((self.address, self.ports.api),),
            tied=self.tied,
        )

    def controllers(self, which: str = "*") -> Program:
        """kube-controller-manager; `which` as its `--controllers`."""
        authority = self.authority()
        config = str(self.kubeconfig("kube-controller-manager", "system:kube-controller-manager"))
        serving = authority.server("kube-controller-manager-serving", "kube-controller-manager", [LOOPBACK])
        flags = (
            "--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
            "--use-service-account-credentials", "--leader-elect=false", "--controllers", which,
            "--bind-address", LOOPBACK, "--secure-port", str(self.ports.controllers),
            "--tls-cert-file", str(serving.certificate), "--tls-private-key-file", str(serving.key),
            "--root-ca-file", str(authority.certificate),
            "--service-account-private-key-file", str(signing_key(self.state.pki, "service-account").key),
            "--cluster-signing-cert-file", str(authority.certificate), "--cluster-signing-key-file", str(authority.pair.key),
            "--allocate-node-cidrs", "--cluster-cidr", POD_CIDR, "--node-cidr-mask-size", "24",
            "--service-cluster-ip-range", SERVICE_CIDR,
            # A node of one machine is back within seconds or not at all.
            "--node-monitor-grace-period", "20s",
        )  # fmt: skip
        return self._watched("kube-controller-manager", flags, self.ports.controllers)

    def scheduler(self) -> Program:
        """kube-scheduler with its defaults."""
        config = str(self.kubeconfig("kube-scheduler", "system:kube-scheduler"))
        serving = self.authority().server("kube-scheduler-serving", "kube-scheduler", [LOOPBACK])
        flags = (
            "--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
            "--leader-elect=false", "--bind-address", LOOPBACK, "--secure-port", str(self.ports.scheduler),
            "--tls-cert-file", str(serving.certificate), "--tls-private-key-file", str(serving.key),
        )  # fmt: skip
        return self._watched("kube-scheduler", flags, self.ports.scheduler)

    def _watched(self, name: str, flags: tuple[str, ...], port: int) -> Program:
        context = tls_context(self.authority().certificate)
        return Program(
            name,
            (str(self.tools[name]), *flags),
            lambda: answers(f"https://{LOOPBACK}:{port}/healthz", context),
            ports=((LOOPBACK, port),),
            tied=self.tied,
        )

    def _api_server_flags(self, authority: Authority) -> tuple[str, ...]:
        names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ]
        serving = authority.server("kube-apiserver", "kube-apiserver", [*names, FIRST_SERVICE, LOOPBACK, self.address])
        kubelet = authority.client("kube-apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters")
        accounts = signing_key(self.state.pki, "service-account")
        # A loopback address may not be the endpoint of a Service, and without pods nobody asks for it.
        endpoints = ("--endpoint-reconciler-type", "none") if self.address == LOOPBACK else ()
        return (
            "--etcd-servers", f"http://{LOOPBACK}:{self.ports.etcd}",
            "--bind-address", self.address, "--advertise-address", self.address, "--secure-port", str(self.ports.api),
            *endpoints,
            "--cert-dir", str(self.state.pki), "--tls-cert-file", str(serving.certificate), "--tls-private-key-file", str(serving.key),
            "--client-ca-file", str(authority.certificate),
            "--kubelet-client-certificate", str(kubelet.certificate), "--kubelet-client-key", str(kubelet.key),
            "--kubelet-certificate-authority", str(authority.certificate),
            "--kubelet-preferred-address-types", "InternalIP",
            "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--allow-privileged",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", str(accounts.certificate), "--service-account-signing-key-file", str(accounts.key),
            "--service-cluster-ip-range", SERVICE_CIDR, "--profiling=false",
            *self._aggregation_flags(),
        )  # fmt: skip

    def _aggregation_flags(self) -> tuple[str, ...]:
        # Extension API servers (metrics, external metrics) know the API server by a certificate of an authority of its own.
        front = Authority(self.state.pki, "front-proxy-ca")
        client = front.client("front-proxy-client", "front-proxy-client")
        return (
            "--requestheader-client-ca-file", str(front.certificate), "--requestheader-allowed-names", "front-proxy-client",
            "--requestheader-extra-headers-prefix", "X-Remote-Extra-", "--requestheader-group-headers", "X-Remote-Group",
            "--requestheader-username-headers", "X-Remote-User", "--enable-aggregator-routing",
            "--proxy-client-cert-file", str(client.certificate), "--proxy-client-key-file", str(client.key),
        )  # fmt: skip


def answers(
    url: str, context: ssl.SSLContext | None = None, *, good: Callable[[int], bool] = lambda code: code == 200
) -> bool:
    """Whether an address answers with a status that counts as good (200 unless told)."""
    # A proxy of the environment has no way to an address of this machine.
    handlers = [urllib.request.ProxyHandler({})] + ([urllib.request.HTTPSHandler(context=context)] if context else [])
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=3) as answer:
            return good(answer.status)
    except urllib.error.HTTPError as error:
        return good(error.code)
    except (OSError, ValueError):
        return False
