"""A small web service as the platform's policies want it, for the node's own tests."""

from __future__ import annotations

from easel_cluster import processes
from easel_cluster.cluster import Cluster
from easel_cluster.node import POD_IMAGE

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def deploy(cluster: Cluster, namespace: str, *, replicas: int = 2, gpus: int = 1) -> None:
    """A Deployment of web servers and a Service, in a namespace that admits restricted pods alone; returns when all are ready."""
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": POD_IMAGE,
        "args": ["serve", ":8080"],
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi", "nvidia.com/gpu": str(gpus)}},
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforced}}
    )
    cluster.kubectl.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": spec,
        },
        _service("web", namespace, {"ports": [{"port": 80, "targetPort": 8080}]}),
        _service("each", namespace, {"clusterIP": "None", "ports": [{"port": 8080}]}),
    )
    cluster.kubectl("rollout", "status", "deployment/web", f"--namespace={namespace}", "--timeout=90s")


def pods(cluster: Cluster, namespace: str) -> list[str]:
    """Names of the web servers."""
    names = "jsonpath={.items[*].metadata.name}"
    return sorted(cluster.kubectl("get", "pods", f"--namespace={namespace}", "-l", "app=web", "-o", names).split())


def run(cluster: Cluster, namespace: str, *arguments: str) -> str:
    """What the pods' program prints when it is run in one of them; tried until it succeeds, within a deadline."""
    pod = pods(cluster, namespace)[0]
    command = ("exec", pod, f"--namespace={namespace}", "--", "/pod", *arguments)
    # Readiness reaches kube-proxy and CoreDNS a moment after the API server.
    if not processes.wait_for(lambda: cluster.kubectl.run(*command).returncode == 0, 30):
        raise AssertionError(cluster.kubectl.run(*command).stderr)
    return cluster.kubectl(*command)


def _service(name: str, namespace: str, spec: dict[str, object]) -> dict[str, object]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": {"app": "web"}} | spec}
