"""The entry point of a worker pod: against a real API server, with the rights of its own service account."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from worker_pods import NAMESPACE, Pods

pytestmark = [pytest.mark.apiserver, pytest.mark.triton, pytest.mark.engine, pytest.mark.s3]


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
    assert (code, "it is gone" in log) == (2, True)
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
