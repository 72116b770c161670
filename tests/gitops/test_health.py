"""What GitOps tools make of every status that the operator writes, by the libraries that the tools themselves use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from easel_cluster import tools
from hypothesis import given, settings
from operator_effects import after, decide
from operator_strategies import VIEWS
from operator_views import (
    READY,
    batch,
    completed,
    environment,
    failed,
    job_spec,
    job_view,
    model_spec,
    model_view,
    running,
)

from easel_api.conditions import is_true
from easel_api.errors import EnvironmentFault, ErrorReport
from easel_operator.core.admission import Turn
from easel_operator.core.model.deployment import runtime_hash
from easel_operator.core.observed import DeploymentCounts, JobView, ModelView, NotLoaded, Problem

GITOPS = Path(__file__).parents[2] / "charts/easel/gitops"
ARGO = yaml.safe_load((GITOPS / "argocd-cm.yaml").read_text())["data"]
FLUX = {
    each["kind"]: each
    for each in yaml.safe_load((GITOPS / "flux-kustomization.yaml").read_text())["spec"]["healthCheckExprs"]
}

IN_PROGRESS = ("InProgress", "Progressing", "InProgress")
CURRENT = ("Current", "Healthy", "Current")
FAILED = ("Failed", "Degraded", "Failed")

Ask = Callable[[dict[str, Any]], dict[str, str]]


@pytest.fixture(scope="session")
def ask(progress: Callable[[str], None]) -> Iterator[Ask]:
    """Asks all three tools about an object."""
    try:
        program = tools.ensure(["health"], progress)["health"]
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build the tools' libraries: {fault}")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def said(about: dict[str, Any]) -> dict[str, str]:
            kind = about["kind"]
            expressions = {name: FLUX[kind][name] for name in ("current", "failed", "inProgress")}
            question = {
                "object": about,
                "lua": ARGO[f"resource.customizations.health.easel.dev_{kind}"],
                "flux": expressions,
            }
            print(json.dumps(question), file=process.stdin, flush=True)
            return dict(json.loads(process.stdout.readline()))

        yield said
        process.stdin.close()


def manifest(view: JobView | ModelView, **metadata: Any) -> dict[str, Any]:
    """The object as the API server returns it."""
    identity = view.identity
    status = view.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    named = {"name": identity.name, "namespace": identity.namespace, "generation": identity.generation}
    written = {"status": status} if view.status.conditions else {}
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": identity.key.kind,
        "metadata": named | metadata,
        "spec": {},
        **written,
    }


def reached(view: JobView | ModelView) -> JobView | ModelView:
    """The view with the status that the operator writes about it."""
    done = after(view, decide(view, environment()))
    assert done is not None
    return done


def serving(replicas: int, **counts: int) -> ModelView:
    """A model whose children are there, with so many replicas of its present template."""
    spec = model_spec(replicas=replicas)
    configuration = environment().configuration
    template = runtime_hash(model_view().identity, spec, configuration.runtime_profiles["default"], configuration)
    made = reached(model_view(spec))
    assert isinstance(made, ModelView)
    found = {"replicas": replicas, "updated": replicas, "ready": replicas} | counts
    pods = tuple(running(f"studio-{n}", runtime_hash=template) for n in range(found["updated"]))
    return replace(made, counts=DeploymentCounts(current=True, **found), pods=pods)


def unready(**changes: Any) -> ModelView:
    """A model with one replica that does not serve, and what is to be said of its pod."""
    view = serving(1, ready=0)
    return replace(view, pods=tuple(replace(each, ready=False, **changes) for each in view.pods))


def beside_the_former(view: ModelView) -> ModelView:
    """The same while a replica of the former specification serves."""
    counts = DeploymentCounts(current=True, replicas=2, updated=1, ready=1)
    return replace(view, counts=counts, pods=(*view.pods, running("studio-8", runtime_hash="former")))


BROKEN = NotLoaded(ErrorReport(reason="UnsafeModel", what="the weights are a pickle", where="model"))
LOADS = NotLoaded(ErrorReport(reason="Loading", what="the weights are read", where="model"))
IN_A_BUCKET = model_spec(model={"source": "s3://models/sd15"}, cache={"persistentVolumeClaim": "models"})

STATES: dict[str, tuple[JobView | ModelView, tuple[str, str, str]]] = {
    "a job that starts": (job_view(), IN_PROGRESS),
    "a job that waits for its model": (job_view(candidates=(replace(READY, ready=False),)), IN_PROGRESS),
    "a job that waits for its turn": (
        job_view(turn=Turn(admitted=False, message="9 jobs of this namespace work")),
        IN_PROGRESS,
    ),
    "a job that runs": (job_view(batch_job=batch(active=1, ready=1)), IN_PROGRESS),
    "a job that is complete": (job_view(batch_job=completed()), CURRENT),
    "a job that failed": (job_view(batch_job=failed()), FAILED),
    "a job that was cancelled": (job_view(job_spec(cancel=True)), FAILED),
    "a job that is wrong": (job_view(Problem("InvalidInput", "spec: wrong")), FAILED),
    "a job that is suspended": (job_view(job_spec(suspend=True)), ("InProgress", "Suspended", "InProgress")),
    "a model that is new": (model_view(), IN_PROGRESS),
    "a model that serves": (serving(1), CURRENT),
    "a model that serves and rolls out": (serving(2, updated=1, ready=1), IN_PROGRESS),
    "a model that sleeps": (serving(0), CURRENT),
    "a model that is fetched": (model_view(IN_A_BUCKET), IN_PROGRESS),
    "a model that loads": (unready(probe=LOADS), IN_PROGRESS),
    "a model that loads beside the former one": (beside_the_former(unready(probe=LOADS)), IN_PROGRESS),
    "a model that cannot load": (unready(probe=BROKEN), FAILED),
    "a model that cannot load beside the former one, which serves": (beside_the_former(unready(probe=BROKEN)), FAILED),
    "a model of an unknown profile": (model_view(model_spec(runtimeProfile="unknown")), FAILED),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_means_the_same_to_every_tool(ask: Ask, state: str) -> None:
    view, expected = STATES[state]
    said = ask(manifest(reached(view)))
    assert (said["kstatus"], said["argo"], said["flux"]) == expected, said
    assert ": " in said["argoMessage"]


@pytest.mark.parametrize("view", [job_view(), model_view()], ids=["job", "model"])
def test_an_object_that_the_operator_has_not_seen_is_not_done(ask: Ask, view: JobView | ModelView) -> None:
    said = ask(manifest(view))
    assert said["argo"] == "Progressing"
    assert said["flux"].startswith("Waiting")
    assert said["kstatus"] == "Current", "kstatus has closed its gap: the README of the gitops folder can say so"


@pytest.mark.parametrize("view", [job_view(batch_job=completed()), serving(1)], ids=["job", "model"])
def test_a_change_that_the_operator_has_not_seen_is_in_progress(ask: Ask, view: JobView | ModelView) -> None:
    said = ask(manifest(reached(view), generation=2))
    assert (said["kstatus"], said["argo"], said["flux"]) == IN_PROGRESS


@settings(deadline=None)
@given(view=VIEWS)
def test_whatever_happens_the_tools_agree(ask: Ask, view: JobView | ModelView) -> None:
    done = after(view, decide(view, environment()))
    if done is None or done.identity.deleting:
        return
    said = ask(manifest(done))
    agreed = {"InProgress": {"Progressing", "Suspended"}, "Current": {"Healthy"}, "Failed": {"Degraded"}}
    assert said["flux"] == said["kstatus"]
    assert said["argo"] in agreed[said["kstatus"]]
    assert (said["argo"] == "Suspended") == is_true(done.status.conditions, "Suspended")
