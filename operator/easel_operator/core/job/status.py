"""What a GenerationJob's status says: the operator's half of it.

`Complete`, `Failed` and `Suspended` are those of a batch Job; `Ready`, `Reconciling` and `Stalled` tell tools that wait
by kstatus the same: done is `Ready=True`, failed is `Stalled=True`, all else is on its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from easel_api.conditions import Condition, ConditionType
from easel_api.generationjob import (
    TERMINAL,
    ChosenBackend,
    Failure,
    GenerationJobSpec,
    GenerationJobStatus,
    Phase,
)
from easel_operator.core import statuses
from easel_operator.core.conditions import Says, not_ready, ready, reconciling, settle, stalled, unknown
from easel_operator.core.decision import Environment, timestamp
from easel_operator.core.observed import JobView, Problem

FIELDS = ("observed_generation", "phase", "conditions", "backend", "start_time", "completion_time")
UNTIL_A_WORKER_RAN = ("done", "last_failure")
"""Fields that become the worker's with its first report."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a job is; `status_of` adds what does not depend on it."""

    phase: Phase
    says: tuple[Says, ...]
    backend: ChosenBackend | None = None
    started: str = ""
    ended: str = ""
    failure: Failure | None = None


def beginning(reason: str, message: str) -> tuple[Says, ...]:
    """The first thing said of a job that can start at once."""
    return unknown(reason, message), reconciling(reason, message)


def underway(reason: str, message: str) -> tuple[Says, ...]:
    """Not there yet: it works or it waits."""
    return not_ready(reason, message), reconciling(reason, message)


def suspended(message: str) -> tuple[Says, ...]:
    """Stopped until a person says otherwise."""
    return not_ready("Suspended", message), Says(ConditionType.SUSPENDED, "True", "Suspended", message)


def succeeded(message: str) -> tuple[Says, ...]:
    """Done."""
    return ready("Complete", message), Says(ConditionType.COMPLETE, "True", "Complete", message)


def failed(reason: str, message: str) -> tuple[Says, ...]:
    """Over without success."""
    return (
        not_ready(reason, message),
        stalled(reason, message),
        Says(ConditionType.FAILED, "True", reason, message),
    )


def worker_ran(view: JobView) -> bool:
    """Whether a worker has reported; from then on progress and failures are its to tell."""
    return view.status.items is not None


def status_of(view: JobView, state: State, environment: Environment) -> GenerationJobStatus:
    """The operator's half of the status."""
    before = view.status
    conditions = settle(state.says, before.conditions, view.identity.generation, environment.now)
    ours = not worker_ran(view)
    return GenerationJobStatus(
        observed_generation=view.identity.generation,
        phase=state.phase,
        conditions=conditions,
        backend=state.backend or _backend(view) or before.backend,
        start_time=before.start_time or state.started or None,
        completion_time=_completion(state, environment),
        done=_done(view) if ours else "",
        last_failure=state.failure if ours else None,
    )


def _backend(view: JobView) -> ChosenBackend | None:
    """What its batch Job was made for; the status may never have been written."""
    job = view.batch_job
    return job.backend if job is not None and job.owner_uid == view.identity.uid else None


def _completion(state: State, environment: Environment) -> str | None:
    if state.phase not in TERMINAL:
        return None
    return state.ended or timestamp(environment.now)


def _done(view: JobView) -> str:
    if isinstance(view.spec, Problem):
        return ""
    spec: GenerationJobSpec = view.spec
    return f"0/{spec.item_count()}"


def ended_status(view: JobView) -> GenerationJobStatus:
    """The status of a job that is over: final, but for the generation that it was seen for."""
    generation = view.identity.generation
    conditions = [
        Condition(**(item.model_dump() | {"observed_generation": generation})) for item in view.status.conditions
    ]
    return view.status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def written_fields(view: JobView, status: GenerationJobStatus) -> dict[str, Any]:
    """The fields of a status that are the operator's to write."""
    names = FIELDS if worker_ran(view) else FIELDS + UNTIL_A_WORKER_RAN
    return statuses.fields(status, names)
