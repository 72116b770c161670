"""What to do about a GenerationJob.

Read from the top: a job that is over stays over; then what ends it; then what its batch Job does; then who could make it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from easel_api import conditions
from easel_api.conditions import ConditionType
from easel_api.errors import InvalidInput, Unsupported
from easel_api.generationjob import TERMINAL, ChosenBackend, Failure, GenerationJobSpec, GenerationJobStatus, Phase
from easel_operator.core import labels, statuses
from easel_operator.core.actions import Action, Apply, Delete, Suspend
from easel_operator.core.decision import Decision, Environment, parse_timestamp, timestamp
from easel_operator.core.manifests import sealed
from easel_operator.core.observed import BatchJob, JobView, Problem, Routes
from easel_operator.core.resources import JOBS, Reference

from .batchjob import BACKOFF_LIMIT, batch_job
from .choice import Chosen, TooLarge, Waiting, choose_for
from .outcome import cancelled, failure_of
from .status import (
    State,
    beginning,
    ended_status,
    failed,
    status_of,
    succeeded,
    suspended,
    underway,
    written_fields,
)
from .work import routed, seat_of, work_of

CLASS_SECONDS = 30.0
"""How soon a job that waits is shown its class again."""
LOOK_AGAIN_SECONDS = 5.0
"""How soon a batch Job that is in the way is looked at again: it may be anybody's, and is not watched then."""


def decide(view: JobView, environment: Environment) -> Decision:
    """Actions on the batch Job first, then the status; nothing when the cluster holds both."""
    ended, rules = over(view.status), environment.configuration.admission
    return replace(
        _decide(view, environment), work=None if ended else work_of(view), seat=seat_of(view, rules, over=ended)
    )


def _decide(view: JobView, environment: Environment) -> Decision:
    if view.identity.deleting:
        return Decision(reasons=("deleting",))
    if over(view.status):
        return _over(view, environment)
    if isinstance(view.spec, Problem):
        return _fail(view, Failure(reason=view.spec.reason, message=view.spec.message), environment)
    job = view.batch_job
    if job is not None and job.owner_uid != view.identity.uid:
        return _name_taken(view, job, environment)
    if job is not None and (job.complete or job.failure):
        return _finished(view, job, environment)
    if view.spec.cancel:
        return _cancel(view, environment)
    if job is not None:
        return _work(view, view.spec, job, environment)
    return _begin(view, view.spec, environment)


def _unknown_class(spec: GenerationJobSpec, environment: Environment) -> Failure | None:
    name, offered = spec.priority_class_name, environment.configuration.admission.priority_classes
    if name is None or name in offered:
        return None
    return Failure(
        reason=InvalidInput.reason,
        message=f"spec.priorityClassName: there is no class {name}; the platform offers {', '.join(sorted(offered)) or 'none'}",
    )


def over(status: GenerationJobStatus) -> bool:
    """Whether the job has ended; conditions count too, since they are the contract."""
    return status.phase in TERMINAL or any(
        conditions.is_true(status.conditions, ended) for ended in (ConditionType.COMPLETE, ConditionType.FAILED)
    )


def _over(view: JobView, environment: Environment) -> Decision:
    leftover = _stop(view) if view.status.phase is Phase.CANCELLED else ()
    left = _seconds_left(view, environment)
    if left is not None and left <= 0 and view.declared:
        # Made anew it would run again. What it took up in the cluster goes, and the object stays as its own record.
        leftover, left = _stop(view), None
    elif left is not None and left <= 0:
        reference = Reference(view.identity.key.resource, view.identity.namespace, view.identity.name)
        return Decision((*leftover, Delete(reference, view.identity.uid)), reasons=("ttlSecondsAfterFinished is over",))
    before, after = written_fields(view, view.status), written_fields(view, ended_status(view))
    return Decision(leftover + statuses.write(view.identity, before, after), left, ("over",))


def _seconds_left(view: JobView, environment: Environment) -> float | None:
    if isinstance(view.spec, Problem) or view.spec.ttl_seconds_after_finished is None:
        return None
    if not view.status.completion_time:
        return None
    end = parse_timestamp(view.status.completion_time) + timedelta(seconds=view.spec.ttl_seconds_after_finished)
    return (end - environment.now).total_seconds()


def _stop(view: JobView) -> tuple[Action, ...]:
    job = view.batch_job
    if job is None or job.deleting or job.owner_uid != view.identity.uid:
        return ()
    return (Delete(_reference(view), job.uid),)


def _reference(view: JobView) -> Reference:
    return Reference(JOBS, view.identity.namespace, view.identity.name)


def _fail(view: JobView, failure: Failure, environment: Environment) -> Decision:
    state = State(Phase.FAILED, failed(failure.reason, failure.message), failure=failure)
    return _write(view, state, environment, _stop(view))


def _cancel(view: JobView, environment: Environment) -> Decision:
    failure = cancelled()
    state = State(Phase.CANCELLED, failed(failure.reason, failure.message), failure=failure)
    return _write(view, state, environment, _stop(view))


def _finished(view: JobView, job: BatchJob, environment: Environment) -> Decision:
    if job.failure is None:
        state = State(Phase.COMPLETE, succeeded("all results are stored"), started=job.created, ended=job.finished_at)
        return _write(view, state, environment)
    failure = failure_of(view, job.failure)
    says = failed(failure.reason, failure.message)
    state = State(Phase.FAILED, says, started=job.created, ended=job.finished_at, failure=failure)
    return _write(view, state, environment)


def _name_taken(view: JobView, job: BatchJob, environment: Environment) -> Decision:
    what = "is being deleted" if job.deleting else "is not this job's"
    says = underway("NameTaken", f"a batch Job {view.identity.name} {what}; the job waits until it is gone")
    return _write(view, State(Phase.PENDING, says), environment, requeue=LOOK_AGAIN_SECONDS)


def _work(view: JobView, spec: GenerationJobSpec, job: BatchJob, environment: Environment) -> Decision:
    if job.deleting:
        says = underway("WorkerStopping", "the batch Job is being deleted; a new one follows")
        return _write(view, State(Phase.PENDING, says), environment, requeue=LOOK_AGAIN_SECONDS)
    switch: tuple[Action, ...] = ()
    if job.queue:
        return _queued_by_kueue(view, spec, job, environment)
    stop = spec.suspend or (job.suspended and not (view.turn.admitted or routed(view, spec)))
    if stop != job.suspended and view.refusal is None:
        switch = (Suspend(_reference(view), job.uid, job.resource_version, stop),)
    if stop and not spec.suspend:
        return _held(view, environment)
    if spec.suspend:
        state = State(Phase.SUSPENDED, suspended("spec.suspend is true; finished items are kept"), started=job.created)
        return _write(view, state, environment, switch)
    return _run(view, job, environment, switch)


def _queued_by_kueue(view: JobView, spec: GenerationJobSpec, job: BatchJob, environment: Environment) -> Decision:
    """Kueue alone suspends and resumes a Job of its queue; who wants none to run deletes it."""
    if spec.suspend:
        return _write(view, _put_off(view), environment, _stop(view))
    if job.suspended:
        says = underway("QueuedInKueue", f"LocalQueue {job.queue} has not admitted the job")
        return _write(view, State(Phase.PENDING, says), environment)
    return _run(view, job, environment, ())


def _held(view: JobView, environment: Environment) -> Decision:
    if not view.turn.message:
        return Decision(reasons=("not every job was looked at yet",))
    return _wait(view, "Queued", view.turn.message, environment)


def _wait(view: JobView, reason: str, message: str, environment: Environment) -> Decision:
    """Says since when, in words that do not change: a clock in the status would be a write each second.

    Of one that has worked before nobody kept when it began to wait again.
    """
    before = conditions.find(view.status.conditions, ConditionType.RECONCILING)
    waits = before is not None and before.status == "True"
    since = before.last_transition_time if before and waits else timestamp(environment.now)
    told = message if view.status.start_time else f"{message} (waits since {since})"
    return _write(view, State(Phase.PENDING, underway(reason, told)), environment)


def _run(view: JobView, job: BatchJob, environment: Environment, switch: tuple[Action, ...]) -> Decision:
    retries = f", after {job.failed} failed starts of at most {BACKOFF_LIMIT}" if job.failed else ""
    if view.refusal:
        state = State(Phase.PENDING, underway(view.refusal.reason, view.refusal.message))
    elif any(pod.running for pod in view.pods) or job.ready:
        state = State(Phase.RUNNING, underway("Generating", f"the worker runs{retries}"), started=job.created)
    else:
        return _starting(view, environment, switch, retries)
    return _write(view, state, environment, switch)


def _all_stored(view: JobView) -> bool:
    items = view.status.items
    return items is not None and 0 < items.total == items.succeeded


def _starting(view: JobView, environment: Environment, switch: tuple[Action, ...], retries: str) -> Decision:
    made = view.batch_job.trouble if view.batch_job and not view.pods else None
    trouble = next((pod.trouble for pod in view.pods if pod.trouble), None) or made
    if trouble:
        says = underway(trouble.reason, trouble.message)
    elif _all_stored(view):
        says = underway("WorkerEnding", "every item is stored; the worker ends")
    elif retries:
        says = underway("WorkerStarting", f"the worker starts{retries}")
    else:
        says = beginning("WorkerStarting", "the worker starts")
    # Between two pods of a worker that has begun the job is still running.
    state = State(Phase.RUNNING if view.status.phase is Phase.RUNNING else Phase.PENDING, says)
    return _write(view, state, environment, switch)


def _begin(view: JobView, spec: GenerationJobSpec, environment: Environment) -> Decision:
    # Of a job that works already the platform may have taken its class away.
    if problem := _unknown_class(spec, environment):
        return _fail(view, problem, environment)
    if spec.suspend:
        return _write(view, _put_off(view), environment)
    if view.refusal:
        says = underway(view.refusal.reason, view.refusal.message)
        return _write(view, State(Phase.PENDING, says), environment)
    if spec.generation_class_name and any(pod.running for pod in view.pods):
        # Of an earlier batch Job: it may have calls under way, and knows alone how they end.
        says = underway("WorkerStopping", "an earlier worker of this name is still at its last calls")
        return _write(view, State(Phase.PENDING, says), environment, requeue=LOOK_AGAIN_SECONDS)
    match choose_for(spec, view.candidates, view.routes):
        case TooLarge() as excess:
            message = (
                f"spec.parameters: {excess.message}. Ask for fewer pixels or frames, or for a model with more memory"
            )
            return _fail(view, Failure(reason=Unsupported.reason, message=message), environment)
        case Waiting() as waiting:
            waits = _wait(view, waiting.reason, waiting.message, environment)
            # Classes are not watched.
            return waits if spec.generation_class_name is None else replace(waits, requeue_after=CLASS_SECONDS)
        case Chosen(reason=reason) if reason != labels.ROUTED and not (view.turn.admitted or view.queue):
            return _held(view, environment)
        case Chosen() as chosen:
            return _create(view, spec, chosen, environment)


def _routes(view: JobView) -> Routes | None:
    return view.routes if isinstance(view.routes, Routes) else None


def _put_off(view: JobView) -> State:
    """Suspended without a batch Job."""
    kept = "finished items are kept" if view.status.items else "the job has not begun"
    return State(Phase.SUSPENDED, suspended(f"spec.suspend is true; {kept}"))


def _create(view: JobView, spec: GenerationJobSpec, chosen: Chosen, environment: Environment) -> Decision:
    manifest = sealed(batch_job(view.identity, spec, chosen, environment.configuration, view.queue, _routes(view)))
    says = beginning("WorkerStarting", "the worker starts")
    if view.queue:
        says = beginning("QueuedInKueue", f"LocalQueue {view.queue[labels.KUEUE_QUEUE]} has not admitted the job")
    state = State(
        Phase.PENDING,
        says,
        ChosenBackend(model_deployment=chosen.name, selected_reason=chosen.reason),
    )
    return _write(view, state, environment, (Apply(manifest),))


def _write(
    view: JobView,
    state: State,
    environment: Environment,
    actions: tuple[Action, ...] = (),
    requeue: float | None = None,
) -> Decision:
    status = status_of(view, state, environment)
    before, after = written_fields(view, view.status), written_fields(view, status)
    written = statuses.write(view.identity, before, after)
    if written:
        written += statuses.announce(view.identity, view.status.conditions, status.conditions)
    if requeue is None and state.phase in TERMINAL:
        requeue = _ttl(view)
    reasons = tuple(f"{item.type}={item.status} {item.reason}" for item in status.conditions)
    return Decision(actions + written, requeue, reasons)


def _ttl(view: JobView) -> float | None:
    return None if isinstance(view.spec, Problem) else view.spec.ttl_seconds_after_finished
