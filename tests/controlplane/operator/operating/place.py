"""A namespace with Pod Security `restricted`, and the objects in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from easel_cluster.kubectl import Kubectl

from operating.process import until

Raw = dict[str, Any]


RESTRICTED: Raw = {
    "serviceAccountName": "easel-runtime",  # there from the start, unlike the namespace's default
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "image": "docker.io/easel/runtime:dev",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
"""Spec of a pod that a `Place` admits."""


@dataclass(frozen=True)
class Place:
    """One namespace."""

    kubectl: Kubectl
    namespace: str

    def make(self) -> Place:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        )
        for name in ("easel-worker", "easel-runtime", "easel-fetcher"):
            self.kubectl.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.named(name)})
        return self

    def named(self, name: str) -> Raw:
        return {"name": name, "namespace": self.namespace}

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self.kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def get(self, kind: str, name: str) -> Raw | None:
        found = self.kubectl("--namespace", self.namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def list(self, kind: str, selector: str = "") -> list[Raw]:
        chosen = ("-l", selector) if selector else ()
        return list(json.loads(self("get", kind, "-o", "json", *chosen))["items"])

    def model(self, name: str, **spec: Any) -> None:
        """Apply a ModelDeployment of the built-in model."""
        body = {"model": {"source": "builtin://miniature"}} | spec
        self.kubectl.apply(
            {"apiVersion": "easel.dev/v1alpha1", "kind": "ModelDeployment", "metadata": self.named(name), "spec": body}
        )

    def job(self, name: str, model: str = "studio", **spec: Any) -> None:
        """Apply a GenerationJob of two items."""
        body = {
            "task": "text-to-image",
            "backends": [{"modelDeployment": model}],
            "prompts": [{"text": "a red mug"}],
            "parameters": {"seeds": [1, 2]},
            "output": {"store": {"s3": {"bucket": "art", "endpoint": "http://s3.invalid"}}},
        } | spec
        self.kubectl.apply(
            {"apiVersion": "easel.dev/v1alpha1", "kind": "GenerationJob", "metadata": self.named(name), "spec": body}
        )

    def tell(self, kind: str, name: str, uid: str, reason: str, message: str) -> None:
        """Record an event about an object, as Kubernetes' own parts do."""
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": self.named(f"{name}.{reason.lower()}"),
            "involvedObject": {"kind": kind, "name": name, "namespace": self.namespace, "uid": uid},
            "reason": reason,
            "message": message,
            "type": "Warning",
            "source": {"component": "kubelet"},
        }
        self("create", "-f", "-", stdin=json.dumps(event))

    def patch(self, kind: str, name: str, body: Raw, *more: str) -> None:
        self("patch", kind, name, "--type=merge", "-p", json.dumps(body), *more)

    def patch_status(self, kind: str, name: str, status: Raw) -> None:
        self.patch(kind, name, {"status": status}, "--subresource=status")

    def condition(self, kind: str, name: str, wanted: str) -> Raw:
        conditions = ((self.get(kind, name) or {}).get("status") or {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == wanted), {})

    def await_condition(self, kind: str, name: str, wanted: str, status: str, reason: str) -> Raw:
        def holds() -> Raw | None:
            found = self.condition(kind, name, wanted)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        def now() -> str:
            return json.dumps((self.get(kind, name) or {}).get("status"), indent=1)

        try:
            return dict(until(holds, f"{kind}/{name} {wanted}={status} {reason}"))
        except AssertionError as error:
            raise AssertionError(f"{error}; status is {now()}") from None

    def pods(self, selector: str) -> list[Raw]:
        return [pod for pod in self.list("pods", selector) if "deletionTimestamp" not in pod["metadata"]]

    def await_pod(self, selector: str) -> str:
        return str(until(lambda: self.pods(selector), f"a pod with {selector}")[0]["metadata"]["name"])

    def serve(self, model: str, address: str = "127.0.0.9") -> str:
        """Say of a model's pod, as kubelet would, that it serves."""
        name = self.await_pod(f"easel.dev/model-deployment={model}")
        self.run_pod(name, "runtime", ready=True, address=address)
        self.await_condition("mdep", model, "Ready", "True", "Serving")
        return name

    def run_pod(self, name: str, container: str, *, ready: bool, address: str = "127.0.0.9") -> None:
        self.patch_status("pod", name, running(container, ready=ready, address=address))

    def end_pod(self, name: str, container: str, code: int, message: str = "") -> None:
        """Say of a pod, as kubelet would, that its container ended."""
        self.patch_status("pod", name, ended(container, code, message))


def running(container: str, *, ready: bool, address: str) -> Raw:
    """Status of a pod whose one container runs."""
    true = "True" if ready else "False"
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": true},
            {"type": "ContainersReady", "status": true},
        ],
        "containerStatuses": [_container(container, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=ready)],
    }


def waiting(container: str, reason: str, message: str) -> Raw:
    """Status of a pod whose one container does not start."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [_container(container, state, ready=False)]}


def ended(container: str, code: int, message: str) -> Raw:
    """Status of a pod whose one container ended."""
    moment = "2026-01-01T00:00:09Z"
    end = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
    state = {"terminated": end | {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": moment}}
    return {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [{"type": "Ready", "status": "False", "reason": "PodCompleted"}],
        "containerStatuses": [_container(container, state, ready=False)],
    }


def _container(name: str, state: Raw, *, ready: bool) -> Raw:
    return {
        "name": name,
        "image": "image",
        "imageID": "",
        "restartCount": 0,
        "ready": ready,
        "started": "running" in state,
        "state": state,
    }
