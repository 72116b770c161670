"""Which model a job asks for work, and how much."""

from __future__ import annotations

from easel_api.generationjob import GenerationJobSpec
from easel_operator.core import labels
from easel_operator.core.admission import Seat
from easel_operator.core.configuration import Admission
from easel_operator.core.decision import parse_timestamp
from easel_operator.core.observed import JobView, Problem
from easel_operator.core.scaling.work import JobWork, gpu_seconds, items_left

from .choice import Chosen, TooLarge, choose_for


def work_of(view: JobView) -> JobWork | None:
    """What is left of a job that may work now; None when it is over, stopped, or no model can come to serve it.

    It is the model's whose batch Job there is, else the one's that the job starts on or waits for.
    """
    spec = view.spec
    if view.identity.deleting or isinstance(spec, Problem) or spec.suspend or spec.cancel:
        return None
    model = _model(view, spec)
    items = items_left(spec, view.status.items)
    if model is None or not items:
        return None
    return JobWork(model, items, _gpu_seconds(view, spec, model, items))


def seat_of(view: JobView, rules: Admission, *, over: bool) -> Seat | None:
    """What a job asks of the admission queue: a place, while it may work; None for one that Kueue admits, or that is stopped."""
    spec, job = view.spec, view.batch_job
    if (
        view.identity.deleting
        or isinstance(spec, Problem)
        or view.queue
        or routed(view, spec)
        or (not over and (spec.suspend or spec.cancel))
    ):
        return None
    model = view.status.backend.model_deployment if over and view.status.backend else _model(view, spec)
    if not model or (over and not view.status.start_time):
        return None
    started = (view.status.start_time if over else None) or (job.created if job and not job.suspended else None)
    return Seat(
        model=model,
        priority=rules.priority_of(spec.priority_class_name),
        created=view.identity.created,
        gpu_seconds=_gpu_seconds(view, spec, model, spec.item_count()) or 0.0,
        begun=parse_timestamp(started) if started else None,
        over=over,
    )


def routed(view: JobView, spec: GenerationJobSpec) -> bool:
    """Whether its items may go to a provider: a worker of such waits for no place at a model."""
    if spec.generation_class_name is None:
        return False
    job, told = view.batch_job, view.status.backend
    if job is not None:
        return job.backend is not None and job.backend.selected_reason == labels.ROUTED
    if view.status.completion_time:
        return told is not None and told.selected_reason == labels.ROUTED
    chosen = choose_for(spec, view.candidates, view.routes)
    return isinstance(chosen, Chosen) and chosen.reason == labels.ROUTED


def _gpu_seconds(view: JobView, spec: GenerationJobSpec, model: str, items: int) -> float | None:
    """Of so many items on a model; None while nobody has measured it, or when it is not one of the job's."""
    costs = next((candidate.costs for candidate in view.candidates if candidate.name == model), None)
    return gpu_seconds(spec, items, costs) if costs else None


def _model(view: JobView, spec: GenerationJobSpec) -> str | None:
    job = view.batch_job
    if job is None:
        chosen = choose_for(spec, view.candidates, view.routes)
        return None if isinstance(chosen, TooLarge) else chosen.name or None
    if job.owner_uid != view.identity.uid or job.deleting or job.complete or job.failure:
        return None
    return (job.backend.model_deployment or None) if job.backend else None
