"""What a kubelet would give a worker pod, on a real API server, with the rights of the worker's own service account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
NAMESPACE = "worker-pod"
ACCOUNT = "easel-worker"
RIGHTS = [
    {"apiGroups": ["easel.dev"], "resources": ["generationjobs", "providers"], "verbs": ["get"]},
    {"apiGroups": ["easel.dev"], "resources": ["generationjobs/status", "providers/status"], "verbs": ["patch"]},
]


def objects_of(namespace: str) -> list[dict[str, Any]]:
    """The namespace with the worker's account and exactly its rights."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": ACCOUNT, "namespace": namespace}
    role_reference = {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": RIGHTS},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": role_reference,
         "subjects": [subject]},
    ]  # fmt: skip


@dataclass
class Pods:
    """What a kubelet would give a worker pod."""

    kubectl: Any
    url: str
    folder: Path
    bucket: Any
    endpoint: str
    namespace: str = NAMESPACE

    def job(self, name: str, **spec: Any) -> dict[str, Any]:
        """A GenerationJob on the API server, writing to the bucket."""
        store = {"s3": {"bucket": self.bucket.name, "endpoint": self.bucket.endpoint}}
        fields = {
            "task": "text-to-image",
            "backends": [{"modelDeployment": "studio-mini"}],
            "prompts": [{"text": "a blue mug on grass, front view"}],
            "parameters": {"steps": 2, "seeds": [31, 32, 33]},
            "output": {"store": store},
        } | spec
        fields = {field: value for field, value in fields.items() if value is not None}
        manifest = {
            "apiVersion": "easel.dev/v1alpha1",
            "kind": "GenerationJob",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": fields,
        }
        self.kubectl.apply(manifest)
        return self.read(name)

    def read(self, name: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", "generationjob", name, "-n", self.namespace, "-o", "json"))

    def status(self, name: str) -> dict[str, Any]:
        return self.read(name).get("status", {})

    def start(self, job: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
        server = urlsplit(self.url)
        settings = {
            "EASEL_JOB_NAME": job["metadata"]["name"],
            "EASEL_JOB_NAMESPACE": self.namespace,
            "EASEL_JOB_UID": job["metadata"]["uid"],
            "EASEL_ENDPOINT": self.endpoint,
            "EASEL_SERVICE_ACCOUNT_DIR": str(self.folder / "account"),
            "EASEL_CREDENTIALS_DIR": str(self.folder / "credentials"),
            "EASEL_TERMINATION_LOG": str(self.folder / "termination-log"),
            "KUBERNETES_SERVICE_HOST": server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "easel_inference.jobs"],
            env={**os.environ, **settings, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, job: dict[str, Any], **environment: str) -> tuple[int, str]:
        """Exit code and log of a worker's whole life."""
        process = self.start(job, **environment)
        _, log = process.communicate(timeout=120)
        assert "Traceback" not in log
        return process.returncode, log

    @property
    def last_words(self) -> str:
        return (self.folder / "termination-log").read_text()
