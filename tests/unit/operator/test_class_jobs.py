"""Jobs of a class: who waits for a place at a model, who begins at once, and who is resumed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from operator_effects import decide, said
from operator_strategies import CLASS, of_a_class
from operator_views import NOW, READY, batch, environment, job_spec, job_view

from easel_api.generationjob import ChosenBackend
from easel_operator.core.actions import Apply, ApplyStatus, Suspend
from easel_operator.core.admission import UNKNOWN, AdmissionQueue, Turn
from easel_operator.core.conditions import MAX_MESSAGE
from easel_operator.core.decision import Decision
from easel_operator.core.observed import Candidate, JobView, Problem, Routes, UsableProvider

WEST = Routes(CLASS, (UsableProvider("west", "aws"),))
NOBODY = Routes(CLASS, (), ("spec.backends[1].provider: Provider west is not ready",))


def view(routes: Routes | Problem | None, **changes: Any) -> JobView:
    return replace(job_view(of_a_class(job_spec())), routes=routes, **changes)


def applied(decision: Decision) -> list[Apply]:
    return [action for action in decision.actions if isinstance(action, Apply)]


def test_with_a_provider_it_begins_at_once_and_takes_no_place() -> None:
    decision = decide(view(WEST, turn=UNKNOWN), environment())
    (job,) = applied(decision)
    assert job.manifest.body["metadata"]["annotations"]["easel.dev/selected-reason"] == "Routed"
    assert decision.seat is None
    assert decision.work is not None, "its own model is woken"


@pytest.mark.parametrize(("secret", "labelled"), [("aws", False), ("", True)])
def test_a_worker_that_goes_by_its_own_identity_is_known_at_azure(secret: str, labelled: bool) -> None:
    (job,) = applied(decide(view(Routes(CLASS, (UsableProvider("west", secret),))), environment()))
    labels = job.manifest.body["spec"]["template"]["metadata"]["labels"]
    assert ("azure.workload.identity/use" in labels) is labelled


def test_without_one_it_waits_for_its_turn_at_the_model_like_any_other() -> None:
    """The queue knows a job by the seat that its decision asks for."""
    queue, found = AdmissionQueue(environment().configuration.admission), view(NOBODY, turn=UNKNOWN)
    queue.slots(found.identity.key.__class__("ModelDeployment", "art", "studio"), 1, NOW)
    first = decide(found, environment())
    assert first.seat is not None
    queue.put(found.identity.key, first.seat, NOW)
    then = decide(replace(found, turn=queue.turn(found.identity.key)), environment())
    assert len(applied(then)) == 1


@pytest.mark.parametrize("suspended", [True, False])
def test_one_that_was_suspended_is_resumed_without_a_place(suspended: bool) -> None:
    job = batch(suspended=suspended, backend=ChosenBackend(model_deployment="studio", selected_reason="Routed"))
    waits = Turn(admitted=False, message="others go first")
    resumed = [
        each
        for each in decide(view(None, batch_job=job, turn=waits), environment()).actions
        if isinstance(each, Suspend)
    ]
    assert [each.suspended for each in resumed] == ([False] if suspended else [])


def test_a_class_that_is_not_there_is_waited_for_and_looked_for_again() -> None:
    decision = decide(view(Problem("ClassNotFound", "there is no GenerationClass studio")), environment())
    assert said(decision)["Reconciling"] == ("True", "ClassNotFound")
    assert decision.requeue_after == 30


def waits_for(routes: Routes, *candidates: Candidate) -> tuple[str, str]:
    """Reason and message."""
    decision = decide(view(routes, candidates=candidates), environment())
    (status,) = [each for each in decision.actions if isinstance(each, ApplyStatus)]
    (told,) = [each for each in status.status["conditions"] if each["type"] == "Reconciling"]
    assert len(told["message"]) <= MAX_MESSAGE
    text, since, _ = told["message"].partition(" (waits since ")
    assert since, "it is cut off"
    return told["reason"], text


ABSENT = Candidate("studio", found=False)
WEST_TOLD = "spec.backends[1].provider: Provider west is not ready"


def test_no_backend_at_all_says_why_of_each_by_its_field() -> None:
    clouds = Routes(CLASS.model_copy(update={"backends": CLASS.backends[1:]}), (), ("spec.backends[0].provider: why",))
    assert waits_for(clouds) == (
        "ProviderNotReady",
        "GenerationClass studio: spec.backends[0].provider: why; the job waits for one of them",
    )
    for candidate, found in (
        (ABSENT, "there is no ModelDeployment studio in this namespace"),
        (replace(READY, deleting=True), "ModelDeployment studio is being deleted"),
    ):
        assert waits_for(NOBODY, candidate) == (
            "ModelNotFound",
            f"GenerationClass studio: spec.backends[0].modelDeployment: {found}; create it, or name another; "
            f"{WEST_TOLD}; the job waits for one of them",
        )


def test_what_is_wrong_with_others_is_told_only_while_none_will_come() -> None:
    reason, message = waits_for(NOBODY, replace(READY, tasks=frozenset()))
    assert reason == "TaskUnsupported"
    assert message.endswith(f". GenerationClass studio: {WEST_TOLD}")
    assert waits_for(NOBODY, replace(READY, ready=False, desired=0, wakes=True))[1].endswith("this job wakes it")


def test_what_is_wrong_with_many_backends_is_told_as_far_as_there_is_room() -> None:
    many = Routes(CLASS, (), tuple(f"spec.backends[{each}].models: {'x' * 200}; mend" for each in range(1, 10)))
    _, message = waits_for(many, ABSENT)
    assert message.endswith("mend; and 6 more; the job waits for one of them")
    _, message = waits_for(many, replace(READY, tasks=frozenset()))
    assert message.endswith("mend; and 7 more")


def test_an_own_model_that_cannot_do_the_task_is_not_woken_for_it() -> None:
    unable = replace(READY, tasks=frozenset(), ready=False)
    decision = decide(view(WEST, candidates=(unable,)), environment())
    (job,) = applied(decision)
    (container,) = job.manifest.body["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]}["EASEL_ENDPOINT"] == ""
    assert decision.work is None
