"""A job's class, and its Providers as the API server has them, as a backend that chooses for each item."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, NotFound
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import TERMINAL, GenerationJob
from easel_api.provider import Account as LedgerAccount
from easel_api.provider import Provider
from easel_api.tasks import TAKES
from easel_inference.artifacts.manifest import ItemState, ManifestItem
from easel_inference.backends.base import Indexer, Setup
from easel_inference.backends.families import client_of
from easel_inference.backends.replicas import ReplicaSet
from easel_inference.routing.classes import (
    Account,
    account_of,
    allowed_by,
    backends_of,
    budget_of,
    fallback_of,
    request_of,
)
from easel_inference.routing.plan import Candidate, Plan, expected_in_all, plan
from easel_inference.routing.request import Resolved

from .access import Api, JobAccess
from .insights import Indexing, is_looked_at
from .purses import ProviderName, Purse, read_provider
from .routed import Cloud, Outstanding, OwnModel, RoutedBackend
from .settings import Settings
from .wallet import NONE, Wallet, provider_of
from .worker import Worker

SAYS_SECONDS = 5.0
"""How long the operator may take to say that a job has ended."""
AUTHORITY = "ca.crt"
"""Key of a Provider's Secret."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Who makes the items of a job, and who looks at its clips behind that."""

    backend: RoutedBackend
    insights: Indexing


@contextlib.contextmanager
def routed(
    worker: Worker, missing: int, found: GenerationJob, api: Api, settings: Settings, stop: threading.Event
) -> Iterator[Routes]:
    """The backend of a job of a class, and its indexers."""
    endpoint, secrets, spec = settings.endpoint, settings.providers, settings.generation_class
    if spec is None:
        raise EnvironmentFault("this variable is not set", where="EASEL_CLASS", fix="The operator sets it")
    namespace = settings.job.namespace
    seen = _providers(api, namespace, spec)
    providers = {name: each for name, each in seen.items() if isinstance(each, Provider)}
    accounts = {name: each if isinstance(each, str) else _mounted(each, secrets / name) for name, each in seen.items()}
    chosen = endpoint.partition(".")[0].partition(":")[0]
    if endpoint and found.status.backend and found.status.backend.model_deployment:
        chosen = found.status.backend.model_deployment
    own = {
        entry.model_deployment.name: ""
        if entry.model_deployment.name == chosen
        else "it is not the own model that the job was given"
        for entry in spec.backends
        if entry.model_deployment
    }
    request = request_of(found.spec, max(len(item.request.prompt) for item in worker.items))
    backends = backends_of(spec, own, accounts, namespace)
    budget = budget_of(found.spec, spec)
    made = plan(request, backends, spec.policy, api.today(), allowed_by(spec.allow, budgeted=budget is not None))
    begun = [each.cost for each in worker.ledger.records() if each.cost is not None] if worker.ledger.continues else []
    worker.tally.expect(expected_in_all(made, missing - len(worker.outstanding), begun))
    out = {item: _outstanding(record) for item, record in worker.outstanding.items()}
    paid, looked_at = _paid_before(worker), _taken_for_insights(worker)
    clouds = {
        each.name: _cloud(each, providers, secrets)
        for each in (*made.candidates, *_candidates(out.values(), providers))
        if not each.own
    }
    with contextlib.ExitStack() as stack:
        purses = {
            each: _purse(api, found, each, providers[each], paid, _taken(each, out.values(), looked_at), stop)
            for each in {cloud.provider for cloud in clouds.values()}
        }
        for purse in purses.values():
            stack.enter_context(purse)
        open_ = [call.price or NONE for call in out.values() if not call.settled]
        known = (*open_, *paid.values(), *looked_at.values())
        wallet = Wallet(budget, sum(known, Decimal(0)), purses, len(open_))
        backend = RoutedBackend(
            plan=made,
            fallback=fallback_of(spec),
            own=_own(stack, endpoint, made),
            clouds=clouds,
            wallet=wallet,
            items=missing,
            ended=worker.ended,
            job=found.metadata.uid,
            outstanding=out,
        )
        indexers = {
            each: _indexer(each, providers[each], secrets)
            for each in purses
            if TAKES[found.spec.task].video and providers[each].spec.video_indexer
        }
        try:
            yield Routes(backend, worker.insights(wallet, indexers, stop))
        finally:
            if stop.is_set() and is_over(JobAccess(api, settings.job), timed=found.spec.deadline_seconds is not None):
                backend.call_off()


def _mounted(provider: Provider, folder: Path) -> Account | str:
    """One that became ready after the worker was made has no Secret here."""
    if provider.spec.credentials.secret_ref is None or folder.is_dir():
        return account_of(provider.spec)
    return "it was not ready when the worker was made"


def _providers(api: Api, namespace: str, spec: GenerationClassSpec) -> dict[str, Provider | str]:
    """Providers of the class by the name that the job's namespace has for each; one of another may not be for it any more."""
    found: dict[str, Provider | str] = {}
    for each in {entry.provider for entry in spec.backends if entry.provider}:
        name, home = each.named_in(namespace), each.namespace or namespace
        try:
            found[name] = read_provider(api, ProviderName(home, each.name))
        except NotFound:
            continue  # the plan says so
        except AuthConfig:
            if home == namespace:
                raise
            found[name] = f"the workers of namespace {namespace} have no rights to it"
    return found


def _outstanding(record: ManifestItem) -> Outstanding:
    settled = record.state is ItemState.STORING
    return Outstanding(record.backend, record.remote or "", Decimal(record.cost) if record.cost else None, settled)


def _candidates(out: Iterable[Outstanding], providers: Mapping[str, Provider]) -> Iterator[Candidate]:
    """Of models that the class may have left meanwhile: their calls are asked on."""
    for call in out:
        provider, _, model = call.backend.partition("/")
        if provider in providers and any(offer.model == model for offer in providers[provider].spec.offers):
            yield Candidate(call.backend, own=False, resolved=Resolved(), price=call.price)


def is_over(access: JobAccess, *, timed: bool) -> bool:
    """Whether nobody will go on with the job: it is gone, cancelled, or has ended.

    A job that is `timed` may be stopped for its time, and the operator says so a moment later.
    """
    until = time.monotonic() + (SAYS_SECONDS if timed else 0)
    while True:
        try:
            job = access.read()
        except NotFound:
            return True
        except EaselError:
            return False
        if job.spec.cancel or job.metadata.deletion_timestamp is not None or job.status.phase in TERMINAL:
            return True
        if time.monotonic() >= until:
            return False
        threading.Event().wait(0.5)


def _paid_before(worker: Worker) -> dict[str, Decimal]:
    """What the job has paid so far, by Provider, as its manifest says."""
    paid: dict[str, Decimal] = {}
    for record in worker.ledger.records() if worker.ledger.continues else ():
        name, insights = provider_of(record.backend), record.insights
        called = worker.outstanding.get(record.id)
        if record.cost is not None and (called is None or called.state is ItemState.STORING):
            paid[name] = paid.get(name, Decimal(0)) + Decimal(record.cost or 0)
        if insights is not None and not is_looked_at(record):
            paid[name] = paid.get(name, Decimal(0)) + Decimal(insights.cost)
    return paid


def _taken_for_insights(worker: Worker) -> dict[str, Decimal]:
    """What the job has taken for clips that are still looked at, by Provider."""
    taken: dict[str, Decimal] = {}
    for record in worker.ledger.records() if worker.ledger.continues else ():
        if record.insights is not None and is_looked_at(record):
            name = provider_of(record.backend)
            taken[name] = taken.get(name, Decimal(0)) + Decimal(record.insights.cost)
    return taken


def _taken(name: str, out: Iterable[Outstanding], looked_at: Mapping[str, Decimal]) -> Decimal:
    calls = (call.price or NONE for call in out if provider_of(call.backend) == name and not call.settled)
    return sum(calls, looked_at.get(name, Decimal(0)))


def _purse(
    api: Api,
    found: GenerationJob,
    name: str,
    provider: Provider,
    paid: Mapping[str, Decimal],
    out: Decimal,
    stop: threading.Event,
) -> Purse:
    namespace = found.metadata.namespace or ""
    holder = LedgerAccount(holder=found.metadata.uid, job=f"{namespace}/{found.metadata.name}")
    home = ProviderName(provider.metadata.namespace or namespace, provider.metadata.name)
    purse = Purse(api, home, holder, api.today, stop)
    purse.recover(paid.get(name, Decimal(0)), out)
    return purse


def _own(stack: contextlib.ExitStack, endpoint: str, made: Plan) -> dict[str, OwnModel]:
    names = [each.name for each in made.candidates if each.own]
    if not names or not endpoint:
        return {}
    # Imported here: a job that goes to a provider alone needs no gRPC.
    from easel_inference.backends.triton import TritonBackend

    replicas = stack.enter_context(ReplicaSet(endpoint))
    return {name: OwnModel(TritonBackend(replicas, name, waits=False), replicas.serves) for name in names}


def _cloud(candidate: Candidate, providers: Mapping[str, Provider], secrets: Path) -> Cloud:
    provider, _, model = candidate.name.partition("/")
    setup = _setup(candidate.name, providers[provider], model, candidate.resolved, secrets / provider)
    limits = providers[provider].spec.limits
    return Cloud(provider, partial(client_of, setup), limits.max_concurrent, limits.requests_per_minute)


def _indexer(name: str, provider: Provider, secrets: Path) -> Indexer:
    # Imported here: a job without clips that are looked at needs none of it.
    from easel_inference.backends.video_indexer import client

    setup = _setup(name, provider, provider.spec.offers[0].model, Resolved(), secrets / name)
    return client(setup)


def _setup(name: str, provider: Provider, model: str, resolved: Resolved, folder: Path) -> Setup:
    authority = folder / AUTHORITY
    return Setup(name, provider.spec, model, resolved, folder, str(authority) if authority.is_file() else None)
