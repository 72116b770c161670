"""What holds for every state of a cluster: decisions settle, ends are final, conditions can be trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from operator_effects import after, decide, kinds
from operator_strategies import CANDIDATES, VIEWS, job_views
from operator_views import NOW, environment, job_view

from easel_api.generationjob import Phase
from easel_api.tasks import Task
from easel_operator.core.actions import Apply, Delete
from easel_operator.core.decision import Decision
from easel_operator.core.job.decide import over
from easel_operator.core.observed import (
    Candidate,
    JobView,
    ModelView,
)
from easel_operator.core.resources import JOBS


@given(VIEWS)
def test_a_decision_that_was_carried_out_is_not_made_again(view: JobView | ModelView) -> None:
    first = decide(view, environment())
    reached = after(view, first)
    # One pass reads what the first did. A refusal takes one more, and so does a batch Job made, stopped or resumed.
    made = isinstance(view, JobView) and bool(kinds(first))
    passes = 0
    while reached is not None and passes < 1 + bool(view.refusal) + made:
        again = decide(reached, environment())
        if again.settled:
            return
        made = made or (isinstance(view, JobView) and bool(kinds(again)))
        reached = after(reached, again)
        passes += 1
    # A TTL that is over the moment the job ends may follow.
    assert reached is None, f"decided again: {again}"


def settled(view: JobView | ModelView | None) -> JobView | ModelView | None:
    """Where a view ends up when nothing else happens."""
    for _ in range(4):
        if view is None or (decision := decide(view, environment())).settled:
            return view
        view = after(view, decision)
    raise AssertionError(f"does not settle: {decision}")


@given(VIEWS)
def test_an_operator_that_dies_after_any_action_ends_up_in_the_same_place(view: JobView | ModelView) -> None:
    # A refusal lives in the pass that met it: the next process does not know of it.
    view = replace(view, refusal=None)
    whole = settled(view)
    decision = decide(view, environment())
    for number in range(len(decision.actions)):
        cut = after(view, Decision(decision.actions[:number]))
        assert settled(cut) == whole, f"died after {number} of {len(decision.actions)} actions"


@given(VIEWS, st.integers(0, 10_000))
def test_the_clock_alone_writes_nothing_but_ends_a_ttl_and_a_failed_fetch(
    view: JobView | ModelView, seconds: int
) -> None:
    reached: JobView | ModelView | None = view
    for _ in range(3):
        reached = after(reached, decide(reached, environment())) if reached else None
    if reached is None:
        return
    later = decide(reached, environment(NOW + timedelta(seconds=seconds)))
    if later.settled:
        return
    if isinstance(reached, JobView):
        assert over(reached.status)
        assert after(reached, later) is None
    else:
        assert reached.children[JOBS.kind].body["status"]["conditions"]
        assert isinstance(later.actions[0], Delete)
        assert later.actions[0].reference.resource == JOBS


@given(VIEWS)
def test_conditions_are_valid_kstatus(view: JobView | ModelView) -> None:
    decision = decide(view, environment())
    reached = after(view, decision)
    if reached is None:
        return
    if not decision.actions and not reached.status.conditions:
        assert decision.reasons == ("not every job was looked at yet",), "nothing else is waited for without a word"
        return
    conditions = {item.type: item for item in reached.status.conditions}
    assert len(conditions) == len(reached.status.conditions)
    assert all(item.observed_generation == 1 and item.last_transition_time for item in conditions.values())
    assert all(item.reason.isalnum() for item in conditions.values())
    assert "Ready" in conditions
    # Abnormal conditions are true or absent, and only one of the two says what is going on.
    assert all(conditions[name].status == "True" for name in ("Reconciling", "Stalled") if name in conditions)
    assert not {"Reconciling", "Stalled"} <= conditions.keys()
    if conditions["Ready"].status != "True":
        assert {"Reconciling", "Stalled", "Suspended"} & conditions.keys(), "nothing says what is waited for"
    assert reached.status.observed_generation == 1


@given(job_views(), job_views())
def test_an_end_is_final(view: JobView, other: JobView) -> None:
    reached = after(view, decide(view, environment()))
    if not isinstance(reached, JobView) or not over(reached.status):
        return
    ended = reached.status
    # Whatever the cluster and the spec look like later, and whatever the operator's clock says.
    later = replace(other, status=ended, identity=replace(other.identity, generation=7))
    result = after(later, decide(later, environment(NOW + timedelta(days=1))))
    if isinstance(result, JobView):
        assert result.status.phase == ended.phase
        assert {item.type for item in result.status.conditions} == {item.type for item in ended.conditions}
        assert result.status.completion_time == ended.completion_time
        assert result.status.observed_generation == 7


@given(st.lists(job_views(), min_size=1, max_size=6))
def test_there_are_never_two_batch_jobs(states: list[JobView]) -> None:
    """Through any history of specs and backends, a Job is made only while none is seen, and always by the same name."""
    view: Any = states[0]
    for state in states:
        view = replace(view, spec=state.spec, candidates=state.candidates)
        decision = decide(view, environment())
        jobs = [action for action in decision.actions if isinstance(action, Apply)]
        assert len(jobs) <= 1
        assert all(action.manifest.reference.name == "mugs" for action in jobs)
        assert all(action.manifest.resource == JOBS and not action.version for action in jobs)
        assert not (jobs and view.batch_job is not None)
        view = after(view, decision)
        if view is None:
            return


@given(job_views())
def test_a_worker_that_reported_keeps_its_fields(view: JobView) -> None:
    if view.status.items is None:
        return
    for action in decide(view, environment()).actions:
        written = getattr(action, "status", {})
        assert not {"done", "lastFailure", "items", "progress", "manifest", "artifacts"} & written.keys()


@given(job_views())
def test_success_is_claimed_only_when_the_worker_succeeded(view: JobView) -> None:
    reached = after(view, decide(view, environment()))
    if isinstance(reached, JobView) and reached.status.phase is Phase.COMPLETE:
        assert view.batch_job is not None
        assert view.batch_job.complete


@given(st.lists(CANDIDATES, max_size=4))
def test_a_backend_that_cannot_is_never_chosen(candidates: list[Candidate]) -> None:
    view = job_view(candidates=tuple(replace(item, name=f"m{n}") for n, item in enumerate(candidates)))
    able = {
        f"m{number}"
        for number, item in enumerate(candidates)
        if item.found and item.ready and not item.deleting and item.tasks and Task.TEXT_TO_IMAGE in item.tasks
    }
    jobs = [action for action in decide(view, environment()).actions if isinstance(action, Apply)]
    assert bool(jobs) == bool(able)
