"""Which backend makes a job: the first that exists, can do the task and has the adapters, a ready one preferred."""

from __future__ import annotations

from dataclasses import dataclass

from easel_api.generationjob import GenerationJobSpec
from easel_api.tasks import Task, needed_for
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
    name: str = ""
    """The backend that it waits for, if one may come."""


def choose(spec: GenerationJobSpec, candidates: tuple[Candidate, ...]) -> Chosen | Waiting:
    """The backend, or what the job waits for."""
    for position, candidate in enumerate(candidates):
        if candidate.ready and _there(candidate) and candidate.tasks is not None and _suits(candidate, spec):
            return Chosen(candidate.name, _why(candidates[:position], spec))
    return _waiting(spec, candidates)


def _there(candidate: Candidate) -> bool:
    return candidate.found and not candidate.deleting


def _may_do(candidate: Candidate, task: Task) -> bool:
    """Also while nobody can tell."""
    return candidate.tasks is None or task in candidate.tasks


def _lacking(candidate: Candidate, spec: GenerationJobSpec) -> list[str]:
    """Names of the adapters that the job uses and this backend does not have."""
    return sorted({use.name for use in spec.adapters} - candidate.adapters)


def _suits(candidate: Candidate, spec: GenerationJobSpec) -> bool:
    return _may_do(candidate, spec.task) and not _lacking(candidate, spec)


def _why(passed_over: tuple[Candidate, ...], spec: GenerationJobSpec) -> str:
    if not passed_over:
        return "WarmReplica"
    first = passed_over[0]
    if not _there(first):
        return "PreferredNotFound"
    return "PreferredNotReady" if _suits(first, spec) else "PreferredUnsupported"


def _waiting(spec: GenerationJobSpec, candidates: tuple[Candidate, ...]) -> Waiting:
    """Of the backends that may come to serve the job, the first one's reason; else why none of them can."""
    there = [candidate for candidate in candidates if _there(candidate)]
    if not there:
        names = ", ".join(candidate.name for candidate in candidates)
        return Waiting("ModelNotFound", f"there is no ModelDeployment {names} in this namespace; the job waits for it")
    able = [candidate for candidate in there if _may_do(candidate, spec.task)]
    if not able:
        return _unable(spec.task, there)
    suitable = [candidate for candidate in able if not _lacking(candidate, spec)]
    # One that sleeps until a person wakes it is waited for when there is no other.
    comes = next((candidate for candidate in suitable if candidate.desired or candidate.wakes), None)
    return _not_ready(comes or suitable[0]) if suitable else _unequipped(spec, able)


def _not_ready(candidate: Candidate) -> Waiting:
    if candidate.desired == 0 and candidate.wakes:
        return Waiting("ModelWaking", f"ModelDeployment {candidate.name} sleeps; this job wakes it", candidate.name)
    if candidate.desired == 0:
        return Waiting(
            "ModelScaledToZero", f"ModelDeployment {candidate.name} is scaled to zero; set its spec.replicas to wake it"
        )
    if not candidate.reason:
        message = f"ModelDeployment {candidate.name} has not been reconciled yet"
        return Waiting("ModelNotReady", message, candidate.name)
    since = f" since {candidate.since}" if candidate.since else ""
    detail = f" ({candidate.message})" if candidate.message else ""
    message = f"ModelDeployment {candidate.name} is not ready{since}: {candidate.reason}{detail}"
    return Waiting("ModelNotReady", message, candidate.name)


def _unable(task: Task, there: list[Candidate]) -> Waiting:
    offers = "; ".join(
        f"{candidate.name} does {', '.join(sorted(candidate.tasks or ())) or 'nothing'}" for candidate in there
    )
    return Waiting(
        "TaskUnsupported",
        f"no backend can do {task.value}, which needs {needed_for(task)}: {offers}; the job waits for one that can",
    )


def _unequipped(spec: GenerationJobSpec, able: list[Candidate]) -> Waiting:
    lacks = "; ".join(f"{candidate.name} lacks {', '.join(_lacking(candidate, spec))}" for candidate in able)
    return Waiting(
        "AdapterMissing", f"no backend has every LoRA and ControlNet of spec.adapters: {lacks}; the job waits for one"
    )
