"""What the watches have seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from easel_operator.core import parsing
from easel_operator.core.resources import EVENTS, GENERATION_JOBS, JOBS, MODEL_DEPLOYMENTS, PODS, Key
from easel_operator.shell.cache import Cache


def raw(name: str, labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "art", "resourceVersion": "1", "labels": labels or {}, "managedFields": [1]}
    return {"metadata": metadata, **more}


def job(name: str, model: str, **status: Any) -> dict[str, Any]:
    return raw(name, spec={"backends": [{"modelDeployment": model}]}, status=status)


def test_managed_fields_are_not_kept() -> None:
    cache = Cache()
    cache.put(MODEL_DEPLOYMENTS, raw("studio"))
    found = cache.get(MODEL_DEPLOYMENTS, "art", "studio")
    assert found is not None
    assert "managedFields" not in found["metadata"]


OWNED = {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3, "generateName": "p-"} | {
    "ownerReferences": [{"kind": "Job", "name": "j", "uid": "o", "controller": True}]
}
MARKED = {
    "annotations": {"easel.dev/runtime": "abc", "controller.kubernetes.io/pod-deletion-cost": "7"},
    "finalizers": ["batch.kubernetes.io/job-tracking"],
}
ENDED = {"terminated": {"exitCode": 9, "reason": "Error", "message": "AuthConfig: no", "containerID": "c"}}
CONTAINERS = (
    {"ready": True, "restartCount": 2, "state": {"running": {"startedAt": "x"}}, "lastState": ENDED},
    {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ENDED, "restartCount": 4},
    {"state": {"waiting": {"reason": "ErrImagePull"}}},
    {"state": ENDED},
)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("scheduled", ["True", "False"])
def test_a_pod_in_the_cache_says_all_that_the_pod_says(container: dict[str, Any], scheduled: str) -> None:
    placed = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "0/1 nodes"}
    pod = raw("p", {"easel.dev/generation-job": "mugs"}, spec={"containers": [{}]})
    pod["metadata"] |= OWNED | MARKED | {"deletionTimestamp": "2026-01-01T00:00:09Z"}
    pod["status"] = {"phase": "Failed", "podIP": "10.0.0.9", "conditions": [placed]}
    pod["status"]["containerStatuses"] = [{"name": "worker", "image": "worker:1", **container}]
    cache = Cache()
    cache.put(PODS, pod)
    (kept,) = cache.pods(Key("GenerationJob", "art", "mugs"))
    assert parsing.pod_of(kept) == parsing.pod_of(pod)
    assert "spec" not in kept


def test_a_job_in_the_cache_says_all_that_the_job_says() -> None:
    ended = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": "t"}
    batch = raw("mugs", {"kueue.x-k8s.io/queue-name": "gpus"}, spec={"suspend": True, "template": {}})
    batch["metadata"] |= OWNED | {"annotations": {"easel.dev/model-deployment": "studio"}}
    batch["status"] = {"conditions": [ended], "active": 1, "ready": 1, "failed": 3}
    mugs = job("mugs", "studio", phase="Complete", items={"total": 2, "succeeded": 2}, outputs=[{"uri": "s3://a/b"}])
    mugs["metadata"] |= OWNED | {"annotations": {"meta.helm.sh/release-name": "art"}}
    cache = Cache()
    for resource, each in ((JOBS, batch), (GENERATION_JOBS, mugs)):
        cache.put(resource, each)
    kept_batch, kept = cache.raws(JOBS, "art")["mugs"], cache.raws(GENERATION_JOBS, "art")["mugs"]
    assert parsing.batch_job_of(kept_batch) == parsing.batch_job_of(batch)
    key = Key("GenerationJob", "art", "mugs")
    for read in (
        parsing.job_status,
        parsing.declared,
        parsing.queue_labels,
        lambda each: parsing.identity_of(key, each),
        lambda each: parsing.job_spec(each, lambda _: ()),
    ):
        assert read(kept) == read(mugs)
    assert "outputs" not in kept["status"]


def test_a_pod_is_found_by_its_owner_until_it_is_gone() -> None:
    cache, pod = Cache(), raw("p", {"easel.dev/generation-job": "mugs"})
    owner = Key("GenerationJob", "art", "mugs")
    cache.put(PODS, pod)
    assert [item["metadata"]["name"] for item in cache.pods(owner)] == ["p"]
    assert list(cache.affected(PODS, pod)) == [owner]
    cache.remove(PODS, pod)
    assert cache.pods(owner) == []


def told(name: str, when: str, message: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "p", "uid": "uid-p"}
    return raw(name, involvedObject=about, reason="FailedMount", lastTimestamp=when, message=message)


def test_events_are_found_by_what_they_are_about_until_they_are_gone() -> None:
    cache, later, earlier = (
        Cache(),
        told("b", "2026-01-01T00:00:09Z", "later"),
        told("a", "2026-01-01T00:00:01Z", "first"),
    )
    cache.put(EVENTS, later)
    assert list(cache.affected(EVENTS, later)) == [], "the pod was not seen yet"
    cache.put(PODS, raw("p", {"easel.dev/generation-job": "mugs"}))
    assert list(cache.affected(EVENTS, later)) == [Key("GenerationJob", "art", "mugs")]
    cache.put(EVENTS, earlier)
    assert [event["message"] for event in cache.events("uid-p")] == ["first", "later"]
    cache.remove(EVENTS, later)
    assert [event["message"] for event in cache.events("uid-p")] == ["first"]
    cache.remove(EVENTS, earlier)
    assert cache.events("uid-p") == []


def test_an_event_about_something_else_concerns_nobody() -> None:
    cache = Cache()
    event = raw("e", involvedObject={"kind": "Node", "name": "n"}, reason="FailedMount")
    cache.put(EVENTS, event)
    assert list(cache.affected(EVENTS, event)) == []


def test_a_models_change_concerns_the_jobs_that_name_it_and_are_not_over() -> None:
    cache = Cache()
    cache.put(GENERATION_JOBS, job("waits", "studio"))
    cache.put(GENERATION_JOBS, job("over", "studio", completionTime="then"))
    cache.put(GENERATION_JOBS, job("elsewhere", "other"))
    affected = set(cache.affected(MODEL_DEPLOYMENTS, raw("studio")))
    assert affected == {Key("ModelDeployment", "art", "studio"), Key("GenerationJob", "art", "waits")}


def test_jobs_are_counted_by_phase() -> None:
    cache = Cache()
    cache.put(GENERATION_JOBS, job("new", "studio"))
    cache.put(GENERATION_JOBS, job("done", "studio", phase="Complete"))
    assert cache.phases() == {"Pending": 1, "Complete": 1}


def since(when: str) -> dict[str, str]:
    return {"type": "Reconciling", "status": "True", "lastTransitionTime": when}


def test_the_longest_wait_is_of_the_oldest_job_that_has_not_begun() -> None:
    cache = Cache()
    assert cache.waiting_since() is None
    for hour, name, status in (
        (1, "done", {"phase": "Complete"}),
        (2, "suspended", {"phase": "Suspended"}),
        (3, "between-two-pods", {"phase": "Pending", "startTime": "2026-01-02T03:30:00Z"}),
        (4, "waits", {"phase": "Pending"}),
        (5, "new", {}),
        (0, "resumed", {"phase": "Pending", "conditions": [since("2026-01-02T04:30:00Z")]}),
    ):
        made = job(name, "studio", **status)
        made["metadata"]["creationTimestamp"] = f"2026-01-02T0{hour}:00:00Z"
        cache.put(GENERATION_JOBS, made)
    assert cache.waiting_since() == datetime(2026, 1, 2, 4, tzinfo=UTC)
