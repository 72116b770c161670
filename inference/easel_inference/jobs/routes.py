"""A job's class, and its Providers as the API server has them, as a backend that chooses for each item."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, NotFound
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import TERMINAL, GenerationJob
from easel_api.provider import Account as LedgerAccount
from easel_api.provider import Provider
from easel_inference.artifacts.manifest import ManifestItem
from easel_inference.backends.base import Setup
from easel_inference.backends.families import client_of
from easel_inference.backends.replicas import ReplicaSet, ReplicaSettings
from easel_inference.routing.classes import Account, account_of, allowed_by, backends_of, fallback_of, request_of
from easel_inference.routing.plan import Candidate, Plan, plan
from easel_inference.routing.request import Resolved

from .access import Api, JobAccess
from .purses import ProviderName, Purse, read_provider
from .routed import Cloud, Outstanding, OwnModel, RoutedBackend
from .settings import Settings
from .wallet import Wallet
from .worker import Worker

PATIENT = ReplicaSettings(patience_seconds=float("inf"))
"""A class without a fallback has its own model waited for, whatever it takes; one with a fallback says when not."""
AUTHORITY = "ca.crt"
"""Key of a Provider's Secret."""


@contextlib.contextmanager
def routed(
    worker: Worker, missing: int, found: GenerationJob, api: Api, settings: Settings, stop: threading.Event
) -> Iterator[RoutedBackend]:
    """The backend of a job of a class."""
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
    made = plan(request, backends, spec.policy, today(), allowed_by(spec.allow))
    out = {item: _outstanding(record) for item, record in worker.outstanding.items()}
    paid = _paid_before(worker)
    clouds = {
        each.name: _cloud(each, providers, secrets)
        for each in (*made.candidates, *_candidates(out.values(), providers))
        if not each.own
    }
    with contextlib.ExitStack() as stack:
        purses = {
            each: _purse(api, found, each, providers[each], paid, out.values(), stop)
            for each in {cloud.provider for cloud in clouds.values()}
        }
        for purse in purses.values():
            stack.enter_context(purse)
        budget = found.spec.budget.max if found.spec.budget else spec.defaults.budget
        taken = sum((call.price for call in out.values()), sum(paid.values(), Decimal(0)))
        backend = RoutedBackend(
            plan=made,
            fallback=fallback_of(spec),
            own=_own(stack, endpoint, made),
            clouds=clouds,
            wallet=Wallet(budget, taken, purses),
            items=missing,
            ended=worker.ended,
            job=found.metadata.uid,
            outstanding=out,
        )
        try:
            yield backend
        finally:
            if stop.is_set() and is_over(JobAccess(api, settings.job)):
                backend.call_off()


def _mounted(provider: Provider, folder: Path) -> Account | str:
    """One that became ready after the worker was made has no Secret here."""
    if provider.spec.credentials.secret_ref is None or folder.is_dir():
        return account_of(provider.spec)
    return "it was not ready when the worker was made"


def today() -> date:
    """In UTC, as windows of spend are."""
    return datetime.now(UTC).date()


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
    return Outstanding(record.backend, record.remote or "", Decimal(record.cost or 0))


def _candidates(out: Iterable[Outstanding], providers: Mapping[str, Provider]) -> Iterator[Candidate]:
    """Of models that the class may have left meanwhile: their calls are asked on."""
    for call in out:
        provider, _, model = call.backend.partition("/")
        if provider in providers and any(offer.model == model for offer in providers[provider].spec.offers):
            yield Candidate(call.backend, own=False, resolved=Resolved(), price=call.price)


def is_over(access: JobAccess) -> bool:
    """Whether nobody will go on with the job: it is gone, cancelled, or has ended."""
    try:
        job = access.read()
    except NotFound:
        return True
    except EaselError:
        return False
    return job.spec.cancel or job.metadata.deletion_timestamp is not None or job.status.phase in TERMINAL


def _provider_of(backend: str) -> str:
    """`bedrock-west` of `bedrock-west/stability.stable-image-core-v1:1`, `west.platform` of one of another namespace."""
    return backend.partition("/")[0]


def _paid_before(worker: Worker) -> dict[str, Decimal]:
    """What the job has paid so far, by Provider, as its manifest says."""
    paid: dict[str, Decimal] = {}
    for record in worker.ledger.records() if worker.ledger.continues else ():
        if record.cost is not None and record.id not in worker.outstanding:
            name = _provider_of(record.backend)
            paid[name] = paid.get(name, Decimal(0)) + Decimal(record.cost or 0)
    return paid


def _purse(
    api: Api,
    found: GenerationJob,
    name: str,
    provider: Provider,
    paid: Mapping[str, Decimal],
    out: Iterable[Outstanding],
    stop: threading.Event,
) -> Purse:
    namespace = found.metadata.namespace or ""
    holder = LedgerAccount(holder=found.metadata.uid, job=f"{namespace}/{found.metadata.name}")
    home = ProviderName(provider.metadata.namespace or namespace, provider.metadata.name)
    purse = Purse(api, home, holder, today, stop)
    taken = sum((call.price for call in out if _provider_of(call.backend) == name), Decimal(0))
    purse.recover(paid.get(name, Decimal(0)), taken)
    return purse


def _own(stack: contextlib.ExitStack, endpoint: str, made: Plan) -> dict[str, OwnModel]:
    names = [each.name for each in made.candidates if each.own]
    if not names or not endpoint:
        return {}
    # Imported here: a job that goes to a provider alone needs no gRPC.
    from easel_inference.backends.triton import TritonBackend

    replicas = stack.enter_context(ReplicaSet(endpoint, PATIENT))
    return {
        name: OwnModel(TritonBackend(replicas, name), TritonBackend(replicas, name, waits=False), replicas.serves)
        for name in names
    }


def _cloud(candidate: Candidate, providers: Mapping[str, Provider], secrets: Path) -> Cloud:
    provider, _, model = candidate.name.partition("/")
    spec, folder = providers[provider].spec, secrets / provider
    authority = folder / AUTHORITY
    trusted = str(authority) if authority.is_file() else None
    setup = Setup(candidate.name, spec, model, candidate.resolved, folder, trusted)
    return Cloud(provider, partial(client_of, setup), spec.limits.max_concurrent, spec.limits.requests_per_minute)
