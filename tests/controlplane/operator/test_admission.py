"""Which job begins, on a real API server with the real Job controller."""

from __future__ import annotations

import contextlib
import functools
import json

import pytest
from easel_cluster import processes
from easel_cluster.apionly import ApiServer
from operating.place import Place
from operating.process import OperatorProcess, until
from operating.runtime import LOADED, RuntimePort

from conftest import Start, new_place

pytestmark = pytest.mark.apiserver

ONE_AT_A_TIME = {"admission": {"priorityClasses": {"urgent": 100}, "default": {"maxRunningJobs": 1}}}
TEAM = {"kueue.x-k8s.io/queue-name": "team"}


def begun(place: Place) -> set[str]:
    return {job["metadata"]["name"] for job in place.list("jobs")}


def finish(place: Place, name: str) -> None:
    pod = place.await_pod(f"easel.dev/generation-job={name}")
    place.run_pod(pod, "worker", ready=True)
    place.end_pod(pod, "worker", 0)
    place("wait", "--for=condition=Complete", f"gen/{name}", "--timeout=120s")


def serve(place: Place, operator: OperatorProcess) -> None:
    operator.ready().leads()
    place.model("studio")
    place.serve("studio")


def test_jobs_begin_in_order_of_class_and_age_under_one_leader_and_the_next(place: Place, start: Start) -> None:
    first = start(place, **ONE_AT_A_TIME)
    serve(place, first)
    place.job("working")
    until(lambda: begun(place) == {"working"}, "the first job")
    place.job("patient")
    held = place.await_condition("gen", "patient", "Ready", "False", "Queued")
    assert held["message"].startswith(
        "1 jobs of this namespace work, as many as the platform lets work at once (waits "
    )
    place.job("urgent", priorityClassName="urgent")
    place.await_condition("gen", "urgent", "Ready", "False", "Queued")

    first.gone()
    second = start(place, "second", **ONE_AT_A_TIME)
    second.ready().leads()
    finish(place, "working")
    until(lambda: begun(place) == {"working", "urgent"}, "the urgent job")
    finish(place, "urgent")
    until(lambda: "patient" in begun(place), "the job that waited longest")
    finish(place, "patient")


def measured(place: Place) -> object:
    """What a step takes, once the model's status says so."""
    return (place.get("mdep", "studio") or {})["status"].get("model", {}).get("steps")


def test_of_two_namespaces_the_one_that_used_less_goes_first(server: ApiServer, start: Start) -> None:
    """Though its job is the younger one."""
    greedy, modest = new_place(server), new_place(server)
    (port,) = processes.free_ports(1)
    start(
        greedy,
        namespaces=[greedy.namespace, modest.namespace],
        admission={"maxRunningJobs": 1},
        runtimeHttpPort=port,
    ).ready().leads()
    with contextlib.ExitStack() as stack:
        for number, place in enumerate((greedy, modest), start=20):
            place.model("studio")
            pod, address = place.await_pod("easel.dev/model-deployment=studio"), f"127.0.0.{number}"
            runtime = stack.enter_context(contextlib.closing(RuntimePort(address, port)))
            runtime.status, runtime.answer = 200, LOADED | {"step_seconds": {"128x128": 0.5}}
            place.run_pod(pod, "runtime", ready=True, address=address)
            until(functools.partial(measured, place), "measured")
        greedy.job("first")
        until(lambda: begun(greedy) == {"first"}, "the first job")
        greedy.job("second")
        held = greedy.await_condition("gen", "second", "Ready", "False", "Queued")
        assert held["message"].startswith("1 jobs work, as many as the platform lets work at once")
        modest.job("other")
        modest.await_condition("gen", "other", "Ready", "False", "Queued")
        finish(greedy, "first")
        until(lambda: begun(modest) == {"other"}, "the job of the namespace that used nothing")
        assert begun(greedy) == {"first"}
        finish(modest, "other")
        until(lambda: begun(greedy) == {"first", "second"}, "the older job")


def test_kueue_decides_about_a_job_of_its_queue(place: Place, start: Start) -> None:
    serve(place, start(place))
    body = {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": place.named("queued") | {"labels": TEAM},
        "spec": {
            "task": "text-to-image",
            "backends": [{"modelDeployment": "studio"}],
            "prompts": [{"text": "a red mug"}],
            "output": {"store": {"s3": {"bucket": "art", "endpoint": "http://s3.invalid"}}},
        },
    }
    place("apply", "-f", "-", stdin=json.dumps(body))
    place.await_condition("gen", "queued", "Reconciling", "True", "QueuedInKueue")
    job = place.get("job", "queued") or {}
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"].items() >= TEAM.items()
    assert place.pods("easel.dev/generation-job=queued") == []

    # Kueue admits it, and lets another go first later.
    place.patch("job", "queued", {"spec": {"suspend": False}})
    pod = place.await_pod("easel.dev/generation-job=queued")
    place.run_pod(pod, "worker", ready=True)
    place.await_condition("gen", "queued", "Ready", "False", "Generating")
    place.patch("job", "queued", {"spec": {"suspend": True}})
    place.await_condition("gen", "queued", "Ready", "False", "QueuedInKueue")

    # A person stops it: its batch Job is deleted, and a new one queues up when the person goes on.
    place.patch("gen", "queued", {"spec": {"suspend": True}})
    place.await_condition("gen", "queued", "Suspended", "True", "Suspended")
    until(lambda: place.get("job", "queued") is None, "the batch Job is gone")
    place.patch("gen", "queued", {"spec": {"suspend": False}})
    again = until(lambda: place.get("job", "queued"), "another batch Job")
    assert again["spec"]["suspend"] is True
    place.patch("job", "queued", {"spec": {"suspend": False}})
    finish(place, "queued")


def test_a_class_that_the_platform_does_not_offer_ends_the_job(place: Place, start: Start) -> None:
    serve(place, start(place, **ONE_AT_A_TIME))
    place.job("vain", priorityClassName="royal")
    failed = place.await_condition("gen", "vain", "Failed", "True", "InvalidInput")
    assert failed["message"] == "spec.priorityClassName: there is no class royal; the platform offers urgent"
