"""A GenerationJob on a real API server with the real Job controller and garbage collector."""

from __future__ import annotations

import json
from typing import Any

import pytest
from operating.place import Place
from operating.process import until

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def serving(working: Place) -> Place:
    """A namespace where the model `studio` serves."""
    working.model("studio")
    working.serve("studio")
    return working


def status_of(place: Place, name: str) -> dict[str, Any]:
    return (place.get("gen", name) or {}).get("status") or {}


def worker_of(place: Place, name: str) -> str:
    return place.await_pod(f"easel.dev/generation-job={name}")


def report(place: Place, name: str, **status: Any) -> None:
    """What the worker writes, as it writes it."""
    body = {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": place.named(name),
        "status": status,
    }
    place(
        *("apply", "--server-side", "--subresource=status", "--field-manager=easel-worker", "--force-conflicts"),
        *("-f", "-"),
        stdin=json.dumps(body),
    )


def test_a_job_waits_for_its_model_and_recovers(working: Place) -> None:
    working.job("early", model="later")
    found = working.await_condition("gen", "early", "Ready", "False", "ModelNotFound")
    assert "later" in found["message"]
    working.await_condition("gen", "early", "Reconciling", "True", "ModelNotFound")
    assert status_of(working, "early")["phase"] == "Pending"
    assert status_of(working, "early")["done"] == "0/2"
    assert working.get("job", "early") is None

    working.model("later")
    working.await_condition("gen", "early", "Ready", "False", "ModelNotReady")
    until(lambda: "since 20" in working.condition("gen", "early", "Ready")["message"], "since when")
    working.serve("later")
    job = until(lambda: working.get("job", "early"), "the batch Job")
    assert status_of(working, "early")["backend"] == {"modelDeployment": "later", "selectedReason": "WarmReplica"}
    environment = {item["name"]: item["value"] for item in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["EASEL_JOB_NAME"] == "early"
    assert environment["EASEL_JOB_UID"] == (working.get("gen", "early") or {})["metadata"]["uid"]
    assert environment["EASEL_ENDPOINT"] == f"later.{working.namespace}.svc:8001"


def test_a_job_completes_and_the_workers_report_stays(serving: Place) -> None:
    serving.job("good")
    pod = worker_of(serving, "good")
    serving.run_pod(pod, "worker", ready=True)
    serving.await_condition("gen", "good", "Ready", "False", "Generating")
    assert status_of(serving, "good")["phase"] == "Running"
    report(serving, "good", items={"total": 2, "succeeded": 2}, done="2/2", manifest="s3://art/good/manifest.json")
    serving.end_pod(pod, "worker", 0)
    serving("wait", "--for=condition=Complete", "gen/good", "--timeout=120s")
    serving.await_condition("gen", "good", "Ready", "True", "Complete")
    status = status_of(serving, "good")
    assert status["phase"] == "Complete"
    assert status["done"] == "2/2"
    assert status["manifest"] == "s3://art/good/manifest.json"
    assert {item["type"] for item in status["conditions"]} == {"Complete", "Ready"}
    assert status["startTime"] <= status["completionTime"]
    listed = serving("get", "gen", "good")
    assert "Complete" in listed
    assert "2/2" in listed


def test_a_worker_that_dies_is_started_again(serving: Place) -> None:
    serving.job("dying")
    first = worker_of(serving, "dying")
    serving.run_pod(first, "worker", ready=True)
    serving.await_condition("gen", "dying", "Ready", "False", "Generating")
    serving.end_pod(first, "worker", 137)
    second = until(
        lambda: [pod for pod in serving.pods("easel.dev/generation-job=dying") if pod["metadata"]["name"] != first],
        "a second worker",
    )[0]["metadata"]["name"]
    assert status_of(serving, "dying")["phase"] == "Running"
    serving.run_pod(second, "worker", ready=True)
    serving.end_pod(second, "worker", 0)
    serving("wait", "--for=condition=Complete", "gen/dying", "--timeout=120s")


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (2, "InvalidInput: spec.inputs.image: the file is no picture", "InvalidInput"),
        (3, "AuthConfig: bucket art: the credentials were refused", "AuthConfig"),
        (1, "", "BackendFault"),
    ],
)
def test_a_worker_that_gives_up_fails_the_job_in_its_words(serving: Place, code: int, said: str, reason: str) -> None:
    name = f"fails-{code}"
    serving.job(name)
    serving.end_pod(worker_of(serving, name), "worker", code, said)
    serving("wait", "--for=condition=Failed", f"gen/{name}", "--timeout=120s")
    failed = serving.await_condition("gen", name, "Failed", "True", reason)
    serving.await_condition("gen", name, "Stalled", "True", reason)
    serving.await_condition("gen", name, "Ready", "False", reason)
    assert said.partition(": ")[2] in failed["message"]
    assert status_of(serving, name)["lastFailure"]["reason"] == reason
    assert not serving.condition("gen", name, "Reconciling")


def test_the_workers_own_failure_is_the_reason(serving: Place) -> None:
    serving.job("told")
    pod = worker_of(serving, "told")
    failure = {"reason": "ContentBlocked", "message": "item 0 was refused", "item": "0"}
    report(serving, "told", items={"total": 2, "failed": 2}, done="0/2", lastFailure=failure)
    serving.end_pod(pod, "worker", 1, "ContentBlocked: item 0 was refused")
    failed = serving.await_condition("gen", "told", "Failed", "True", "ContentBlocked")
    assert failed["message"] == "item 0 was refused"
    assert status_of(serving, "told")["lastFailure"]["item"] == "0"


def test_a_job_is_suspended_and_resumed(serving: Place) -> None:
    serving.job("paused")
    worker_of(serving, "paused")
    serving.patch("gen", "paused", {"spec": {"suspend": True}})
    serving.await_condition("gen", "paused", "Suspended", "True", "Suspended")
    assert status_of(serving, "paused")["phase"] == "Suspended"
    assert (serving.get("job", "paused") or {})["spec"]["suspend"] is True
    until(lambda: not serving.pods("easel.dev/generation-job=paused"), "no worker")
    serving.patch("gen", "paused", {"spec": {"suspend": False}})
    worker_of(serving, "paused")
    until(lambda: not serving.condition("gen", "paused", "Suspended"), "no longer suspended")


def test_a_job_can_begin_suspended(serving: Place) -> None:
    serving.job("held", suspend=True)
    serving.await_condition("gen", "held", "Suspended", "True", "Suspended")
    assert serving.get("job", "held") is None
    serving.patch("gen", "held", {"spec": {"suspend": False}})
    worker_of(serving, "held")


def test_a_cancelled_job_stops_for_good(serving: Place) -> None:
    serving.job("stopped")
    worker_of(serving, "stopped")
    serving.patch("gen", "stopped", {"spec": {"cancel": True}})
    serving.await_condition("gen", "stopped", "Failed", "True", "Cancelled")
    assert status_of(serving, "stopped")["phase"] == "Cancelled"
    until(lambda: serving.get("job", "stopped") is None, "the batch Job is gone")
    until(lambda: not serving.pods("easel.dev/generation-job=stopped"), "no worker")
    # What is over stays over, and the new generation is seen.
    serving.patch("gen", "stopped", {"spec": {"suspend": True}})
    generation = (serving.get("gen", "stopped") or {})["metadata"]["generation"]
    until(lambda: status_of(serving, "stopped")["observedGeneration"] == generation, "the new generation is seen")
    assert status_of(serving, "stopped")["phase"] == "Cancelled"
    assert serving.get("job", "stopped") is None


def test_a_finished_job_is_deleted_after_its_ttl(serving: Place) -> None:
    serving.job("brief", ttlSecondsAfterFinished=1)
    serving.end_pod(worker_of(serving, "brief"), "worker", 0)
    serving("wait", "--for=delete", "gen/brief", "--timeout=120s")
    until(lambda: serving.get("job", "brief") is None, "the batch Job went with it")


def test_an_unsupported_task_waits_for_a_model_that_can(working: Place) -> None:
    working.model("still")
    working.serve("still")
    working.job("film", model="still", task="text-to-video")
    found = working.await_condition("gen", "film", "Ready", "False", "TaskUnsupported")
    assert "still does image-to-image, inpaint, interpolation, outpaint, text-to-image, upscale" in found["message"]
    motion = {"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}
    old = working.await_pod("easel.dev/model-deployment=still")
    working.patch("mdep", "still", {"spec": {"adapters": [motion]}})
    until(
        lambda: old not in [pod["metadata"]["name"] for pod in working.pods("easel.dev/model-deployment=still")],
        "rolled",
    )
    working.serve("still")
    worker_of(working, "film")


def test_the_first_backend_that_is_ready_is_chosen(serving: Place) -> None:
    serving.job("choosy", backends=[{"modelDeployment": "nobody"}, {"modelDeployment": "studio"}])
    until(lambda: status_of(serving, "choosy").get("backend"), "a backend")
    assert status_of(serving, "choosy")["backend"] == {
        "modelDeployment": "studio",
        "selectedReason": "PreferredNotFound",
    }


def test_a_job_waits_for_a_model_with_its_adapters(working: Place) -> None:
    working.model("plain")
    working.serve("plain")
    working.job("inked", model="plain", adapters=[{"name": "ink"}])
    found = working.await_condition("gen", "inked", "Ready", "False", "AdapterMissing")
    assert "plain lacks ink" in found["message"]
    lora = {"name": "ink", "kind": "LoRA", "source": "builtin://miniature/lora-ink"}
    working.patch("mdep", "plain", {"spec": {"adapters": [lora]}})
    working.await_condition("gen", "inked", "Ready", "False", "ModelNotReady")


def test_a_sleeping_model_is_named(working: Place) -> None:
    working.model("asleep", replicas=0)
    working.await_condition("mdep", "asleep", "Ready", "True", "ScaledToZero")
    working.job("night", model="asleep")
    working.await_condition("gen", "night", "Ready", "False", "ModelScaledToZero")


def test_a_spec_that_no_schema_refuses_fails_at_once(serving: Place) -> None:
    serving.job("typo", prompts=[{"text": "a {{color}} mug"}], matrix={"colour": ["red"]})
    failed = serving.await_condition("gen", "typo", "Failed", "True", "InvalidInput")
    assert "spec.prompts[0].text" in failed["message"]
    serving.await_condition("gen", "typo", "Stalled", "True", "InvalidInput")
    assert serving.get("job", "typo") is None


def test_a_secret_that_is_missing_is_named(serving: Place) -> None:
    s3 = {"bucket": "art", "credentialsSecretRef": {"name": "nowhere"}}
    serving.job("keyless", output={"store": {"s3": s3}})
    pod = worker_of(serving, "keyless")
    uid = (serving.get("pod", pod) or {})["metadata"]["uid"]
    message = 'MountVolume.SetUp failed for volume "credentials" : secret "nowhere" not found'
    serving.tell("Pod", pod, uid, "FailedMount", message)
    found = serving.await_condition("gen", "keyless", "Ready", "False", "CredentialsMissing")
    assert found["message"] == message
    serving.run_pod(pod, "worker", ready=True)
    serving.await_condition("gen", "keyless", "Ready", "False", "Generating")


def test_a_volume_of_a_model_that_cannot_be_mounted_is_told_while_that_is_so(place: Place, start) -> None:
    start(place).ready().leads()
    place.model("studio")
    pod = place.await_pod("easel.dev/model-deployment=studio")
    uid = (place.get("pod", pod) or {})["metadata"]["uid"]
    message = 'MountVolume.MountDevice failed for volume "models" : rpc error: DeadlineExceeded'
    place.tell("Pod", pod, uid, "FailedMount", message)
    assert place.await_condition("mdep", "studio", "Ready", "False", "FailedMount")["message"] == message
    place.run_pod(pod, "runtime", ready=False)
    place.await_condition("mdep", "studio", "Ready", "False", "Loading")


def test_a_service_account_that_is_missing_is_named(place: Place, start) -> None:
    start(place).ready().leads()
    for name in ("easel-worker", "easel-runtime"):
        place("delete", "serviceaccount", name)
    place.model("studio")
    found = place.await_condition("mdep", "studio", "Ready", "False", "FailedCreate")
    assert "easel-runtime" in found["message"]
    place("create", "serviceaccount", "easel-runtime")
    place.serve("studio")
    place.job("homeless")
    found = place.await_condition("gen", "homeless", "Ready", "False", "FailedCreate")
    assert "easel-worker" in found["message"]


def test_a_quota_that_is_used_up_is_told_and_waited_for(place: Place, start) -> None:
    start(place).ready().leads()
    place.model("studio")
    place.serve("studio")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": place.named("none")}
    place.kubectl.apply(quota | {"spec": {"hard": {"count/jobs.batch": "0"}}})
    until(lambda: "hard" in (place.get("quota", "none") or {}).get("status", {}), "the quota is in force")
    place.job("poor")
    found = place.await_condition("gen", "poor", "Ready", "False", "QuotaExhausted")
    assert "exceeded quota" in found["message"]
    place("delete", "quota", "none")
    worker_of(place, "poor")


def test_a_deleted_job_takes_its_worker_along(serving: Place) -> None:
    serving.job("gone")
    worker_of(serving, "gone")
    assert "finalizers" not in (serving.get("gen", "gone") or {})["metadata"]
    serving("delete", "gen", "gone")
    until(lambda: serving.get("job", "gone") is None, "the batch Job is gone")
    until(lambda: not serving.pods("easel.dev/generation-job=gone"), "no worker")


def test_a_job_made_anew_under_the_same_name_is_another_job(serving: Place) -> None:
    serving.job("again")
    first = (serving.get("job", "again") or until(lambda: serving.get("job", "again"), "a batch Job"))["metadata"][
        "uid"
    ]
    serving("delete", "gen", "again", "--cascade=orphan")
    serving.job("again")
    serving.await_condition("gen", "again", "Ready", "False", "NameTaken")
    serving("delete", "job", "again")
    second = until(lambda: serving.get("job", "again"), "a batch Job of its own")
    assert second["metadata"]["uid"] != first
