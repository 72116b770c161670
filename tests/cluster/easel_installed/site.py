"""A cluster with Easel installed in it, and what a person does there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from easel_cluster.kubectl import Kubectl

from easel_installed import manifests
from easel_installed.bucket import Bucket
from easel_installed.chart import Helm
from easel_installed.waiting import until

Manifest = dict[str, Any]

SYSTEM = "easel-system"
STORE_SERVICE = "s3"
OPERATOR = {"app.kubernetes.io/name": "easel-operator"}
RUNTIME = {"app.kubernetes.io/name": "easel-runtime"}
WORKER = {"app.kubernetes.io/name": "easel-worker"}
OWNER_LABELS = {"job": "easel.dev/generation-job", "model": "easel.dev/model-deployment"}


@dataclass(frozen=True)
class Site:
    """One namespace of a cluster in which Easel works."""

    kubectl: Kubectl
    helm: Helm
    bucket: Bucket
    namespace: str
    images: Manifest

    def install(self, **values: Any) -> None:
        """Namespaces, chart, bucket and Secret; what is there already is brought up to date."""
        self.kubectl.apply(manifests.namespace(SYSTEM), manifests.namespace(self.namespace))
        self.helm.install(SYSTEM, self.images | {"namespaces": [self.namespace]} | values)
        self.bucket.make()
        self.apply(self.bucket.secret(manifests.SECRET), *store_service(self.bucket))
        self.kubectl("rollout", "status", "deployment/easel-operator", "-n", SYSTEM, "--timeout=120s", timeout=150)

    def clear(self) -> None:
        """Nothing of Easel's is left in the namespace, nor in the bucket."""
        kinds = "generationjobs.easel.dev,modeldeployments.easel.dev"
        self.kubectl("delete", kinds, "--all", "-n", self.namespace, "--timeout=90s")
        self.bucket.empty("")
        until("the pods to be gone", lambda: not self.all_pods(RUNTIME) + self.all_pods(WORKER), seconds=90)

    def apply(self, *objects: Manifest) -> None:
        """`kubectl apply` in the site's namespace."""
        self.kubectl.apply(*(made | {"metadata": made["metadata"] | {"namespace": self.namespace}} for made in objects))

    def get(self, kind: str, name: str) -> Manifest:
        """An object as it is now; empty when it is not there."""
        done = self.kubectl.run("get", kind, name, "-n", self.namespace, "-o", "json")
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def job(self, name: str) -> Manifest:
        """A GenerationJob as it is now."""
        return self.get("generationjobs.easel.dev", name)

    def wait(self, kind: str, name: str, condition: str, *, seconds: float) -> None:
        """`kubectl wait --for=condition=…`."""
        what = f"{kind}/{name}"
        limit = f"--timeout={seconds:.0f}s"
        self.kubectl("wait", f"--for=condition={condition}", what, "-n", self.namespace, limit, timeout=seconds + 20)

    def wait_for_model(self, name: str, *, seconds: float = 240) -> None:
        """Until the model serves."""
        self.wait("modeldeployments.easel.dev", name, "Ready", seconds=seconds)

    def wait_for_end(self, name: str, *, seconds: float) -> Manifest:
        """Until the job is complete or failed, whichever it is; the job."""

        def ended() -> Manifest | None:
            found = self.job(name)
            return found if condition(found, "Complete") == "True" or condition(found, "Failed") == "True" else None

        return until(f"the end of {name}", ended, seconds=seconds) or {}

    def patch(self, name: str, **spec: Any) -> None:
        """Change a job's spec."""
        change = json.dumps({"spec": spec})
        self.kubectl("patch", "generationjobs.easel.dev", name, "-n", self.namespace, "--type=merge", "-p", change)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        self.kubectl("delete", kind, name, "-n", self.namespace, "--ignore-not-found", "--timeout=90s")

    def all_pods(self, labels: dict[str, str], *, namespace: str = "", **owner: str) -> list[Manifest]:
        """Pods by their labels; `job=` and `model=` select those of one owner."""
        wanted = labels | {OWNER_LABELS[key]: value for key, value in owner.items()}
        selector = ",".join(f"{key}={value}" for key, value in wanted.items())
        text = self.kubectl("get", "pods", "-n", namespace or self.namespace, "-l", selector, "-o", "json")
        return list(json.loads(text)["items"])

    def pods(self, labels: dict[str, str], *, namespace: str = "", **owner: str) -> list[Manifest]:
        """The same without those that have ended or are about to."""
        return [
            pod
            for pod in self.all_pods(labels, namespace=namespace, **owner)
            if pod["status"].get("phase") not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]
        ]

    def folder(self, name: str, prefix: str = "") -> str:
        """Where a job's objects lie in the bucket."""
        return f"{prefix}{name}/"

    @property
    def store(self) -> Manifest:
        """The bucket as a job names it."""
        return manifests.store(self.bucket.name, self.bucket.endpoint)

    def in_its_bucket(self, made: Manifest) -> Manifest:
        """An example with the site's own bucket where it names one."""
        found = made.get("spec", {}).get("output", {}).get("store", {}).get("s3")
        if found:
            found |= {"bucket": self.bucket.name, "endpoint": self.bucket.endpoint}
        return made

    def diagnosis(self) -> str:
        """What a person would look at when something went wrong."""
        looks = [
            ("get", "events", "-n", self.namespace, "--sort-by=.lastTimestamp"),
            ("get", "pods,jobs,deployments,modeldeployments.easel.dev,generationjobs.easel.dev", "-A", "-o", "wide"),
            ("describe", "modeldeployments.easel.dev,generationjobs.easel.dev", "-n", self.namespace),
            ("describe", "pods", "-n", self.namespace),
            ("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=easel-operator", "--tail=60"),
            ("logs", "-n", self.namespace, "-l", "app.kubernetes.io/name=easel-runtime", "--tail=40", "--prefix"),
            ("logs", "-n", self.namespace, "-l", "app.kubernetes.io/name=easel-worker", "--tail=40", "--prefix"),
            ("logs", "-n", self.namespace, "-l", "app.kubernetes.io/name=easel-fetcher", "--tail=40", "--prefix"),
            ("logs", "-n", self.namespace, "-l", "app.kubernetes.io/name=easel-runtime", "--tail=40", "--previous"),
            ("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=easel-operator", "--tail=40", "--previous"),
        ]
        said = []
        for look in looks:
            done = self.kubectl.run(*look)
            said.append(f"$ kubectl {' '.join(look)}\n{(done.stdout + done.stderr)[-8000:]}")
        return "\n".join(said)


def condition(found: Manifest, wanted: str, part: str = "status") -> str:
    """Status (or reason, or message) of an object's condition; empty when there is none."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((str(one.get(part, "")) for one in conditions if one["type"] == wanted), "")


def store_service(bucket: Bucket) -> tuple[Manifest, ...]:
    """A Service that leads to the S3 server outside the cluster, where pods know that by a Service's name."""
    address = urlsplit(bucket.server.endpoint)
    if urlsplit(bucket.endpoint).hostname != STORE_SERVICE:
        return ()
    port = {"name": "http", "port": address.port}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": STORE_SERVICE}, "spec": {"ports": [port]}}
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": STORE_SERVICE, "labels": {"kubernetes.io/service-name": STORE_SERVICE}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.hostname], "conditions": {"ready": True}}],
        "ports": [port],
    }
    return service, slice_
