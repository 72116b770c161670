"""From the cache, and the object itself when it was read anew, to the view that `decide` is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from easel_api.generationjob import GenerationJobSpec
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.validation import model_problems
from easel_operator.core import labels, parsing
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.model.fetching import fetch_name
from easel_operator.core.model.scalers import SCALERS
from easel_operator.core.observed import BatchJob, Candidate, JobView, ModelView, Pod, Problem, Trouble
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

    async def model(self, key: Key, raw: Raw) -> ModelView:
        """A ModelDeployment and its surroundings."""
        found = {resource: self._cache.get(resource, key.namespace, key.name) for resource in MODEL_CHILDREN}
        runtime, spec = found[DEPLOYMENTS], parsing.model_spec(raw, _model_problems)
        scales = not isinstance(spec, Problem) and spec.scaling is not None
        status = parsing.model_status(raw)
        found |= await self._scalers(key, spec, status)
        found[JOBS] = self._cache.get(JOBS, key.namespace, fetch_name(key.name))
        return ModelView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=status,
            children={resource.kind: parsing.child_of(child) for resource, child in found.items() if child},
            counts=parsing.counts_of(runtime) if runtime else None,
            pods=await self._prober.ask(self._pods(key), loads=scales),
            fetch_pods=self._pods(key, fetches=True),
            fetch_trouble=self._not_made(fetch["metadata"]["uid"]) if (fetch := found[JOBS]) else None,
            work=self._demands.work(key),
            demand=self._demands.demand(key),
            history=self._demands.history(key),
        )

    def job(self, key: Key, raw: Raw) -> JobView:
        """A GenerationJob and its surroundings."""
        spec = parsing.job_spec(raw, self._problems)
        return JobView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=parsing.job_status(raw),
            candidates=() if isinstance(spec, Problem) else tuple(self._candidates(key.namespace, spec)),
            turn=self._admissions.turn(key),
            queue=parsing.queue_labels(raw),
            declared=parsing.declared(raw),
            batch_job=self._batch_job(key),
            pods=self._pods(key),
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

    def _pods(self, key: Key, *, fetches: bool = False) -> tuple[Pod, ...]:
        return tuple(
            self._with_mounts(parsing.pod_of(pod))
            for pod in self._cache.pods(key)
            if (labels.MODEL_FETCH in pod["metadata"].get("labels", {})) == fetches
        )

    def _candidates(self, namespace: str, spec: GenerationJobSpec) -> Iterable[Candidate]:
        for backend in spec.backends:
            name = backend.model_deployment or ""
            yield parsing.candidate_of(name, self._cache.get(MODEL_DEPLOYMENTS, namespace, name))

    def _batch_job(self, key: Key) -> BatchJob | None:
        raw = self._cache.get(JOBS, key.namespace, key.name)
        job = parsing.batch_job_of(raw) if raw else None
        return job and replace(job, trouble=self._not_made(job.uid))

    def _not_made(self, uid: str) -> Trouble | None:
        return create_trouble(self._cache.events(uid))

    def _with_mounts(self, pod: Pod) -> Pod:
        """A missing Secret or volume keeps a pod from starting without a word in its status."""
        if pod.running or pod.trouble or pod.termination or pod.deleting:
            return pod
        return replace(pod, trouble=mount_trouble(self._cache.events(pod.uid)))


def _model_problems(spec: ModelDeploymentSpec) -> Iterable[str]:
    return map(str, model_problems(spec))
