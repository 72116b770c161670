"""Which backend makes a job: the first that exists and can do the task, a ready one preferred."""

from __future__ import annotations

from dataclasses import dataclass

from easel_api.tasks import Task
from easel_operator.core.observed import Candidate


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backend, and why this one."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """No backend yet, and why."""

    reason: str
    message: str


def choose(task: Task, candidates: tuple[Candidate, ...]) -> Chosen | Waiting:
    """The backend, or what the job waits for."""
    for position, candidate in enumerate(candidates):
        if candidate.ready and can(candidate, task):
            return Chosen(candidate.name, _why(candidates[:position], task))
    return _waiting(task, candidates)


def can(candidate: Candidate, task: Task) -> bool:
    """Whether it is there and known to do the task."""
    return candidate.found and not candidate.deleting and candidate.tasks is not None and task in candidate.tasks


def _why(passed_over: tuple[Candidate, ...], task: Task) -> str:
    if not passed_over:
        return "WarmReplica"
    first = passed_over[0]
    if not first.found or first.deleting:
        return "PreferredNotFound"
    return "PreferredNotReady" if can(first, task) or first.tasks is None else "PreferredUnsupported"


def _waiting(task: Task, candidates: tuple[Candidate, ...]) -> Waiting:
    """Of the backends that may come to serve the job, the first one's reason; else why none of them can."""
    there = [candidate for candidate in candidates if candidate.found and not candidate.deleting]
    if not there:
        names = ", ".join(candidate.name for candidate in candidates)
        return Waiting("ModelNotFound", f"there is no ModelDeployment {names} in this namespace; the job waits for it")
    able = [candidate for candidate in there if candidate.tasks is None or task in candidate.tasks]
    return _not_ready(able[0]) if able else _unable(task, there)


def _not_ready(candidate: Candidate) -> Waiting:
    if candidate.desired == 0:
        return Waiting(
            "ModelScaledToZero", f"ModelDeployment {candidate.name} is scaled to zero; set its spec.replicas to wake it"
        )
    if not candidate.reason:
        return Waiting("ModelNotReady", f"ModelDeployment {candidate.name} has not been reconciled yet")
    since = f" since {candidate.since}" if candidate.since else ""
    detail = f" ({candidate.message})" if candidate.message else ""
    return Waiting("ModelNotReady", f"ModelDeployment {candidate.name} is not ready{since}: {candidate.reason}{detail}")


def _unable(task: Task, there: list[Candidate]) -> Waiting:
    offers = "; ".join(
        f"{candidate.name} does {', '.join(sorted(candidate.tasks or ())) or 'nothing'}" for candidate in there
    )
    return Waiting("TaskUnsupported", f"no backend can do {task.value}: {offers}; the job waits for one that can")
