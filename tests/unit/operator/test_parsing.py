"""From the API server's objects to values."""

from __future__ import annotations

from typing import Any

import pytest

from easel_api.tasks import Task
from easel_operator.core import parsing
from easel_operator.core.labels import MODEL_DEPLOYMENT, SELECTED_REASON
from easel_operator.core.observed import Problem
from easel_operator.core.pods import mount_trouble

KEY = {"name": "studio", "namespace": "art", "uid": "u", "generation": 2}


def test_a_spec_that_does_not_parse_names_the_field_and_not_its_value() -> None:
    raw = {"spec": {"prompts": [{"text": "a secret prompt", "colour": "red"}]}}
    problem = parsing.job_spec(raw, lambda _: ())
    assert isinstance(problem, Problem)
    assert "spec.prompts.0.colour" in problem.message
    assert "spec.task" in problem.message
    assert "secret prompt" not in problem.message


def test_the_workers_half_of_a_status_may_be_newer_than_the_operator() -> None:
    status = parsing.job_status({"status": {"phase": "Running", "progress": {"frobs": 3}, "novelty": 1}})
    assert status.phase == "Running"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, None),
        ({"waiting": {"reason": "ErrImagePull", "message": "429"}}, "ImagePullBackOff"),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "40s"}}, "ImagePullBackOff"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}}, "CreateContainerConfigError"),
        ({"waiting": {"reason": "CrashLoopBackOff", "message": "40s"}}, "CrashLoopBackOff"),
        ({"running": {}}, None),
    ],
)
def test_why_a_pod_waits(status: dict[str, Any], reason: str | None) -> None:
    last = {"terminated": {"exitCode": 139, "reason": "Error"}}
    container = {"name": "runtime", "image": "i", "state": status, "lastState": last}
    pod = parsing.pod_of({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}})
    assert (pod.trouble.reason if pod.trouble else None) == reason
    if reason == "CrashLoopBackOff":
        assert pod.trouble is not None
        assert pod.trouble.message == "the container ended with exit code 139"
    if pod.trouble:
        assert "40s" not in pod.trouble.message


def test_a_pod_that_no_node_takes_says_so() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    pod = parsing.pod_of({"metadata": {"name": "p"}, "status": {"conditions": [condition]}})
    assert pod.trouble is not None
    assert (pod.trouble.reason, pod.trouble.message) == ("Unschedulable", "0/1 nodes")


def test_who_makes_an_object_anew_is_known_by_its_labels_and_annotations() -> None:
    assert parsing.declared({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "art:easel.dev/x"}}})
    assert parsing.declared({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "art"}}})
    assert not parsing.declared({"metadata": {"labels": {"app.kubernetes.io/instance": "art"}}})


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], None),
        ([{"reason": "Scheduled", "message": "to a node"}], None),
        ([{"reason": "FailedMount", "message": 'volume "credentials" : secret "x" not found'}], "CredentialsMissing"),
        ([{"reason": "FailedMount", "message": 'volume "claim-0" : timed out'}], "FailedMount"),
    ],
)
def test_why_a_volume_is_not_mounted(events: list[dict[str, Any]], reason: str | None) -> None:
    found = mount_trouble(events)
    assert (found.reason if found else None) == reason


def candidate(status: dict[str, Any], **spec: Any) -> Any:
    source = {"model": {"source": "pvc://models/x", "family": "StableDiffusion"}} | spec
    return parsing.candidate_of("studio", {"metadata": KEY, "spec": source, "status": status})


def test_the_tasks_of_a_model_are_those_of_its_present_specification() -> None:
    assert candidate({"observedGeneration": 2, "tasks": ["inpaint"]}).tasks == {Task.INPAINT}
    # What was said of an older specification no longer counts.
    assert Task.TEXT_TO_IMAGE in candidate({"observedGeneration": 1, "tasks": ["inpaint"]}).tasks
    unknown = candidate({}, model={"source": "pvc://models/x"})
    assert unknown.tasks is None


def test_a_job_may_use_every_adapter_but_the_motion() -> None:
    kinds = {"map": "ControlNet", "ink": "LoRA", "motion": "Motion"}
    adapters = [{"name": name, "kind": kind, "source": "pvc://models/a"} for name, kind in kinds.items()]
    assert candidate({}, adapters=adapters).adapters == {"map", "ink"}
    assert candidate({}, replicas="many").adapters == set()


READY = {"type": "Ready", "status": "True", "reason": "Serving"}
LOADED = {"type": "ModelLoaded", "status": "True", "reason": "Loaded"}
SERVING = {"observedGeneration": 2, "conditions": [READY, LOADED], "replicas": {"desired": 1, "ready": 1}}


def test_a_model_is_ready_with_a_replica_of_its_present_specification_only() -> None:
    assert candidate(SERVING).ready
    assert not candidate(SERVING | {"replicas": {"desired": 0, "ready": 0}}).ready
    older = candidate(SERVING | {"observedGeneration": 1})
    assert (older.ready, older.reason) == (False, "")
    rolling = candidate(SERVING | {"conditions": [READY, LOADED | {"status": "False", "reason": "Loading"}]})
    assert (rolling.ready, rolling.reason) == (False, "Loading")
    assert not parsing.candidate_of("studio", None).found


@pytest.mark.parametrize("annotations", [{}, {MODEL_DEPLOYMENT: "x" * 64}, {SELECTED_REASON: "WarmReplica"}])
def test_annotations_that_name_no_backend_are_passed_over(annotations: dict[str, str]) -> None:
    assert parsing.batch_job_of({"metadata": {"annotations": annotations}}).backend is None


@pytest.mark.parametrize(("reason", "failed"), [("DeadlineExceeded", True), ("PodFailurePolicy", False)])
def test_a_job_whose_time_is_up_has_failed_while_its_pods_still_end(reason: str, failed: bool) -> None:
    """The worker asks what became of its job, and calls off what nobody will ask for."""
    target = {"type": "FailureTarget", "status": "True", "reason": reason, "lastTransitionTime": "2026-11-29T12:00:00Z"}
    found = parsing.batch_job_of({"metadata": {}, "status": {"conditions": [target], "active": 1}})
    assert (found.failure is not None, found.finished_at != "") == (failed, failed)
