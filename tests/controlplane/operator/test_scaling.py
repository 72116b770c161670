"""A model that is scaled by demand: the operator, a real API server with its controllers, and a real Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from easel_cluster import processes
from easel_cluster.apionly import ApiServer
from easel_cluster.prometheus import PrometheusProcess
from operating.clock import Clock
from operating.place import Place
from operating.process import OperatorProcess, until
from operating.rights import grant
from operating.runtime import LOADED, RuntimePort

from conftest import configuration, new_place

pytestmark = pytest.mark.apiserver

NO_WINDOW = {"scaleDown": {"stabilizationWindowSeconds": 0}}
DAY = timedelta(days=1)
SCALING = {"maxReplicas": 3, "idleSeconds": 1, "behavior": NO_WINDOW}
MEASURED = LOADED | {"step_seconds": {"128x128": 5.0}}
"""Two items of 20 steps are 200 GPU-seconds: four replicas for a minute, of which three are allowed."""


@dataclass
class Scene:
    """A namespace with an operator that asks a Prometheus, and runtimes on addresses of their own."""

    place: Place
    operator: OperatorProcess
    prometheus: PrometheusProcess
    runtimes: dict[str, RuntimePort] = field(default_factory=dict)

    def replicas(self, model: str) -> int:
        found = self.place.get("deployment", model)
        return int(found["spec"]["replicas"]) if found else -1

    def await_replicas(self, model: str, count: int) -> None:
        until(lambda: self.replicas(model) == count, f"{model} has {count} replicas", 90)

    def await_told(self, model: str, replicas: dict[str, int]) -> None:
        """Its status says so; a pod may be ready for a moment behind the number."""
        until(
            lambda: (self.place.get("mdep", model) or {})["status"]["replicas"] == replicas, f"{model} tells {replicas}"
        )

    def await_idle(self, model: str) -> None:
        """The operator has seen that all work ended; it may be a while after the job says so."""

        def since() -> Any:
            status: dict[str, Any] = (self.place.get("mdep", model) or {}).get("status", {})
            return status.get("scaling", {}).get("idleSince")

        until(since, f"{model} is idle")

    def await_polls(self, which: str) -> None:
        """Three more reconciles of models that change nothing."""
        settled = 'easel_operator_reconciles_total{kind="ModelDeployment",result="settled"}'
        before = self.operator.metric(settled) or 0.0
        until(lambda: (self.operator.metric(settled) or 0.0) >= before + 3, f"polls, {which}", 90)

    def serve_all(self, model: str, count: int) -> list[str]:
        """Say of so many pods, as kubelet would, that they serve; their names."""
        selector = f"easel.dev/model-deployment={model}"
        pods = until(lambda: self.place.pods(selector) if len(self.place.pods(selector)) == count else None, "pods")
        for pod in pods:
            name = pod["metadata"]["name"]
            if name not in self.runtimes:
                address = f"127.0.1.{len(self.runtimes) + 1}"
                runtime = RuntimePort(address, self.operator.configuration["runtimeHttpPort"])
                runtime.status, runtime.answer = 200, MEASURED
                self.runtimes[name] = runtime
                self.place.run_pod(name, "runtime", ready=True, address=address)
        return [pod["metadata"]["name"] for pod in pods]

    def measured(self, model: str) -> None:
        """Load the model once, and let it sleep."""
        self.serve_all(model, 1)
        self.place.await_condition("mdep", model, "Ready", "True", "Serving")
        self.await_replicas(model, 0)
        self.await_told(model, {"desired": 0, "ready": 0})
        self.place.await_condition("mdep", model, "Ready", "True", "ScaledToZero")


@pytest.fixture
def scene(server: ApiServer, prometheus_program: Path, tmp_path: Path) -> Iterator[Scene]:
    with staged(server, prometheus_program, tmp_path, {}) as made:
        yield made


@pytest.fixture
def clock(tmp_path: Path, progress: Callable[[str], None]) -> Clock:
    return Clock(tmp_path, progress)


@pytest.fixture
def jumping(server: ApiServer, prometheus_program: Path, tmp_path: Path, clock: Clock) -> Iterator[Scene]:
    """A scene whose operator has that clock."""
    with staged(server, prometheus_program, tmp_path, clock.environment) as made:
        yield made


@contextlib.contextmanager
def staged(server: ApiServer, prometheus_program: Path, tmp_path: Path, environment: dict[str, str]) -> Iterator[Scene]:
    place = new_place(server)
    http, port = processes.free_ports(2)
    settings = configuration(place, runtimeHttpPort=http, prometheusUrl=f"http://127.0.0.1:{port}")
    operator = OperatorProcess(settings, grant(place, server.kubeconfig, tmp_path), tmp_path, environment=environment)
    prometheus = PrometheusProcess(
        prometheus_program, tmp_path / "prometheus", port, [f"127.0.0.1:{settings['metricsPort']}"]
    )
    with contextlib.ExitStack() as stack:
        stack.callback(operator.gone)
        stack.callback(prometheus.stop)
        made = Scene(place, operator.start(), prometheus.start())
        operator.ready().leads()
        yield made
        for runtime in made.runtimes.values():
            runtime.close()
        told = [place.get("mdep", name) for name in ("studio", "auto", "manual")]
        print("models:", [model["status"] for model in told if model])
        print("metrics:", *[line for line in operator.metrics().splitlines() if line.startswith("easel_")], sep="\n")
        print("scraped:", prometheus.answers() and prometheus.query("up"))
        print("log:", operator.tail(), sep="\n")
        said = operator.log.read_text()
        assert "may not do this" not in said, said
        assert "a defect of the operator" not in said, said


def finish(place: Place, job: str) -> None:
    """Say of a job's worker, as kubelet would, that it is done."""
    place.end_pod(place.await_pod(f"easel.dev/generation-job={job}"), "worker", 0)
    place.await_condition("gen", job, "Complete", "True", "Complete")


def test_a_model_sleeps_wakes_grows_and_sleeps_again(scene: Scene) -> None:
    place = scene.place
    place.model("studio", scaling=SCALING)
    scene.measured("studio")
    status: Any = (place.get("mdep", "studio") or {})["status"]
    assert status["model"]["steps"] == [{"shape": "128x128", "seconds": 5.0}]

    place.job("mugs")
    scene.await_replicas("studio", 3)
    place.await_condition("mdep", "studio", "AutoscalingActive", "True", "DemandKnown")
    until(lambda: scene.operator.metric("easel_backlog_gpu_seconds{") == 200.0, "the backlog")
    assert place.condition("gen", "mugs", "Ready")["reason"] == "ModelNotReady"

    names = scene.serve_all("studio", 3)
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    busy = names[1]
    scene.runtimes[busy].load = {"running": 1, "waiting": 0}
    finish(place, "mugs")
    # The busy replica stays as long as it is busy, though nothing else tells it from the others.
    scene.await_replicas("studio", 1)
    until(lambda: [pod["metadata"]["name"] for pod in place.pods("easel.dev/model-deployment=studio")] == [busy], "one")
    scene.runtimes[busy].load = {"running": 0, "waiting": 0}
    scene.await_replicas("studio", 0)
    until(lambda: scene.operator.metric("easel_backlog_gpu_seconds{") == 0.0, "no backlog")


def test_a_job_wakes_its_model_while_prometheus_is_down(scene: Scene) -> None:
    place = scene.place
    place.model("studio", scaling=SCALING)
    scene.measured("studio")
    scene.prometheus.stop()
    place.job("mugs")
    scene.await_replicas("studio", 1)
    scene.serve_all("studio", 1)
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    until(lambda: place.condition("mdep", "studio", "AutoscalingActive").get("status") == "False", "blind", 120)
    told = place.condition("mdep", "studio", "AutoscalingActive")
    assert told["reason"] == "PrometheusUnreachable"
    assert scene.prometheus.url in told["message"]
    until(lambda: scene.operator.metric("easel_scaling_active{") == 0.0, "its gauge says so, too")
    finish(place, "mugs")
    scene.await_idle("studio")
    scene.await_polls("long after its idle time")
    assert scene.replicas("studio") == 1

    scene.prometheus.start()
    place.await_condition("mdep", "studio", "AutoscalingActive", "True", "NoWork")
    scene.await_replicas("studio", 0)


def test_a_restarted_operator_takes_no_replica_of_work_that_it_has_not_seen_yet(scene: Scene) -> None:
    place = scene.place
    place.model("studio", scaling=SCALING)
    scene.measured("studio")
    place.job("mugs")
    scene.await_replicas("studio", 3)
    scene.serve_all("studio", 3)
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    place.await_pod("easel.dev/generation-job=mugs")
    version = (place.get("deployment", "studio") or {})["metadata"]["generation"]
    scene.operator.stop()
    scene.operator.start().ready().leads()
    until(lambda: scene.operator.metric("easel_backlog_gpu_seconds{") == 200.0, "the backlog is known again")
    until(lambda: place.condition("mdep", "studio", "AutoscalingActive")["reason"] == "DemandKnown", "an answer")
    scene.await_polls("each with an answer")
    until(lambda: scene.operator.metric("easel_scaling_active{") == 1.0, "its gauge says so, too")
    assert (place.get("deployment", "studio") or {})["metadata"]["generation"] == version


def test_a_clock_that_jumps_takes_no_replica_that_works_and_leaves_none_awake(jumping: Scene, clock: Clock) -> None:
    place = jumping.place
    place.model("studio", scaling=SCALING | {"idleSeconds": 30})
    jumping.serve_all("studio", 1)
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    place.job("mugs")
    jumping.await_replicas("studio", 3)
    jumping.serve_all("studio", 3)
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
    for jump in (DAY, -DAY):
        clock.jump(jump)
        jumping.await_polls(f"after {jump}")
        assert jumping.replicas("studio") == 3, str(jump)
    clock.jump(DAY)
    finish(place, "mugs")
    jumping.await_idle("studio")
    clock.jump(timedelta())
    jumping.await_replicas("studio", 0)


def test_a_platforms_own_query_is_the_demand(scene: Scene) -> None:
    place = scene.place
    place.model("studio", scaling=SCALING | {"query": "vector(120)", "minReplicas": 1})
    # Two minutes of work, of which one replica does one in the time that is aimed at; no job says so.
    scene.await_replicas("studio", 2)
    scene.serve_all("studio", 2)
    place.await_condition("mdep", "studio", "AutoscalingActive", "True", "DemandKnown")


def test_two_models_of_which_the_first_that_can_come_is_woken(scene: Scene) -> None:
    place = scene.place
    place.model("manual", replicas=0)
    place.model("auto", scaling=SCALING)
    scene.measured("auto")
    place.await_condition("mdep", "manual", "Ready", "True", "ScaledToZero")
    place.job("mugs", backends=[{"modelDeployment": "manual"}, {"modelDeployment": "auto"}])
    until(lambda: scene.replicas("auto") >= 1, "it wakes")  # by one, which may be three before anybody looks
    assert scene.replicas("manual") == 0


def test_an_hpa_writes_the_number_and_what_it_lacks_is_told(scene: Scene) -> None:
    place = scene.place
    place.model("studio", replicas=2)
    scene.await_replicas("studio", 2)
    place.model("studio", scaling={"engine": "HPA", "minReplicas": 1, "maxReplicas": 3})
    until(lambda: place.get("hpa", "studio"), "the HorizontalPodAutoscaler")
    told = until(lambda: said_of_scaling(place, "False"), "no adapter serves the metric", 120)
    assert told["reason"] == "FailedGetExternalMetric"
    assert "easel_demand_gpu_seconds" in told["message"]
    # Nobody knows the demand, so the number that was there stays; and a person may change it.
    assert scene.replicas("studio") == 2
    place("scale", "deployment", "studio", "--replicas=3")
    until(
        lambda: ((place.get("mdep", "studio") or {}).get("status") or {}).get("replicas") == {"desired": 3, "ready": 0},
        "three are wanted",
    )
    assert scene.replicas("studio") == 3
    place.model("studio", scaling={"maxReplicas": 3})
    until(lambda: place.get("hpa", "studio") is None, "it is gone")
    assert scene.replicas("studio") == 3


def said_of_scaling(place: Place, status: str) -> dict[str, Any]:
    found = place.condition("mdep", "studio", "AutoscalingActive")
    return found if found.get("status") == status else {}


def test_without_keda_the_model_says_so_and_serves(scene: Scene) -> None:
    place = scene.place
    place.model("studio", scaling={"engine": "KEDA", "maxReplicas": 3})
    scene.serve_all("studio", 1)
    until(
        lambda: "scaledobjects" in place.condition("mdep", "studio", "Reconciling").get("message", ""),
        "what is missing",
    )
    place.await_condition("mdep", "studio", "Ready", "True", "Serving")
