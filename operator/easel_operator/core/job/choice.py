"""Which backend makes a job: the first that exists, can do the task and has the adapters, a ready one preferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from easel_api.generationjob import GenerationJobSpec
from easel_api.shapes import name_of, parse, peak_of
from easel_api.tasks import TAKES, Task, may_do, needed_for
from easel_api.weights import in_mib
from easel_operator.core import labels
from easel_operator.core.conditions import MAX_MESSAGE
from easel_operator.core.observed import Candidate, Problem, Routes
from easel_operator.core.scaling.work import wanted_by

ROOM = MAX_MESSAGE - 96
"""Characters for what is wrong with a class; the rest is for what is said behind it."""


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


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Every backend is there and measured, and none has the memory."""

    message: str


def choose_for(
    spec: GenerationJobSpec, candidates: tuple[Candidate, ...], routes: Routes | Problem | None
) -> Chosen | Waiting | TooLarge:
    """The backend of a job with or without a class. With a Provider its worker starts at once, and the own model is woken meanwhile."""
    if spec.generation_class_name is None:
        return choose(spec, candidates)
    if not isinstance(routes, Routes):
        problem = routes or Problem("ClassNotFound", f"there is no GenerationClass {spec.generation_class_name}")
        return Waiting(problem.reason, f"{problem.message}; the job waits for it")
    if routes.providers:
        return Chosen(_own_of(spec, candidates), labels.ROUTED)
    faults = (*_absent(routes, candidates), *routes.unusable)
    if not any(_there(candidate) for candidate in candidates):
        told = _told(spec.generation_class_name, faults, ROOM)
        return Waiting("ModelNotFound" if candidates else "ProviderNotReady", f"{told}; the job waits for one of them")
    chosen = choose(spec, candidates)
    if isinstance(chosen, Waiting) and not chosen.name and faults:
        # None of those that are there will come by itself, so that what is wrong with the others counts.
        told = _told(spec.generation_class_name, faults, ROOM - len(chosen.message))
        return replace(chosen, message=f"{chosen.message}. {told}")
    return chosen


def _absent(routes: Routes, candidates: tuple[Candidate, ...]) -> Iterator[str]:
    """Own models of the class that are not there, each by its field."""
    by = {candidate.name: candidate for candidate in candidates}
    for position, entry in enumerate(routes.spec.backends):
        name = entry.model_deployment.name if entry.model_deployment else ""
        candidate = by.get(name)
        if name and not (candidate and _there(candidate)):
            found = (
                f"ModelDeployment {name} is being deleted"
                if candidate and candidate.found
                else f"there is no ModelDeployment {name} in this namespace"
            )
            yield f"spec.backends[{position}].modelDeployment: {found}; create it, or name another"


def _told(name: str, faults: tuple[str, ...], room: int) -> str:
    """As many as there is room for, one at least, so that what mends a backend is not cut off."""
    told = f"GenerationClass {name}: {'; '.join(faults[:1])}"
    for position, fault in enumerate(faults[1:], 1):
        if len(told) + len(fault) > room:
            return f"{told}; and {len(faults) - position} more"
        told += f"; {fault}"
    return told


def _own_of(spec: GenerationJobSpec, candidates: tuple[Candidate, ...]) -> str:
    """The team's own model that the job's items may go to: the first that is there, suits, and serves or can wake; else none."""
    able = (each for each in candidates if _there(each) and _suits(each, spec) and (each.desired or each.wakes))
    return next((each.name for each in able), "")


def choose(spec: GenerationJobSpec, candidates: tuple[Candidate, ...]) -> Chosen | Waiting | TooLarge:
    """The backend, or what the job waits for, or why it is of no use to wait."""
    excess = [_excess(candidate, spec) for candidate in candidates if _there(candidate)]
    if len(excess) == len(candidates) and all(excess):
        return TooLarge("; ".join(excess))
    for position, candidate in enumerate(candidates):
        if candidate.ready and _there(candidate) and candidate.tasks is not None and _suits(candidate, spec):
            return Chosen(candidate.name, _why(candidates[:position], spec))
    return _waiting(spec, candidates)


def _there(candidate: Candidate) -> bool:
    return candidate.found and not candidate.deleting


def _lacking(candidate: Candidate, spec: GenerationJobSpec) -> list[str]:
    """Names of the adapters that the job uses and this backend does not have."""
    return sorted({use.name for use in spec.adapters} - candidate.adapters)


def _suits(candidate: Candidate, spec: GenerationJobSpec) -> bool:
    return may_do(candidate.tasks, spec.task) and not _lacking(candidate, spec) and not _excess(candidate, spec)


def _excess(candidate: Candidate, spec: GenerationJobSpec) -> str:
    """By how much an item exceeds a model's memory, in words; empty when it fits, or while nobody can tell.

    The size of what grows out of an input is not known here. The engine knows it, and refuses it by the same rule.
    """
    memory, takes, wanted = candidate.memory, TAKES[spec.task], wanted_by(spec)
    from_input = takes.has_input and (wanted.width is None or wanted.height is None)
    if memory is None or not memory.peaks or from_input:
        return ""
    peaks = {parse(name): size for name, size in memory.peaks}
    shape = wanted.shape(next(iter(peaks)))
    needed = peak_of(peaks, shape)
    if memory.weights + needed <= memory.capacity:
        return ""
    return (
        f"{name_of(shape)} takes {in_mib(needed)} beside the {in_mib(memory.weights)} that ModelDeployment {candidate.name} "
        f"has in use, of {in_mib(memory.capacity)}"
    )


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
    able = [candidate for candidate in there if may_do(candidate.tasks, spec.task)]
    if not able:
        return _unable(spec.task, there)
    suitable = [candidate for candidate in able if _suits(candidate, spec)]
    # One that sleeps until a person wakes it is waited for when there is no other.
    comes = next((candidate for candidate in suitable if candidate.desired or candidate.wakes), None)
    if suitable:
        return _not_ready(comes or suitable[0])
    fitting = [candidate for candidate in able if not _excess(candidate, spec)]
    return _unequipped(spec, fitting) if fitting else _too_small(spec, able)


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


def _too_small(spec: GenerationJobSpec, able: list[Candidate]) -> Waiting:
    excess = "; ".join(_excess(candidate, spec) for candidate in able)
    return Waiting("DoesNotFit", f"{excess}; the job waits for a backend with more memory")


def _unequipped(spec: GenerationJobSpec, able: list[Candidate]) -> Waiting:
    lacks = "; ".join(f"{candidate.name} lacks {', '.join(_lacking(candidate, spec))}" for candidate in able)
    return Waiting(
        "AdapterMissing", f"no backend has every LoRA and ControlNet of spec.adapters: {lacks}; the job waits for one"
    )
