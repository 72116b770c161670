"""A ModelDeployment on a real API server with the real controllers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from easel_cluster import processes
from operating.place import Place, waiting
from operating.process import until
from operating.runtime import LOADED, RuntimePort, report

from easel_api.tasks import tasks_of

pytestmark = pytest.mark.apiserver

CHILDREN = ("deployment", "service", "pdb", "networkpolicy")


def test_a_model_gets_its_children_and_serves(working: Place) -> None:
    working.model("studio")
    working.await_condition("mdep", "studio", "Reconciling", "True", "Progressing")
    working.serve("studio")
    for kind in CHILDREN:
        assert working.get(kind, "studio") is not None, kind
    status = (working.get("mdep", "studio") or {})["status"]
    assert status["observedGeneration"] == 1
    assert status["replicas"] == {"desired": 1, "ready": 1}
    assert status["endpoint"] == f"studio.{working.namespace}.svc:8001"
    assert status["tasks"] == sorted(tasks_of("StableDiffusion"))
    assert {item["type"] for item in status["conditions"]} == {"Ready", "ModelLoaded"}
    events = working.list("events.events.k8s.io")
    assert any(event["regarding"]["name"] == "studio" and event["reason"] == "Serving" for event in events)


def test_replicas_scale_to_zero_and_back(working: Place) -> None:
    working.model("sleepy")
    working.serve("sleepy")
    working("scale", "mdep", "sleepy", "--replicas=0")
    working.await_condition("mdep", "sleepy", "Ready", "True", "ScaledToZero")
    until(lambda: not working.condition("mdep", "sleepy", "Reconciling"), "settled at zero")
    working("scale", "mdep", "sleepy", "--replicas=2")
    working.await_condition("mdep", "sleepy", "Ready", "False", "Progressing")
    deployment = working.get("deployment", "sleepy") or {}
    assert deployment["spec"]["replicas"] == 2


def test_a_changed_child_is_put_right(working: Place) -> None:
    working.model("drifting")
    working.await_condition("mdep", "drifting", "Reconciling", "True", "Progressing")
    working.patch("service", "drifting", {"spec": {"selector": {"app.kubernetes.io/name": "mine"}}})
    until(
        lambda: (
            (working.get("service", "drifting") or {})["spec"]["selector"]["app.kubernetes.io/name"] == "easel-runtime"
        ),
        "the selector is back",
    )
    working("delete", "pdb", "drifting")
    until(lambda: working.get("pdb", "drifting"), "the budget is back")


def test_an_unknown_profile_stalls_and_names_the_known_ones(working: Place) -> None:
    working.model("lost", runtimeProfile="a100")
    stalled = working.await_condition("mdep", "lost", "Stalled", "True", "RuntimeProfileUnknown")
    assert "a100" in stalled["message"]
    assert "default" in stalled["message"]
    assert working.get("deployment", "lost") is None
    working.patch("mdep", "lost", {"spec": {"runtimeProfile": "default"}})
    working.await_condition("mdep", "lost", "Reconciling", "True", "Progressing")
    assert not working.condition("mdep", "lost", "Stalled")


def test_an_image_that_cannot_be_pulled_is_named(working: Place) -> None:
    working.model("unpulled")
    pod = working.await_pod("easel.dev/model-deployment=unpulled")
    working.patch_status("pod", pod, waiting("runtime", "ErrImagePull", "dial tcp: no such host"))
    found = working.await_condition("mdep", "unpulled", "Ready", "False", "ImagePullBackOff")
    assert "cannot be pulled" in found["message"]
    working.await_condition("mdep", "unpulled", "Reconciling", "True", "ImagePullBackOff")
    version = (working.get("mdep", "unpulled") or {})["metadata"]["resourceVersion"]
    # kubelet alternates between the two; nobody has to read it twice.
    working.patch_status("pod", pod, waiting("runtime", "ImagePullBackOff", "Back-off pulling image, 40s"))
    working.model("probe-of-quiet")
    working.await_condition("mdep", "probe-of-quiet", "Reconciling", "True", "Progressing")
    assert (working.get("mdep", "unpulled") or {})["metadata"]["resourceVersion"] == version


def test_a_child_of_somebody_else_is_left_alone(working: Place) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": working.named("taken"),
        "spec": {"selector": {"app": "theirs"}, "ports": [{"name": "grpc", "port": 8001, "targetPort": 1}]},
    }
    working("create", "-f", "-", stdin=json.dumps(theirs))
    working.model("taken")
    found = working.await_condition("mdep", "taken", "Reconciling", "True", "NameTaken")
    assert "belongs to somebody else" in found["message"]
    service = working.get("service", "taken") or {}
    assert service["spec"]["selector"] == {"app": "theirs"}
    assert "ownerReferences" not in service["metadata"]
    working("delete", "service", "taken")
    working.await_condition("mdep", "taken", "Reconciling", "True", "Progressing")


def test_a_deleted_model_takes_its_children_along(working: Place) -> None:
    working.model("going")
    working.await_pod("easel.dev/model-deployment=going")
    assert "finalizers" not in (working.get("mdep", "going") or {})["metadata"]
    working("delete", "mdep", "going")
    for kind in CHILDREN:
        until(lambda kind=kind: working.get(kind, "going") is None, f"{kind} is gone")


@pytest.fixture
def runtime() -> Iterator[RuntimePort]:
    port = RuntimePort("127.0.0.7", *processes.free_ports(1))
    yield port
    port.close()


MEMORY = {
    "memory_capacity": 4096 * 2**20,
    "weights_memory": 2048 * 2**20,
    "peak_memory": {"128x128": 64 * 2**20, "512x512": 1024 * 2**20},
}


def test_what_a_runtime_says_of_its_model_is_told(place: Place, start, runtime: RuntimePort) -> None:
    start(place, runtimeHttpPort=runtime.server.server_port).ready().leads()
    place.model("studio")
    pod = place.await_pod("easel.dev/model-deployment=studio")
    place.run_pod(pod, "runtime", ready=False, address="127.0.0.7")
    place.await_condition("mdep", "studio", "Ready", "False", "Loading")

    runtime.answer = report("UnsafeModel", "a pickle could run code")
    stalled = place.await_condition("mdep", "studio", "Stalled", "True", "UnsafeModel")
    assert stalled["message"] == "model.bin: a pickle could run code"
    place.await_condition("mdep", "studio", "ModelLoaded", "False", "UnsafeModel")
    assert (place.get("mdep", "studio") or {})["status"]["lastFailure"]["reason"] == "UnsafeModel"

    runtime.status, runtime.answer = 200, LOADED | MEMORY
    place.run_pod(pod, "runtime", ready=True, address="127.0.0.7")
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    status = until(
        lambda: (s := (place.get("mdep", "studio") or {})["status"]).get("model") and s, "the digest is told"
    )
    assert status["model"]["digest"] == LOADED["digest"]
    assert status["model"]["loadedSeconds"] == 4.1
    assert status["tasks"] == ["text-to-image"]
    assert "lastFailure" not in status
    assert {item["type"] for item in status["conditions"]} == {"Ready", "ModelLoaded"}

    place.job("poster", parameters={"width": 1024, "height": 1024})
    refused = place.await_condition("gen", "poster", "Failed", "True", "Unsupported")
    assert "beside the 2,048 MiB that ModelDeployment studio has in use, of 4,096 MiB" in refused["message"]
    assert place.get("job", "poster") is None
