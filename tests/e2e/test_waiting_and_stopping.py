"""Jobs that wait, stop, go on, and go: what they say meanwhile, and what they leave."""

from __future__ import annotations

import json

import pytest
from easel_installed import manifests
from easel_installed.site import WORKER, Manifest, Site, condition
from easel_installed.waiting import until

pytestmark = pytest.mark.cluster


def ready(site: Site, name: str) -> tuple[str, str]:
    """Reason and message of a job's Ready condition."""
    job = site.job(name)
    return condition(job, "Ready", "reason"), condition(job, "Ready", "message")


def finished_items(site: Site, name: str) -> int:
    return int(site.job(name).get("status", {}).get("items", {}).get("succeeded", 0))


def gone(site: Site, name: str) -> bool:
    """Whether neither the batch Job nor a pod of it is left."""
    selector = f"easel.dev/generation-job={name}"
    return not site.kubectl("get", "jobs.batch,pods", "-n", site.namespace, "-l", selector, "-o", "name").strip()


def test_a_job_without_its_model_says_so_and_runs_when_the_model_appears(site: Site) -> None:
    site.apply(manifests.job("early", "late-model", site.store, count=8, first_seed=4000))
    try:
        reason, message = until(
            "a reason", lambda: ready(site, "early") if all(ready(site, "early")) else None, seconds=15
        ) or ("", "")
        assert reason == "ModelNotFound"
        assert "late-model" in message
        assert not site.pods(WORKER, job="early")
        site.apply(manifests.model("late-model"))
        assert site.wait_for_end("early", seconds=240)["status"]["phase"] == "Complete"
        assert len(site.bucket.pictures(site.folder("early"))) == 8
    finally:
        site.delete("modeldeployments.easel.dev", "late-model")


def test_a_task_that_the_model_cannot_do_is_named(site: Site, model: str) -> None:
    site.apply(manifests.model("still-life", replicas=0))
    clip = {
        "task": "text-to-video",
        "prompts": [{"text": "a red mug in a studio, front view, sliding left"}],
        "matrix": {},
    }
    site.apply(
        manifests.job("clip", "still-life", site.store)
        | {"spec": manifests.job("clip", "still-life", site.store)["spec"] | clip}
    )
    try:
        seen = until(
            "the reason", lambda: ready(site, "clip") if "text-to-video" in ready(site, "clip")[1] else None, seconds=20
        )
        assert seen
        reason, message = seen
        assert reason == "TaskUnsupported"
        assert "still-life" in message
    finally:
        site.delete("generationjobs.easel.dev", "clip")
        site.delete("modeldeployments.easel.dev", "still-life")


def test_a_clip_is_made_where_the_model_has_a_motion_adapter(site: Site, model: str) -> None:
    spec = {
        "task": "text-to-video",
        "prompts": [{"text": "a red mug in a studio, front view, sliding left"}],
        "matrix": {},
        "parameters": {"steps": 4, "frames": 8, "fps": 8},
        "output": {"store": site.store, "format": "gif"},
    }
    made = manifests.job("moving", model, site.store)
    site.apply(made | {"spec": made["spec"] | spec})
    assert site.wait_for_end("moving", seconds=180)["status"]["phase"] == "Complete"
    ((key, data),) = site.bucket.pictures(site.folder("moving")).items()
    assert key.endswith(".gif")
    assert data.startswith(b"GIF8")


def test_a_suspended_job_stops_and_goes_on_where_it_was(site: Site, model: str) -> None:
    site.apply(manifests.job("paused", model, site.store, count=64, first_seed=5000))
    until("some items", lambda: finished_items(site, "paused") >= 8, seconds=120)
    site.patch("paused", suspend=True)
    # Also one that is told to stop: it still writes the manifest.
    until("no worker", lambda: not site.all_pods(WORKER, job="paused"), seconds=60)
    site.wait("generationjobs.easel.dev", "paused", "Suspended", seconds=30)
    kept = site.bucket.manifest(site.folder("paused"))["items"]
    done = {item["id"]: item for item in kept if item["state"] == "Succeeded"}
    assert 8 <= len(done) < 64
    assert site.job("paused")["status"]["phase"] == "Suspended"
    site.patch("paused", suspend=False)
    assert site.wait_for_end("paused", seconds=240)["status"]["phase"] == "Complete"
    after = {item["id"]: item for item in site.bucket.manifest(site.folder("paused"))["items"]}
    assert len(after) == 64
    assert {item_id: after[item_id] for item_id in done} == done


def test_a_cancelled_job_leaves_no_worker_and_keeps_what_was_finished(site: Site, model: str) -> None:
    site.apply(manifests.job("cancelled", model, site.store, count=64, first_seed=6000))
    until("some items", lambda: finished_items(site, "cancelled"), seconds=120)
    site.patch("cancelled", cancel=True)
    until("the end", lambda: site.job("cancelled")["status"].get("phase") == "Cancelled", seconds=60)
    # Also a worker that is told to stop: it still writes the manifest.
    until("no worker", lambda: gone(site, "cancelled"), seconds=90)
    finished = [
        item for item in site.bucket.manifest(site.folder("cancelled"))["items"] if item["state"] == "Succeeded"
    ]
    assert 1 <= len(finished) < 64
    assert {item["delivered"]["key"] for item in finished} <= set(site.bucket.keys(site.folder("cancelled")))


def test_a_deleted_job_leaves_nothing_in_the_cluster(site: Site, model: str) -> None:
    site.apply(manifests.job("deleted", model, site.store, count=64, first_seed=7000))
    until("its worker", lambda: site.pods(WORKER, job="deleted"), seconds=60)
    site.delete("generationjobs.easel.dev", "deleted")
    until("nothing to be left", lambda: gone(site, "deleted"), seconds=90)


def failing(site: Site, name: str, model: str, store: Manifest) -> tuple[Manifest, str]:
    """A job that fails, and what `kubectl describe` says of it."""
    site.apply(manifests.job(name, model, store, count=8, first_seed=8000))
    job = site.wait_for_end(name, seconds=120)
    return job, site.kubectl("describe", "generationjobs.easel.dev", name, "-n", site.namespace)


def test_a_bucket_that_does_not_exist_is_named(site: Site, model: str) -> None:
    store = manifests.store("no-such-bucket", site.bucket.endpoint)
    job, described = failing(site, "lost", model, store)
    assert job["status"]["phase"] == "Failed"
    assert condition(job, "Failed", "reason") == "NotFound"
    assert "no-such-bucket" in condition(job, "Failed", "message")
    assert job["status"]["lastFailure"]["reason"] == "NotFound"
    assert "Traceback" not in described
    assert "no-such-bucket" in described


def test_wrong_credentials_are_told_without_showing_them(site: Site, model: str) -> None:
    wrong = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "not-the-right-words"}
    site.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong-keys"}, "stringData": wrong})
    store = manifests.store(site.bucket.name, site.bucket.endpoint, "wrong-keys")
    job, described = failing(site, "locked-out", model, store)
    assert job["status"]["phase"] == "Failed"
    assert condition(job, "Failed", "reason") == "AuthConfig"
    assert job["status"]["lastFailure"]["message"]
    assert "Traceback" not in described
    assert "not-the-right-words" not in described


def test_a_missing_secret_is_named(site: Site, model: str) -> None:
    site.apply(
        manifests.job("keyless", model, manifests.store(site.bucket.name, site.bucket.endpoint, "no-such-secret"))
    )
    try:
        until("the Secret's name", lambda: "no-such-secret" in ready(site, "keyless")[1], seconds=60)
    finally:
        site.delete("generationjobs.easel.dev", "keyless")


def test_a_wrong_manifest_is_refused_with_the_fields_path(site: Site) -> None:
    wrong = manifests.job("wrong", "studio-mini", site.store, parameters={"steps": 100_000})
    done = site.kubectl.run("apply", "-n", site.namespace, "-f", "-", stdin=json.dumps(wrong))
    assert done.returncode != 0
    assert "spec.parameters.steps" in done.stderr
