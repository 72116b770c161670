"""From the cache, and the object itself when it was read anew, to the view that `decide` is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from easel_api import conditions
from easel_api.conditions import ConditionType
from easel_api.errors import shortened
from easel_api.generationclass import ProviderBackend
from easel_api.generationjob import GenerationJobSpec
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.offers import Offer
from easel_api.provider import Account, ProviderSpec
from easel_api.spend import namespace_of
from easel_api.tasks import Task
from easel_api.validation import model_problems
from easel_operator.core import labels, parsing
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.conditions import listed
from easel_operator.core.configuration import Configuration
from easel_operator.core.model.fetching import fetch_name
from easel_operator.core.model.scalers import SCALERS
from easel_operator.core.observed import (
    BatchJob,
    Candidate,
    JobView,
    ModelView,
    Pod,
    Problem,
    ProviderView,
    Routes,
    Trouble,
    UsableProvider,
)
from easel_operator.core.pods import create_trouble, mount_trouble
from easel_operator.core.provider import sharing
from easel_operator.core.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    GENERATION_CLASSES,
    GENERATION_JOBS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    PROVIDERS,
    ROLE_BINDINGS,
    SERVICES,
    SHARING_KINDS,
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
Offers = Callable[[ProviderSpec, str], Offer | None]
"""What is known of a model of a Provider, by its id."""

NAMES = 240
"""Characters of models that a message names."""
SAID = 480
"""Characters of a Provider's own message in that of a job; in full it stands in the Provider's status."""

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
        offers: Offers,
        configuration: Configuration,
    ) -> None:
        self._cache, self._demands, self._admissions, self._prober = cache, demands, admissions, prober
        self._cluster, self._problems, self._offers = cluster, problems, offers
        self._namespaces, self._shares = configuration.namespaces, configuration.providers_across_namespaces

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

    async def job(self, key: Key, raw: Raw) -> JobView:
        """A GenerationJob and its surroundings."""
        spec, job = parsing.job_spec(raw, self._problems), self._batch_job(key)
        begins = not (isinstance(spec, Problem) or job or spec.suspend or spec.cancel or parsing.is_over(raw))
        routes = await self._routes(key.namespace, spec) if begins and not isinstance(spec, Problem) else None
        return JobView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=parsing.job_status(raw),
            candidates=() if isinstance(spec, Problem) else tuple(self._candidates(key.namespace, spec, routes, job)),
            turn=self._admissions.turn(key),
            queue=parsing.queue_labels(raw),
            declared=parsing.declared(raw),
            batch_job=job,
            pods=self._pods(key),
            routes=routes,
        )

    async def provider(self, key: Key, raw: Raw) -> ProviderView:
        """A Provider and the jobs that may pay by it."""
        spec = parsing.provider_spec(raw)
        offers = (
            {} if isinstance(spec, Problem) else {each.model: self._offers(spec, each.model) for each in spec.offers}
        )
        status = parsing.provider_status(raw)
        name = sharing.name_of(key.name)
        found = {each.kind: self._cache.get(each, key.namespace, name) for each in SHARING_KINDS}
        return ProviderView(
            identity=parsing.identity_of(key, raw),
            spec=spec,
            status=status,
            offers=offers,
            underway=await self._underway(key.namespace, status.spend.accounts if status.spend else []),
            users=() if isinstance(spec, Problem) else tuple(self._users(key.namespace, spec)),
            children={kind: parsing.child_of(child) for kind, child in found.items() if child},
        )

    def _users(self, namespace: str, spec: ProviderSpec) -> Iterable[str]:
        """Watched namespaces, beside the Provider's own, that its selector selects."""
        if self._shares and spec.namespace_selector is not None:
            for each in sorted(self._namespaces):
                labels_of = self._labels_of(each)
                if each != namespace and labels_of is not None and spec.namespace_selector.selects(labels_of):
                    yield each

    def _labels_of(self, namespace: str) -> dict[str, str] | None:
        """Of a Namespace; None when there is none."""
        raw = self._cache.get(NAMESPACES, "", namespace)
        return None if raw is None else dict(raw["metadata"].get("labels", {}))

    async def _underway(self, home: str, accounts: list[Account]) -> frozenset[str]:
        """Jobs with an account that are not over. Of a namespace that is not watched nobody knows: what is reserved there stays so."""
        known: set[str] = set()
        for account in accounts:
            namespace = namespace_of(account) or home
            if namespace not in self._namespaces or await self._is_underway(namespace, account):
                known.add(account.holder)
        return frozenset(known)

    async def _is_underway(self, namespace: str, account: Account) -> bool:
        """One is asked for before it is taken for gone: a watch may be late. One that is over is underway while a worker of it still ends calls."""
        name = account.job.rpartition("/")[2]
        if any(pod.running for pod in self._pods(Key(GENERATION_JOBS.kind, namespace, name))):
            return True
        seen = self._cache.get(GENERATION_JOBS, namespace, name)
        if seen is None or seen["metadata"]["uid"] != account.holder:
            seen = await self._cluster.get(Reference(GENERATION_JOBS, namespace, name)) if name else None
        return seen is not None and seen["metadata"]["uid"] == account.holder and not parsing.is_over(seen)

    async def _routes(self, namespace: str, spec: GenerationJobSpec) -> Routes | Problem | None:
        """What a job's class means here. Asked for and not watched: it is of the whole cluster, and counts until a worker is made."""
        name = spec.generation_class_name
        if name is None:
            return None
        raw = await self._cluster.get(Reference(GENERATION_CLASSES, "", name))
        if raw is None:
            return Problem("ClassNotFound", f"there is no GenerationClass {name}")
        found = parsing.class_spec(raw)
        if isinstance(found, Problem):
            return replace(found, message=f"GenerationClass {name}: {found.message}")
        seen = [
            (position, self._provider(namespace, each.provider, each.models, spec.task))
            for position, each in enumerate(found.backends)
            if each.provider
        ]
        return Routes(
            found,
            # A class may name one Provider several times, each time with other models.
            tuple(dict.fromkeys(each for _, each in seen if isinstance(each, UsableProvider))),
            tuple(f"spec.backends[{position}].{each}" for position, each in seen if isinstance(each, str)),
        )

    def _provider(self, namespace: str, name: ProviderBackend, models: list[str], task: Task) -> UsableProvider | str:
        """It, or the field below the backend with what is wrong there."""
        home, called = name.namespace or namespace, name.named_in(namespace)
        raw = self._cache.get(PROVIDERS, home, name.name)
        if obstacle := self._not_shared(namespace, home, name.name, raw) if home != namespace else "":
            return f"provider: Provider {called}: {obstacle}"
        if raw is None:
            there = "" if home != namespace else " in this namespace"
            return f"provider: there is no Provider {called}{there}; create it, or name another"
        spec, said = (
            parsing.provider_spec(raw),
            conditions.find(parsing.provider_status(raw).conditions, ConditionType.READY),
        )
        if isinstance(spec, Problem) or said is None or said.status != "True":
            why = f": {shortened(said.message, SAID)}" if said and said.message else ""
            return f"provider: Provider {called} is not ready{why}"
        able = [each.model for each in spec.offers if (offer := self._offers(spec, each.model)) and task in offer.tasks]
        if not (able if not models else set(able) & set(models)):
            return _no_model(called, [each.model for each in spec.offers], able, models, task)
        reference = spec.credentials.secret_ref
        return UsableProvider(called, reference.name if reference else "")

    def _not_shared(self, namespace: str, home: str, name: str, raw: Raw | None) -> str:
        """Why a Provider of another namespace is not this one's to use; empty when it is, or is not there."""
        if not self._shares:
            return f"the platform shares no Providers among namespaces (providers.acrossNamespaces); name one of namespace {namespace}"
        if home not in self._namespaces:
            return f"the operator does not watch namespace {home}; name a Provider of one that it watches"
        spec = parsing.provider_spec(raw) if raw else None
        if spec is None or isinstance(spec, Problem):
            return ""
        if namespace not in self._users(home, spec):
            return f"its namespaceSelector does not select namespace {namespace}; let it, or name another Provider"
        binding = self._cache.get(ROLE_BINDINGS, home, sharing.name_of(name))
        subjects = (binding or {}).get("subjects") or []
        if not any(each.get("namespace") == namespace for each in subjects):
            return f"the workers of namespace {namespace} have no rights to it yet"
        return ""

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

    def _candidates(
        self, namespace: str, spec: GenerationJobSpec, routes: Routes | Problem | None, job: BatchJob | None
    ) -> Iterable[Candidate]:
        names = [backend.model_deployment or "" for backend in spec.backends]
        if isinstance(routes, Routes):
            names = [each.model_deployment.name for each in routes.spec.backends if each.model_deployment]
        elif spec.generation_class_name and job and job.backend and job.backend.model_deployment:
            names = [job.backend.model_deployment]
        for name in names:
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


def _no_model(called: str, offered: list[str], able: list[str], models: list[str], task: Task) -> str:
    """Why no model that a class names of a Provider can be asked for the task, by the field below the backend."""
    if wrong := [each for each in models if each not in offered]:
        there = f" for {task.value}: {listed(able, NAMES)}" if able else f": {listed(offered, NAMES)}"
        return f"models: Provider {called} offers no {listed(wrong, NAMES)}; name what it offers{there}"
    if able:
        return f"models: {listed(models, NAMES)} of Provider {called} can do no {task.value}; name what can: {listed(able, NAMES)}"
    return (
        f"provider: no offer of Provider {called} can do {task.value}; "
        f"add one to its spec.offers that can, or name another Provider"
    )


def _model_problems(spec: ModelDeploymentSpec) -> Iterable[str]:
    return map(str, model_problems(spec))
