"""The node: containerd, kubelet, kube-proxy and CoreDNS, and what each is told.

All run inside the node's namespaces. Pods are joined by the `ptp` plugin, one link for each pod with the node as its router:
on a bridge, answers of a Service would bypass the node's address translation unless the kernel filters bridges too.
NetworkPolicy is accepted by the API server but enforced by nobody here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from easel_cluster.controlplane import POD_CIDR, ControlPlane, answers
from easel_cluster.layout import cache_folder, write_changed
from easel_cluster.namespaces import NODE_ADDRESS, NODE_NAME
from easel_cluster.node_settings import CNI, CONTAINERD, COREFILE, DNS_HEALTH_PORT, KUBELET, SOCKET
from easel_cluster.pins import CNI_PLUGINS
from easel_cluster.pki import tls_context
from easel_cluster.processes import SYSTEM_PATH, Program

POD_IMAGE = "docker.io/easel/pod:dev"


@dataclass(frozen=True)
class Node:
    """The node's programs, written down for a control plane; `inside` is the namespaces' first process."""

    plane: ControlPlane
    inside: int

    def containerd(self) -> Program:
        """The container runtime. Its images outlive the cluster, in the cache."""
        file = self._write("containerd.toml", self._containerd_config())
        self._write("cni/10-easel.conflist", json.dumps(CNI))
        tools = self.plane.tools
        path = f"{tools['containerd-shim-runc-v2'].parent}:{tools['runc'].parent}:{SYSTEM_PATH}"
        # What the socket answers is asked through `ctr`: from outside the namespaces the socket has no path.
        healthy = f"/proc/{self.inside}/root{SOCKET}"
        return Program(
            "containerd",
            (str(tools["containerd"]), "--config", str(file)),
            lambda: Path(healthy).is_socket(),
            environment={"PATH": path},
            inside=self.inside,
        )

    def kubelet(self) -> Program:
        """The node agent, authenticated and authorised as in any cluster."""
        authority, plane = self.plane.authority(), self.plane
        config = self._write("kubelet.json", json.dumps(self._kubelet_config(), indent=1))
        kubeconfig = plane.kubeconfig("kubelet", f"system:node:{NODE_NAME}", "system:nodes")
        admin = authority.client("admin", "easel-admin", "system:masters")
        context = tls_context(authority.certificate, admin)
        return Program(
            "kubelet",
            (
                str(plane.tools["kubelet"]), "--config", str(config), "--kubeconfig", str(kubeconfig),
                "--root-dir", str(plane.state.data / "kubelet"), "--hostname-override", NODE_NAME, "--node-ip", NODE_ADDRESS,
            ),
            lambda: answers(f"https://{NODE_ADDRESS}:10250/healthz", context),
            inside=self.inside,
        )  # fmt: skip

    def proxy(self) -> Program:
        """kube-proxy with nftables."""
        kubeconfig = self.plane.kubeconfig("kube-proxy", "system:kube-proxy")
        config = self._write("kube-proxy.json", json.dumps(_proxy_config(kubeconfig), indent=1))
        return Program(
            "kube-proxy",
            (str(self.plane.tools["kube-proxy"]), "--config", str(config)),
            lambda: answers(f"http://{NODE_ADDRESS}:10256/healthz"),
            inside=self.inside,
        )

    def dns(self) -> Program:
        """CoreDNS on the node's own address; names outside the cluster do not exist, and are said not to at once."""
        kubeconfig = self.plane.kubeconfig("coredns", "easel:coredns")
        config = self._write("Corefile", COREFILE.format(kubeconfig=kubeconfig))
        return Program(
            "coredns",
            (str(self.plane.tools["coredns"]), "-conf", str(config)),
            lambda: answers(f"http://{NODE_ADDRESS}:{DNS_HEALTH_PORT}/ready"),
            inside=self.inside,
        )

    def _write(self, name: str, text: str) -> Path:
        return write_changed(self.plane.state.config / name, text)

    def _containerd_config(self) -> str:
        tools, config = self.plane.tools, self.plane.state.config
        return CONTAINERD.format(
            root=containerd_folder(),
            socket=SOCKET,
            pause=POD_IMAGE,
            runc=tools["runc"],
            plugins=json.dumps([str(tools[name].parent) for name in CNI_PLUGINS]),
            networks=config / "cni",
        )

    def _kubelet_config(self) -> dict[str, object]:
        authority, state = self.plane.authority(), self.plane.state
        serving = authority.server(
            "kubelet-serving", f"system:node:{NODE_NAME}", [NODE_NAME, NODE_ADDRESS], ["system:nodes"]
        )
        # Pods with `dnsPolicy: Default` get the node's own resolver, which is CoreDNS too.
        resolver = self._write("resolv.conf", f"nameserver {NODE_ADDRESS}\n")
        return KUBELET | {
            "address": NODE_ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.certificate)},
            },
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "resolvConf": str(resolver),
            "podLogsDir": str(state.data / "pod-logs"),
            "volumePluginDir": str(state.data / "volume-plugins"),
            "staticPodPath": "",
        }


def containerd_folder() -> Path:
    """Where images are kept between clusters: unpacking gigabytes anew at each `up` would cost minutes."""
    return cache_folder() / "containerd"


def client_command(ctr: Path) -> tuple[str, ...]:
    """The beginning of a command line for containerd's own client, among Kubernetes' images; to be run inside."""
    return (str(ctr), "--address", SOCKET, "--namespace", "k8s.io")


def dns_permissions() -> Sequence[object]:
    """What CoreDNS may read."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "easel:coredns"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "easel:coredns"}
    group = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "easel:coredns"}}
    return (
        group | {"kind": "ClusterRole", "rules": rules},
        group | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    )


def _proxy_config(kubeconfig: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE_NAME,
        "healthzBindAddress": f"{NODE_ADDRESS}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # The table of connections belongs to the whole machine: zero leaves its size and time-outs alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    }
