"""What is deleted goes, with everything that was made for it: no finalizer holds it, whether or not an operator runs."""

from __future__ import annotations

import pytest
from operating.place import Place
from operating.process import OperatorProcess, until

from conftest import Start

pytestmark = pytest.mark.apiserver

CHILDREN = ("deployment", "service", "poddisruptionbudget", "networkpolicy", "job", "pod")
OURS = "app.kubernetes.io/managed-by=easel"


def left(place: Place, kinds: tuple[str, ...] = CHILDREN) -> list[str]:
    return [f"{kind}/{found['metadata']['name']}" for kind in kinds for found in place.list(kind, OURS)]


def working(place: Place, operator: OperatorProcess) -> None:
    """A model that serves and a job in the middle."""
    operator.ready().leads()
    place.model("studio")
    place.serve("studio")
    place.job("mugs")
    pod = place.await_pod("easel.dev/generation-job=mugs")
    place.run_pod(pod, "worker", ready=True)
    place.await_condition("gen", "mugs", "Ready", "False", "Generating")


def no_kubelet(place: Place) -> None:
    """There is none here that would confirm that a pod has ended."""
    place("delete", "pods", "--all", "--force", "--grace-period=0")


@pytest.mark.parametrize("runs", [True, False], ids=["operator-runs", "operator-is-down"])
def test_a_job_in_the_middle_goes_with_its_worker(place: Place, start: Start, runs: bool) -> None:
    operator = start(place)
    working(place, operator)
    if not runs:
        operator.gone()
    place("delete", "gen", "mugs", "--timeout=60s")
    until(lambda: place.get("job", "mugs") is None, "the batch Job is gone")
    until(
        lambda: all(
            "deletionTimestamp" in pod["metadata"] for pod in place.list("pod", "easel.dev/generation-job=mugs")
        ),
        "the worker is told to stop",
    )
    if not runs:
        operator.start().ready().leads()
    # Under its name another may be made, and it begins anew.
    place.job("mugs")
    until(lambda: place.get("job", "mugs"), "another batch Job")
    assert place.condition("mdep", "studio", "Ready")["status"] == "True"


@pytest.mark.parametrize("runs", [True, False], ids=["operator-runs", "operator-is-down"])
def test_a_model_with_jobs_that_wait_goes_and_they_say_what_they_wait_for(
    place: Place, start: Start, runs: bool
) -> None:
    operator = start(place).ready().leads()
    place.model("studio")
    place.job("early")
    place.await_condition("gen", "early", "Ready", "False", "ModelNotReady")
    if not runs:
        operator.gone()
    place("delete", "mdep", "studio", "--timeout=60s")
    no_kubelet(place)
    until(lambda: not left(place), "nothing is left of the model")
    if not runs:
        operator.start().ready().leads()
    place.await_condition("gen", "early", "Ready", "False", "ModelNotFound")
    place.model("studio")
    place.serve("studio")
    until(lambda: place.get("job", "early"), "the job begins with the model that came back")


@pytest.mark.parametrize("runs", [True, False], ids=["operator-runs", "operator-is-down"])
def test_a_namespace_goes_with_everything_in_it(place: Place, start: Start, runs: bool) -> None:
    # Its Lease is elsewhere, as with the chart.
    operator = start(place, leaseNamespace="default", leaseName=place.namespace)
    working(place, operator)
    place.job("waits", model="nobody")
    place.await_condition("gen", "waits", "Ready", "False", "ModelNotFound")
    if not runs:
        operator.gone()
    place.kubectl("delete", "namespace", place.namespace, "--wait=false")
    no_kubelet(place)
    until(lambda: not place.kubectl("get", "namespace", place.namespace, "--ignore-not-found"), "it is gone", 90)
    if runs:
        said = operator.log.read_text()
        assert "a defect of the operator" not in said
        assert operator.process is not None
        assert operator.process.poll() is None


def test_a_job_kept_in_git_is_not_run_again_after_its_time(place: Place, start: Start) -> None:
    operator = start(place)
    working(place, operator)
    place.job("kept", ttlSecondsAfterFinished=1)
    place.patch("gen", "kept", {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "art:easel.dev/kept"}}})
    place.end_pod(place.await_pod("easel.dev/generation-job=kept"), "worker", 0)
    place.await_condition("gen", "kept", "Complete", "True", "Complete")
    until(lambda: place.get("job", "kept") is None, "the batch Job is gone")
    place("delete", "pods", "-l", "easel.dev/generation-job=kept", "--force", "--grace-period=0", "--ignore-not-found")
    operator.stop()
    operator.start().ready().leads()
    settled = 'easel_operator_reconciles_total{kind="GenerationJob",result="settled"}'
    until(lambda: (operator.metric(settled) or 0) >= 2, "every job was looked at")
    assert place.condition("gen", "kept", "Complete")["status"] == "True"
    assert place.get("job", "kept") is None
