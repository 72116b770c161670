"""What is decided about a GenerationJob, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from operator_effects import after, decide, kinds, said, status_of
from operator_views import NOW, READY, STILL, batch, completed, environment, failed, job_spec, job_view, pod, running

from easel_api.generationjob import GenerationJobStatus
from easel_api.tasks import Task
from easel_operator.core.actions import Apply, ApplyStatus, Delete, RecordEvent, Suspend
from easel_operator.core.admission import UNKNOWN, Turn
from easel_operator.core.configuration import Admission
from easel_operator.core.decision import Decision, Refusal
from easel_operator.core.job.choice import Chosen, TooLarge, Waiting, choose
from easel_operator.core.observed import Candidate, JobView, Memory, Problem, Termination, Trouble
from easel_operator.core.resources import JOBS

MISSING = Candidate("nobody", found=False)
ASLEEP = replace(READY, name="asleep", desired=0, ready=False, reason="ScaledToZero")
LOADING = replace(READY, name="loading", ready=False, reason="Loading", message="the runtime loads the model")
WAKEABLE = replace(ASLEEP, name="wakeable", wakes=True)
UNABLE = replace(READY, name="unable", tasks=frozenset())
UNTOLD = replace(READY, name="untold", ready=False, tasks=None)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ((READY,), Chosen("studio", "WarmReplica")),
        ((MISSING, READY), Chosen("studio", "PreferredNotFound")),
        ((LOADING, READY), Chosen("studio", "PreferredNotReady")),
        ((ASLEEP, READY), Chosen("studio", "PreferredNotReady")),
        ((UNABLE, READY), Chosen("studio", "PreferredUnsupported")),
        ((replace(READY, deleting=True), replace(READY, name="b")), Chosen("b", "PreferredNotFound")),
        ((MISSING,), "ModelNotFound"),
        ((LOADING,), "ModelNotReady"),
        ((ASLEEP,), "ModelScaledToZero"),
        ((UNABLE,), "TaskUnsupported"),
        ((UNTOLD,), "ModelNotReady"),
        ((MISSING, UNABLE), "TaskUnsupported"),
        ((UNABLE, LOADING), "ModelNotReady"),
        ((UNABLE, ASLEEP), "ModelScaledToZero"),
        ((UNABLE, ASLEEP, LOADING), "ModelNotReady"),
        ((ASLEEP, WAKEABLE), "ModelWaking"),
    ],
)
def test_the_choice_of_a_backend(candidates: tuple[Candidate, ...], expected: Any) -> None:
    found = choose(job_spec(), candidates)
    assert (found.reason if isinstance(found, Waiting) else found) == expected


def test_a_model_of_which_nobody_knows_the_family_does_no_task_of_providers_alone() -> None:
    spec = job_spec().model_copy(update={"task": Task.ERASE})
    found = choose(spec, (UNTOLD,))
    assert isinstance(found, Waiting)
    assert found.reason == "TaskUnsupported"


EQUIPPED = replace(READY, name="equipped", adapters=frozenset({"ink", "shapes"}))


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ((EQUIPPED,), Chosen("equipped", "WarmReplica")),
        ((READY, EQUIPPED), Chosen("equipped", "PreferredUnsupported")),
        ((READY,), "AdapterMissing"),
        ((LOADING,), "AdapterMissing"),
        ((UNABLE,), "TaskUnsupported"),
        ((READY, replace(EQUIPPED, ready=False, reason="Loading")), "ModelNotReady"),
    ],
)
def test_the_choice_heeds_the_adapters_that_a_job_uses(candidates: tuple[Candidate, ...], expected: Any) -> None:
    found = choose(job_spec(adapters=[{"name": "ink"}, {"name": "shapes"}]), candidates)
    assert (found.reason if isinstance(found, Waiting) else found) == expected


def test_what_no_backend_has_is_named() -> None:
    inked = job_spec(adapters=[{"name": "ink"}])
    waiting = choose(inked, (READY,))
    assert isinstance(waiting, Waiting)
    assert "studio lacks ink" in waiting.message
    unable = choose(job_spec(task="text-to-video"), (READY,))
    assert isinstance(unable, Waiting)
    assert "which needs an adapter of kind Motion or a model of family Wan or LTX" in unable.message


def test_a_job_whose_model_is_ready_gets_one_worker() -> None:
    decision = decide(job_view(), environment())
    assert kinds(decision) == ["Apply"]
    assert said(decision) == {"Ready": ("Unknown", "WorkerStarting"), "Reconciling": ("True", "WorkerStarting")}
    status = status_of(decision)
    assert status["phase"] == "Pending"
    assert status["done"] == "0/4"
    assert status["observedGeneration"] == 1
    assert status["backend"] == {"modelDeployment": "studio", "selectedReason": "WarmReplica"}


def test_children_come_before_the_status_and_what_always_happens_is_no_news() -> None:
    assert [type(action) for action in decide(job_view(), environment()).actions] == [Apply, ApplyStatus]


def test_news_is_told_by_an_event_after_the_status() -> None:
    unknown = job_view(candidates=(Candidate("studio", found=False),))
    assert [type(action) for action in decide(unknown, environment()).actions] == [ApplyStatus, RecordEvent]


def test_a_job_without_a_model_says_so_and_makes_nothing() -> None:
    decision = decide(job_view(candidates=(MISSING,)), environment())
    assert kinds(decision) == []
    assert said(decision) == {"Ready": ("False", "ModelNotFound"), "Reconciling": ("True", "ModelNotFound")}


def test_waiting_names_since_when_the_model_is_not_ready() -> None:
    message = status_of(decide(job_view(candidates=(LOADING,)), environment()))["conditions"][0]["message"]
    assert message == (
        "ModelDeployment loading is not ready since 2026-01-01T00:00:00Z: Loading (the runtime loads the model)"
        " (waits since 2026-01-02T03:04:05Z)"
    )


def test_a_job_says_since_when_it_waits_whatever_it_waits_for() -> None:
    view = job_view(candidates=(LOADING,))
    later = environment(NOW + timedelta(minutes=5))
    waiting = after(view, decide(view, environment()))
    assert isinstance(waiting, JobView)
    assert decide(waiting, later).settled, "time alone changes no word"
    for change in ({"candidates": (replace(LOADING, desired=0, wakes=True),)}, {"candidates": (READY,), "turn": HELD}):
        told = status_of(decide(replace(waiting, **change), later))["conditions"][0]
        assert told["message"].endswith("(waits since 2026-01-02T03:04:05Z)"), told
        assert told["reason"] in ("ModelWaking", "Queued")
        worked = replace(
            waiting, status=waiting.status.model_copy(update={"start_time": "2026-01-02T03:04:06Z"}), **change
        )
        assert "waits since" not in status_of(decide(worked, later))["conditions"][0]["message"]


def test_a_running_worker_is_generating() -> None:
    decision = decide(job_view(batch_job=batch(active=1, ready=1), pods=(running(),)), environment())
    assert said(decision)["Ready"] == ("False", "Generating")
    assert status_of(decision)["phase"] == "Running"
    assert status_of(decision)["startTime"] == "2026-01-02T03:00:00Z"


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "Unschedulable", "CredentialsMissing"])
def test_a_worker_that_does_not_start_says_why(reason: str) -> None:
    stuck = pod(trouble=Trouble(reason, "because"))
    decision = decide(job_view(batch_job=batch(active=1), pods=(stuck,)), environment())
    assert said(decision) == {"Ready": ("False", reason), "Reconciling": ("True", reason)}


def test_a_worker_that_stored_everything_is_ending_not_starting() -> None:
    status = GenerationJobStatus.model_validate({"phase": "Running", "items": {"total": 16, "succeeded": 16}})
    decision = decide(job_view(batch_job=batch(active=1), pods=(pod(),), status=status), environment())
    assert said(decision)["Ready"] == ("False", "WorkerEnding")
    assert status_of(decision)["phase"] == "Running"


def test_a_finished_batch_job_completes() -> None:
    decision = decide(job_view(batch_job=completed()), environment())
    assert said(decision) == {"Complete": ("True", "Complete"), "Ready": ("True", "Complete")}
    assert status_of(decision)["completionTime"] == "2026-01-02T03:04:00Z"


FAILED = ("Failed", "Ready", "Stalled")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_job": failed()}, "BackendFault"),
        ({"batch_job": failed("DeadlineExceeded")}, "DeadlineExceeded"),
        (
            {"batch_job": failed(), "pods": (pod(termination=Termination(2, "Error", "NotFound: bucket art")),)},
            "NotFound",
        ),
        ({"batch_job": failed(), "pods": (pod(termination=Termination(2, "Error", "")),)}, "InvalidInput"),
        ({"batch_job": failed(), "pods": (pod(termination=Termination(3, "Error", "??")),)}, "EnvironmentFault"),
        ({"batch_job": failed(), "pods": (pod(termination=Termination(137, "OOMKilled", "")),)}, "QuotaExhausted"),
        (
            {
                "batch_job": failed(),
                "status": GenerationJobStatus.model_validate(
                    {"items": {"total": 4, "failed": 4}, "lastFailure": {"reason": "ContentBlocked", "message": "no"}}
                ),
                "pods": (pod(termination=Termination(1, "Error", "NotFound: bucket art")),),
            },
            "ContentBlocked",
        ),
    ],
)
def test_a_failed_batch_job_fails_with_the_best_known_reason(changes: dict[str, Any], reason: str) -> None:
    decision = decide(job_view(**changes), environment())
    assert said(decision) == {
        "Failed": ("True", reason),
        "Ready": ("False", reason),
        "Stalled": ("True", reason),
    }
    assert status_of(decision)["phase"] == "Failed"
    if "status" not in changes:
        assert status_of(decision)["lastFailure"]["reason"] == reason
    else:
        assert "lastFailure" not in status_of(decision), "that field is the worker's now"


def test_the_newest_pods_words_count() -> None:
    old = pod("a", created="2026-01-02T03:00:01Z", termination=Termination(1, "Error", "NotFound: old"))
    new = pod("b", created="2026-01-02T03:00:09Z", termination=Termination(1, "Error", "AuthConfig: new"))
    decision = decide(job_view(batch_job=failed(), pods=(new, old)), environment())
    assert said(decision)["Failed"] == ("True", "AuthConfig")


def test_suspend_stops_the_batch_job_and_resume_starts_it() -> None:
    stop = decide(job_view(job_spec(suspend=True), batch_job=batch()), environment())
    assert kinds(stop) == ["Suspend"]
    assert said(stop) == {"Ready": ("False", "Suspended"), "Suspended": ("True", "Suspended")}
    go = decide(job_view(batch_job=batch(suspended=True)), environment())
    assert [action.suspended for action in go.actions if isinstance(action, Suspend)] == [False]
    assert "Suspended" not in said(go)


def test_a_refused_suspend_is_not_tried_again_in_the_same_pass() -> None:
    view = job_view(job_spec(suspend=True), batch_job=batch(), refusal=Refusal("AuthConfig", "may not"))
    assert kinds(decide(view, environment())) == []


def test_a_batch_job_that_is_going_is_not_deleted_again() -> None:
    view = job_view(job_spec(cancel=True), batch_job=batch(deleting=True))
    assert kinds(decide(view, environment())) == []


def test_a_worker_that_cannot_even_be_made_says_why() -> None:
    stuck = batch(trouble=Trouble("FailedCreate", 'serviceaccount "easel-worker" not found'))
    assert said(decide(job_view(batch_job=stuck), environment()))["Ready"] == ("False", "FailedCreate")


def test_a_job_that_begins_suspended_makes_nothing() -> None:
    decision = decide(job_view(job_spec(suspend=True)), environment())
    assert kinds(decision) == []
    assert status_of(decision)["phase"] == "Suspended"


def test_cancel_deletes_the_batch_job_and_ends_the_job() -> None:
    decision = decide(job_view(job_spec(cancel=True), batch_job=batch()), environment())
    assert kinds(decision) == ["Delete"]
    assert said(decision)["Failed"] == ("True", "Cancelled")
    assert status_of(decision)["phase"] == "Cancelled"


def test_cancel_comes_too_late_for_a_job_that_is_done() -> None:
    decision = decide(job_view(job_spec(cancel=True), batch_job=completed()), environment())
    assert said(decision)["Complete"] == ("True", "Complete")


def test_a_spec_with_a_problem_fails_at_once() -> None:
    decision = decide(job_view(spec=Problem("InvalidInput", "spec.matrix: no such variable")), environment())
    assert kinds(decision) == []
    assert said(decision)["Stalled"] == ("True", "InvalidInput")
    assert status_of(decision)["phase"] == "Failed"


def test_a_deleted_job_is_left_to_the_garbage_collector() -> None:
    view = job_view()
    assert decide(replace(view, identity=replace(view.identity, deleting=True)), environment()).settled


def test_another_ones_batch_job_is_waited_for_and_not_touched() -> None:
    decision = decide(job_view(job_spec(cancel=False), batch_job=batch(owner_uid="other")), environment())
    assert kinds(decision) == []
    assert said(decision)["Ready"] == ("False", "NameTaken")


def test_a_refusal_is_written_and_nothing_else_is_tried() -> None:
    decision = decide(job_view(refusal=Refusal("QuotaExhausted", "exceeded quota")), environment())
    assert kinds(decision) == []
    assert said(decision)["Reconciling"] == ("True", "QuotaExhausted")


def over(**changes: Any) -> Any:
    view = after(
        job_view(job_spec(**changes), batch_job=completed()), decide(job_view(batch_job=completed()), environment())
    )
    assert view is not None
    return view


def test_a_job_that_a_tool_would_make_anew_stays_and_only_what_it_took_up_goes() -> None:
    view = replace(over(ttlSecondsAfterFinished=60), declared=True)
    late = environment(NOW + timedelta(hours=1))
    (action,) = decide(view, late).actions
    assert isinstance(action, Delete)
    assert action.reference.resource == JOBS
    gone = after(view, decide(view, late))
    assert gone is not None
    assert decide(gone, late).settled
    assert decide(gone, late).requeue_after is None


def test_a_finished_job_is_deleted_when_its_time_is_over() -> None:
    view = over(ttlSecondsAfterFinished=60)
    early = decide(view, environment(NOW))
    assert early.settled
    assert early.requeue_after == pytest.approx(55)
    late = decide(view, environment(NOW + timedelta(seconds=56)))
    assert [action.uid for action in late.actions if isinstance(action, Delete)] == ["job-uid"]


def test_a_finished_job_stays_without_a_ttl() -> None:
    decision = decide(over(), environment(NOW + timedelta(days=999)))
    assert decision.settled
    assert decision.requeue_after is None


def test_a_finished_job_stays_finished_whatever_its_spec_says_next() -> None:
    view = over()
    later = replace(view, identity=replace(view.identity, generation=2), spec=job_spec(cancel=True), batch_job=None)
    decision = decide(later, environment())
    assert kinds(decision) == []
    assert status_of(decision)["observedGeneration"] == 2
    assert said(decision)["Complete"] == ("True", "Complete")
    assert status_of(decision)["phase"] == "Complete"


def test_a_transition_time_moves_with_the_status_alone() -> None:
    first = after(job_view(candidates=(MISSING,)), decide(job_view(candidates=(MISSING,)), environment()))
    assert first is not None
    second = decide(replace(first, candidates=(ASLEEP,)), environment(NOW + timedelta(hours=1)))
    times = {item["type"]: item["lastTransitionTime"] for item in status_of(second)["conditions"]}
    assert times == {"Ready": "2026-01-02T03:04:05Z", "Reconciling": "2026-01-02T03:04:05Z"}


def test_a_transition_time_moves_when_the_status_does() -> None:
    view = job_view(candidates=(MISSING,))
    first = after(view, decide(view, environment()))
    assert first is not None
    second = decide(replace(first, batch_job=completed()), environment(NOW + timedelta(hours=1)))
    times = {item["type"]: item["lastTransitionTime"] for item in status_of(second)["conditions"]}
    assert times == {"Complete": "2026-01-02T04:04:05Z", "Ready": "2026-01-02T04:04:05Z"}


def test_a_model_that_is_known_to_do_nothing_is_no_backend() -> None:
    assert STILL
    assert isinstance(choose(job_spec(), (UNABLE,)), Waiting)


def test_a_backend_is_remembered_by_an_operator_that_died_before_it_was_written_down() -> None:
    view = job_view(job_spec())
    made = after(view, Decision(decide(view, environment()).actions[:1]))
    assert status_of(decide(made, environment()))["backend"] == {
        "modelDeployment": "studio",
        "selectedReason": "WarmReplica",
    }


@pytest.mark.parametrize(
    ("task", "field"), [("image-to-image", "image"), ("video-to-video", "clip"), ("control-to-image", "control")]
)
def test_every_claim_that_an_input_is_in_is_mounted(task: str, field: str) -> None:
    view = job_view(job_spec(task=task, inputs={field: {"uri": "pvc://photos/mug.png"}}))
    able = replace(view, candidates=(replace(READY, tasks=frozenset(Task)),))
    (made,) = (action for action in decide(able, environment()).actions if isinstance(action, Apply))
    volumes = made.manifest.body["spec"]["template"]["spec"]["volumes"]
    assert "photos" in [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes]


HELD = Turn(admitted=False, message="9 jobs of this namespace work, as many as the platform lets work at once")
IN_KUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "high"}


def test_a_job_whose_turn_it_is_not_waits_without_a_batch_job() -> None:
    decision = decide(job_view(turn=HELD), environment())
    assert kinds(decision) == []
    assert said(decision)["Ready"] == ("False", "Queued")
    assert HELD.message in str(status_of(decision))


def test_nothing_is_said_before_every_job_was_looked_at() -> None:
    assert decide(job_view(turn=UNKNOWN), environment()).settled


def test_a_job_that_is_resumed_waits_for_its_turn_too() -> None:
    view = job_view(batch_job=batch(suspended=True), turn=HELD)
    assert kinds(decide(view, environment())) == []
    assert kinds(decide(job_view(batch_job=batch(suspended=True)), environment())) == ["Suspend"]


def test_a_job_that_works_is_not_stopped_for_another() -> None:
    view = job_view(batch_job=batch(), pods=(running(),), turn=HELD)
    assert said(decide(view, environment()))["Ready"] == ("False", "Generating")


def test_a_job_that_works_outlives_the_class_that_it_began_with() -> None:
    view = job_view(job_spec(priorityClassName="gone"), batch_job=batch(), pods=(running(),))
    assert said(decide(view, environment()))["Ready"] == ("False", "Generating")


def test_a_class_that_the_platform_does_not_have_is_named() -> None:
    view = job_view(job_spec(priorityClassName="urgent"))
    decision = decide(view, environment(admission=Admission(priority_classes={"low": -1, "high": 9})))
    assert said(decision)["Failed"] == ("True", "InvalidInput")
    assert "there is no class urgent; the platform offers high, low" in str(status_of(decision))
    known = decide(view, environment(admission=Admission(priority_classes={"urgent": 7})))
    (made,) = (action for action in known.actions if isinstance(action, Apply))
    told = made.manifest.body["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "EASEL_PRIORITY", "value": "7"} in told


def test_kueue_starts_the_job_of_its_queue() -> None:
    view = job_view(queue=IN_KUEUE, turn=UNKNOWN)
    decision = decide(view, environment())
    (made,) = (action for action in decision.actions if isinstance(action, Apply))
    assert made.manifest.body["spec"]["suspend"] is True
    assert made.manifest.body["metadata"]["labels"].items() >= IN_KUEUE.items()
    assert said(decision)["Ready"] == ("Unknown", "QueuedInKueue")


@pytest.mark.parametrize("held", [True, False])
def test_a_batch_job_of_kueue_is_not_ours_to_suspend_or_resume(held: bool) -> None:
    decision = decide(job_view(batch_job=batch(suspended=held, queue="team"), queue=IN_KUEUE), environment())
    assert kinds(decision) == []
    stopped = job_view(job_spec(suspend=True), batch_job=batch(suspended=held, queue="team"), queue=IN_KUEUE)
    assert kinds(decide(stopped, environment())) == ["Delete"]


SMALL = Memory(capacity=8 * 2**30, weights=5 * 2**30, peaks=(("512x512", 2**30), ("512x512x8", 2**31)))
LARGE = replace(SMALL, capacity=80 * 2**30)
WIDE = {"parameters": {"width": 2048, "height": 2048}}


def test_a_job_that_fits_no_backend_is_refused_with_the_numbers() -> None:
    small = replace(READY, memory=SMALL)
    decision = decide(job_view(job_spec(**WIDE), candidates=(small,)), environment())
    assert said(decision)["Failed"] == ("True", "Unsupported")
    told = "2048x2048 takes 4,096 MiB beside the 5,120 MiB that ModelDeployment studio has in use, of 8,192 MiB"
    assert told in str(status_of(decision))


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        (WIDE, False),
        ({"parameters": {"width": 512, "height": 768}}, True),
        ({}, True),
        ({"task": "text-to-video", "parameters": {"frames": 8}}, True),
        ({"task": "text-to-video", "parameters": {"frames": 24}}, False),
        ({"task": "upscale", "inputs": {"image": {"uri": "s3://art/mug.png"}}, "parameters": {"scale": 4}}, True),
    ],
)
def test_what_fits_is_told_from_the_measured_shapes(spec: dict[str, Any], fits: bool) -> None:
    candidate = replace(READY, memory=SMALL, tasks=frozenset(Task))
    assert isinstance(choose(job_spec(**spec), (candidate,)), Chosen if fits else TooLarge)
    assert isinstance(choose(job_spec(**spec), (replace(candidate, memory=LARGE),)), Chosen)


def test_a_backend_that_is_large_enough_is_chosen_or_waited_for() -> None:
    small, large = replace(READY, memory=SMALL), replace(READY, name="large", memory=LARGE)
    assert choose(job_spec(**WIDE), (small, large)) == Chosen("large", "PreferredUnsupported")
    missing = choose(job_spec(**WIDE), (small, MISSING))
    assert isinstance(missing, Waiting)
    assert missing.reason == "DoesNotFit"
    assert isinstance(choose(job_spec(**WIDE), (small, replace(large, ready=False))), Waiting)
