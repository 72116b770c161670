"""The programs: which module folder pins each, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES_VERSION = "v1.36.3"


@dataclass(frozen=True)
class Tool:
    """One program: the module folder that pins it, its package, and how it is built."""

    name: str
    module: str
    package: str
    tags: str = ""
    ldflags: str = "-s -w"
    cgo: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Arguments of `go build`, the same on every machine."""
        # -buildvcs reads git, which has nothing to say about a dependency; -mod=readonly keeps go.sum as reviewed.
        flags = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", self.ldflags)
        return (*flags, "-tags", self.tags) if self.tags else flags


def _kubernetes(name: str) -> Tool:
    version = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    return Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", ldflags=version)


def _containerd(name: str) -> Tool:
    tags = "no_btrfs no_devmapper no_zfs no_aufs"
    return Tool(name, "node", f"github.com/containerd/containerd/v2/cmd/{name}", tags=tags)


def _plugin(name: str, kind: str) -> Tool:
    return Tool(name, "node", f"github.com/containernetworking/plugins/plugins/{kind}/{name}")


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        _kubernetes("kube-apiserver"),
        _kubernetes("kubectl"),
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        _containerd("containerd"),
        _containerd("containerd-shim-runc-v2"),
        _containerd("ctr"),
        # Without libseccomp runc starts no pod that asks for the RuntimeDefault profile.
        Tool("runc", "node", "github.com/opencontainers/runc", tags="seccomp", cgo=True),
        _plugin("ptp", "main"),
        _plugin("host-local", "ipam"),
        # What holds the node's namespaces and each pod's open, and what the pods of this package's tests run.
        Tool("pod", "pod", "easel.dev/tests/cluster/pod"),
        Tool("coredns", "dns", "github.com/coredns/coredns"),
        Tool("versitygw", "s3", "github.com/versity/versitygw/cmd/versitygw"),
        # Stores of other clouds than AWS.
        Tool("fake-gcs-server", "gcs", "github.com/fsouza/fake-gcs-server"),
        # What GitOps tools make of an object's status, by their own libraries.
        Tool("health", "health", "easel.dev/tests/cluster/health"),
        Tool("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator"),
        Tool("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter"),
        # Nodes and pods that only say that they run, for measurements of many.
        Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        # A proxy that stops in the middle of a stream, and a reader of manifests who knows what is unwise.
        Tool("toxiproxy", "faults", "github.com/Shopify/toxiproxy/v2/cmd/server"),
        Tool("kube-score", "lint", "github.com/zegl/kube-score/cmd/kube-score"),
        Tool("kubeconform", "lint", "github.com/yannh/kubeconform/cmd/kubeconform"),
        Tool("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
        Tool("buildkitd", "images", "github.com/moby/buildkit/cmd/buildkitd"),
        Tool("buildctl", "images", "github.com/moby/buildkit/cmd/buildctl"),
    )
}
"""Every program, the first ones first: an API server is what most tests wait for."""

API_TOOLS = ("kube-apiserver", "kubectl", "etcd")
CNI_PLUGINS = ("ptp", "host-local")
NODE_TOOLS = (
    *API_TOOLS,
    "kube-controller-manager",
    "kube-scheduler",
    "versitygw",
    "coredns",
    "pod",
    "runc",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    *CNI_PLUGINS,
    "kubelet",
    "kube-proxy",
)
IMAGE_TOOLS = ("buildkitd", "buildctl", "runc")
