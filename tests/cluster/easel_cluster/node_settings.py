"""What the node's programs are told that does not change from one cluster to the next."""

from __future__ import annotations

from easel_cluster.controlplane import POD_CIDR
from easel_cluster.machine import CGROUP
from easel_cluster.namespaces import NODE_ADDRESS

SOCKET = "/run/containerd/containerd.sock"
DNS_HEALTH_PORT = 8053
DOMAIN = "cluster.local"

KUBELET: dict[str, object] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "clusterDNS": [NODE_ADDRESS],
    "clusterDomain": DOMAIN,
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "authorization": {"mode": "Webhook"},
    # The disk is the developer's: the node complains only when it is all but full, and never throws images away.
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    # Lowering a score needs a capability that containers and small machines lack.
    "oomScoreAdj": 0,
    # Tests wait on what these two tell the API server.
    "nodeStatusUpdateFrequency": "4s",
    "syncFrequency": "10s",
}

CNI = {
    "cniVersion": "1.0.0",
    "name": "easel",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}

CONTAINERD = """\
version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
  "io.containerd.image-verifier.v1.bindir",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
]

[grpc]
  address = "{socket}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE no sandbox would start: its score would be lower than our own.
  restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = {plugins}
  conf_dir = "{networks}"
  use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""

COREFILE = f"""\
{DOMAIN}:53 in-addr.arpa:53 {{{{
    bind {NODE_ADDRESS}
    errors
    ready {NODE_ADDRESS}:{DNS_HEALTH_PORT}
    kubernetes {DOMAIN} in-addr.arpa {{{{
        kubeconfig {{kubeconfig}}
        ttl 1
    }}}}
}}}}
.:53 {{{{
    bind {NODE_ADDRESS}
    errors
    template ANY ANY {{{{
        rcode NXDOMAIN
    }}}}
}}}}
"""
