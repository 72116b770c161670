"""The entry point of a worker pod: against a real API server, with the rights of its own service account."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = [pytest.mark.apiserver, pytest.mark.triton, pytest.mark.engine, pytest.mark.s3]

ROOT = Path(__file__).parents[2]
NAMESPACE = "worker-pod"
ACCOUNT = "easel-worker"
RIGHTS = [
    {"apiGroups": ["easel.dev"], "resources": ["generationjobs"], "verbs": ["get"]},
    {"apiGroups": ["easel.dev"], "resources": ["generationjobs/status"], "verbs": ["patch"]},
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
        manifest = {
            "apiVersion": "easel.dev/v1alpha1",
            "kind": "GenerationJob",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": fields,
        }
        self.kubectl.apply(manifest)
        return self.read(name)

    def read(self, name: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", "generationjob", name, "-n", NAMESPACE, "-o", "json"))

    def status(self, name: str) -> dict[str, Any]:
        return self.read(name).get("status", {})

    def start(self, job: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
        server = urlsplit(self.url)
        settings = {
            "EASEL_JOB_NAME": job["metadata"]["name"],
            "EASEL_JOB_NAMESPACE": NAMESPACE,
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


@pytest.fixture(scope="module")
def account(api_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a kubelet would mount as the service account."""
    kubectl, folder = api_server.kubectl, tmp_path_factory.mktemp("account")
    for crd in sorted((ROOT / "crds").glob("*.yaml")):
        kubectl("apply", "--server-side", "-f", str(crd))
    kubectl("wait", "--for=condition=Established", "crd/generationjobs.easel.dev", "--timeout=60s")
    kubectl.apply(*objects_of(NAMESPACE))
    (folder / "token").write_text(kubectl("create", "token", ACCOUNT, "-n", NAMESPACE))
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    data = config["clusters"][0]["cluster"]["certificate-authority-data"]
    (folder / "ca.crt").write_bytes(base64.b64decode(data))
    return folder


@pytest.fixture
def pods(api_server: Any, account: Path, serving: Any, bucket: Any, tmp_path: Path) -> Iterator[Pods]:
    (tmp_path / "account").symlink_to(account)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, value in bucket.environment.items():
        (credentials / name).write_text(value)
    made = Pods(api_server.kubectl, api_server.url, tmp_path, bucket, serving.endpoint)
    yield made
    made.kubectl("delete", "generationjobs", "--all", "-n", NAMESPACE, "--wait=false")


def test_a_job_is_worked_off_and_its_status_says_so(pods: Pods) -> None:
    job = pods.job("done")
    code, log = pods.run(job)
    assert code == 0, log
    status = pods.status("done")
    assert status["items"] == {"total": 3, "succeeded": 3, "failed": 0, "running": 0}
    assert (status["done"], status["progress"]["percent"]) == ("3/3", 100)
    assert status["manifest"] == f"s3://{pods.bucket.name}/done/manifest.json"
    assert [artifact["seed"] for artifact in status["artifacts"]] == [31, 32, 33]
    assert {artifact["uri"] for artifact in status["artifacts"]} == {
        f"s3://{pods.bucket.name}/{key}" for key in pods.bucket.objects() if key.endswith(".png")
    }
    shown = pods.kubectl("get", "gen", "done", "-n", NAMESPACE, "-o", "json", "--show-managed-fields")
    (entry,) = [
        entry for entry in json.loads(shown)["metadata"]["managedFields"] if entry.get("subresource") == "status"
    ]
    assert (entry["manager"], entry["operation"]) == ("easel-worker", "Apply")


def test_the_operators_part_of_the_status_stays(pods: Pods) -> None:
    job = pods.job("shared")
    operator_part = {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": "shared", "namespace": NAMESPACE},
        "status": {"phase": "Running", "backend": {"modelDeployment": "chosen-one", "selectedReason": "First"}},
    }
    pods.kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=easel-operator", "-f", "-",
        stdin=json.dumps(operator_part),
    )  # fmt: skip
    assert pods.run(job)[0] == 0
    status = pods.status("shared")
    assert (status["phase"], status["done"]) == ("Running", "3/3")
    manifest = json.loads(pods.bucket.bytes_of("shared/manifest.json"))
    assert {item["backend"] for item in manifest["items"]} == {"chosen-one"}


def test_sigterm_stops_a_worker_in_order_and_the_next_one_ends_the_job(
    pods: Pods, serving: Any, eventually: Callable[..., None]
) -> None:
    job = pods.job("moved", parameters={"steps": 60, "seeds": [41, 42]})
    before = serving.generations()
    worker = pods.start(job)
    eventually(lambda: serving.running() == 2, "both items generate")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 143
    eventually(lambda: serving.running() == 0, "the engine was told to stop")
    assert pods.status("moved")["items"] == {"total": 2, "succeeded": 0, "failed": 0, "running": 0}
    assert pods.run(job)[0] == 0
    assert serving.generations() - before == 2


def test_a_missing_bucket_is_told_everywhere_and_nothing_is_generated(pods: Pods, serving: Any) -> None:
    store = {"s3": {"bucket": "no-such-bucket", "endpoint": pods.bucket.endpoint}}
    job, before = pods.job("nowhere", output={"store": store}), serving.generations()
    code, log = pods.run(job)
    assert code == 2
    failure = pods.status("nowhere")["lastFailure"]
    assert (failure["reason"], failure["retryable"]) == ("NotFound", False)
    for text in (failure["message"], pods.last_words, log):
        assert "spec.output.store.s3.bucket: the bucket does not exist" in text
        assert "no-such-bucket" in text
    assert pods.last_words.startswith("NotFound: ")
    assert serving.generations() == before


def test_wrong_credentials_are_the_environments_fault_and_not_shown(pods: Pods) -> None:
    (pods.folder / "credentials/AWS_SECRET_ACCESS_KEY").write_text("wrong-secret-123456")
    code, log = pods.run(pods.job("refused"))
    assert code == 3
    failure = pods.status("refused")["lastFailure"]
    assert failure["reason"] == "AuthConfig"
    for text in (failure["message"], pods.last_words, log):
        assert "wrong-secret" not in text
        assert pods.bucket.access_key not in text


def test_an_input_that_is_a_text_is_told_before_anything_is_generated(pods: Pods, serving: Any) -> None:
    pods.bucket.client.put_object(Bucket=pods.bucket.name, Key="in.png", Body=b"once upon a time")
    inputs, before = {"image": {"uri": f"s3://{pods.bucket.name}/in.png"}}, serving.generations()
    code, _ = pods.run(pods.job("texty", task="image-to-image", inputs=inputs))
    assert code == 2
    failure = pods.status("texty")["lastFailure"]
    assert failure["reason"] == "InvalidInput"
    assert "spec.inputs.image: not a picture (found: a text file of 16 bytes)" in failure["message"]
    assert serving.generations() == before


def test_a_job_that_is_gone_or_another_is_not_worked_on(pods: Pods) -> None:
    job = pods.job("gone")
    other = job | {"metadata": job["metadata"] | {"uid": "another"}}
    code, log = pods.run(other)
    assert (code, "deleted and made anew" in log) == (2, True)
    pods.kubectl("delete", "generationjob", "gone", "-n", NAMESPACE)
    code, log = pods.run(job)
    assert (code, "the job is gone" in log) == (2, True)
    assert pods.bucket.objects() == {}


def test_missing_rights_are_named(pods: Pods) -> None:
    job = pods.job("forbidden")
    code, log = pods.run(job, EASEL_JOB_NAMESPACE="default")
    assert code == 3
    assert "may not get this" in log
    assert "role easel-worker" in log


@pytest.mark.parametrize("missing", ["EASEL_ENDPOINT", "EASEL_JOB_NAME", "KUBERNETES_SERVICE_HOST"])
def test_a_missing_variable_is_named(pods: Pods, missing: str) -> None:
    code, log = pods.run(pods.job("unset"), **{missing: ""})
    assert code == 3
    assert missing in log
