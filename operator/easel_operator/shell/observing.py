"""From the cache, and the object itself when it was read anew, to the view that `decide` is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from easel_api.errors import EaselError
from easel_api.generationjob import GenerationJobSpec
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.validation import model_problems
from easel_operator.core import parsing
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.decision import parse_timestamp
from easel_operator.core.model.scalers import SCALERS
from easel_operator.core.observed import BatchJob, Candidate, JobView, ModelView, Pod, Problem
from easel_operator.core.pods import create_trouble, mount_trouble
from easel_operator.core.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NETWORK_POLICIES,
    SERVICES,
    Key,
    Reference,
    Resource,
)
from easel_operator.ports.cluster import Cluster

from .cache import Cache
from .demands import Demands
from .probing import Prober

Raw = dict[str, Any]
SpecProblems = Callable[[GenerationJobSpec], Iterable[str]]

MODEL_CHILDREN = (DEPLOYMENTS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES)
STARTING = timedelta(seconds=3)
"""How long a worker may take to start before events are asked what keeps it."""
QUESTIONS, QUESTIONS_PER_SECOND = 20.0, 4.0
"""For events, at once and on average: the API server reads all events of a namespace for each, and many workers that start slowly,
because it is busy, would keep it busy."""
MAX_TOLD = 1000


class Observer:
    """Makes views."""

    def __init__(
        self,
        cache: Cache,
        demands: Demands,
        admissions: AdmissionQueue,
        prober: Prober,
        cluster: Cluster,
        problems: SpecProblems,
    ) -> None:
        self._cache, self._demands, self._admissions, self._prober = cache, demands, admissions, prober
        self._cluster, self._problems = cluster, problems
        self._told: dict[str, list[Raw]] = {}
        """What events said last, by the uid of what they are about."""
        self._questions, self._counted = QUESTIONS, datetime.min.replace(tzinfo=UTC)

    async def model(self, key: Key, raw: Raw) -> ModelView:
        """A ModelDeployment and its surroundings."""
        found = {resource: self._cache.get(resource, key.namespace, key.name) for resource in MODEL_CHILDREN}
        runtime, spec = found[DEPLOYMENTS], parsing.model_spec(raw, _model_problems)
        scales = not isinstance(spec, Problem) and spec.scaling is not None
        status = parsing.model_status(raw)
        found |= await self._scalers(key, spec, status)
        return ModelView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=status,
            children={resource.kind: parsing.child_of(child) for resource, child in found.items() if child},
            counts=parsing.counts_of(runtime) if runtime else None,
            pods=await self._prober.ask(self._pods(key), loads=scales),
            work=self._demands.work(key),
            demand=self._demands.demand(key),
            history=self._demands.history(key),
        )

    async def job(self, key: Key, raw: Raw, now: datetime) -> JobView:
        """A GenerationJob and its surroundings."""
        spec, pods = parsing.job_spec(raw, self._problems), self._pods(key)
        return JobView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=parsing.job_status(raw),
            candidates=() if isinstance(spec, Problem) else tuple(self._candidates(key.namespace, spec)),
            turn=self._admissions.turn(key),
            queue=parsing.queue_labels(raw),
            batch_job=await self._batch_job(key, pods, now),
            pods=tuple([await self._with_mounts(key.namespace, pod, now) for pod in pods]),
        )

    async def _scalers(
        self, key: Key, spec: ModelDeploymentSpec | Problem, status: ModelDeploymentStatus
    ) -> dict[Resource, Raw | None]:
        """Asked for and not watched: a cluster without KEDA has no such kind."""
        wanted = None if isinstance(spec, Problem) or spec.scaling is None else spec.scaling.engine
        engines = {engine for engine in (wanted, status.scaling and status.scaling.engine) if engine in SCALERS}
        return {
            SCALERS[engine]: await self._cluster.get(Reference(SCALERS[engine], key.namespace, key.name))
            for engine in engines
            if engine
        }

    def _pods(self, key: Key) -> tuple[Pod, ...]:
        return tuple(parsing.pod_of(pod) for pod in self._cache.pods(key))

    def _candidates(self, namespace: str, spec: GenerationJobSpec) -> Iterable[Candidate]:
        for backend in spec.backends:
            name = backend.model_deployment or ""
            yield parsing.candidate_of(name, self._cache.get(MODEL_DEPLOYMENTS, namespace, name))

    async def _batch_job(self, key: Key, pods: tuple[Pod, ...], now: datetime) -> BatchJob | None:
        raw = self._cache.get(JOBS, key.namespace, key.name)
        job = parsing.batch_job_of(raw) if raw else None
        if job is None or pods or job.suspended or job.deleting or job.finished_at or not _late(job.created, now):
            return job
        return replace(job, trouble=create_trouble(await self._events(key.namespace, job.uid, now)))

    async def _with_mounts(self, namespace: str, pod: Pod, now: datetime) -> Pod:
        """A missing Secret keeps a pod from starting without a word in its status."""
        begun = pod.running or pod.trouble or pod.termination or pod.deleting
        if begun or not _late(pod.created, now):
            return pod
        return replace(pod, trouble=mount_trouble(await self._events(namespace, pod.uid, now)))

    async def _events(self, namespace: str, uid: str, now: datetime) -> list[Raw]:
        """What was said last while it is too early to ask again, or without an answer; the job merely says less without."""
        passed = max(0.0, (now - self._counted).total_seconds())  # a clock may jump back
        self._questions, self._counted = min(QUESTIONS, self._questions + passed * QUESTIONS_PER_SECOND), now
        if self._questions < 1:
            return self._told.get(uid, [])
        self._questions -= 1
        try:
            found = await self._cluster.events_of(namespace, uid)
        except EaselError:
            return self._told.get(uid, [])
        self._told.pop(uid, None)
        if found:
            self._told[uid] = found
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return found


def _model_problems(spec: ModelDeploymentSpec) -> Iterable[str]:
    return map(str, model_problems(spec))


def _late(created: str, now: datetime) -> bool:
    return bool(created) and now - parse_timestamp(created) > STARTING
