"""What jobs ask of their models, added up and counted, and what is remembered of each model that is scaled by demand.

It belongs to the reconcile loop's thread. Only a leader fills it: another one's view would be as good and counts twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from easel_operator.core.decision import Scaled
from easel_operator.core.resources import MODEL_DEPLOYMENTS, Key
from easel_operator.core.scaling.policy import Blind, Recommendation, Work
from easel_operator.core.scaling.work import JobWork
from easel_operator.ports.metrics import Metrics


@dataclass(slots=True)
class _Total:
    """The work of a model's jobs, kept as jobs come and go: adding it up for each of 10,000 would take as many squared."""

    jobs: int = 0
    items: int = 0
    measured: int = 0
    gpu_seconds: float = 0.0

    def add(self, work: JobWork, sign: int = 1) -> None:
        self.jobs += sign
        self.items += sign * work.items
        if work.gpu_seconds is not None:
            self.measured += sign
            self.gpu_seconds += sign * work.gpu_seconds
        if not self.measured:
            self.gpu_seconds = 0.0  # what rounding left over


class Demands:
    """The work of every model, the queries that shall be asked, and their answers."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._scaled: dict[Key, Scaled] = {}
        self._known: set[Key] = set()
        """Models that there are."""
        self.clear(())

    def clear(self, unseen: Iterable[Key]) -> None:
        """Begin anew, with jobs that are there and were not looked at yet."""
        for model in self._known:
            self._metrics.forget(model)
        self._unseen = set(unseen)
        self._jobs: dict[Key, JobWork] = {}
        self._requested: set[Key] = set()
        """Jobs whose work is counted as requested: once, though it is stopped or its model is measured anew in between."""
        self._totals: defaultdict[Key, _Total] = defaultdict(_Total)
        self._scaled, self._known = {}, set()
        self._answers: dict[str, float | Blind | None] = {}

    def put(self, job: Key, work: JobWork | None) -> Key | None:
        """What is left of a job. The model that must be looked at again because its work begins or ends, if one must."""
        inherited = job in self._unseen  # it came in under an earlier leader, who counted it
        self._unseen.discard(job)
        before = self._jobs.pop(job, None)
        touched = {_model(job, each) for each in (before, work) if each}
        worked = {model: bool(self._totals[model].jobs) for model in touched}
        if before:
            self._totals[_model(job, before)].add(before, -1)
        if work:
            self._jobs[job] = work
            self._totals[_model(job, work)].add(work)
        requested = 0.0
        if work and work.gpu_seconds is not None and job not in self._requested:
            self._requested.add(job)
            requested = 0.0 if inherited else work.gpu_seconds
        for model in touched & self._known:
            self._metrics.work(model, self.work(model), requested if work and model == _model(job, work) else 0.0)
        return next((model for model in touched if bool(self._totals[model].jobs) != worked[model]), None)

    def ended(self, job: Key) -> Key | None:
        """There is no such job any more; one of its name is another. The model that must be looked at again, if one must."""
        self._requested.discard(job)
        return self.put(job, None)

    def work(self, model: Key) -> Work:
        """Queued and running work of a model."""
        total = self._totals.get(model, _Total())
        return Work(
            items=total.items,
            gpu_seconds=total.gpu_seconds if total.measured == total.jobs else None,
            complete=not self._unseen,
        )

    def gone(self, model: Key) -> None:
        """There is no such model any more."""
        self._scaled.pop(model, None)
        self._known.discard(model)
        self._metrics.forget(model)

    def scaled(self, model: Key, scaled: Scaled | None) -> bool:
        """Remember a decision; whether Prometheus must be asked something that it was not asked before."""
        if model not in self._known:
            self._known.add(model)
            self._metrics.work(model, self.work(model), 0.0)
        before = self._scaled.pop(model, None)
        if scaled is None:
            if before:
                self._metrics.unscaled(model)
            return False
        self._scaled[model] = scaled
        self._metrics.scaled(model, scaled.replicas, scaled.ready, active=scaled.active)
        return scaled.query is not None and (before is None or before.query != scaled.query)

    def history(self, model: Key) -> tuple[Recommendation, ...]:
        """What the demand asked for before."""
        scaled = self._scaled.get(model)
        return scaled.history if scaled else ()

    def queries(self) -> dict[Key, str]:
        """What shall be asked, by model."""
        return {model: scaled.query for model, scaled in self._scaled.items() if scaled.query is not None}

    def answered(self, query: str, answer: float | Blind | None) -> None:
        """Remember what Prometheus said."""
        self._answers[query] = answer

    def demand(self, model: Key) -> float | Blind | None:
        """What Prometheus said last of a model's demand."""
        scaled = self._scaled.get(model)
        return self._answers.get(scaled.query) if scaled and scaled.query is not None else None


def _model(job: Key, work: JobWork) -> Key:
    return Key(MODEL_DEPLOYMENTS.kind, job.namespace, work.model)
