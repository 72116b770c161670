"""From what people write (a job, its class, Providers) to what a choice is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from easel_api.errors import ERRORS, AmbiguousSubmit, BilledBadOutput, Cancelled, ContentBlocked, InvalidInput
from easel_api.generationclass import Allow, ClassBackend, GenerationClassSpec, OnBlocked, When
from easel_api.generationjob import GenerationJobSpec, OnUnsupported
from easel_api.offers import Honours, Offer, why_unknown
from easel_api.provider import ProviderSpec
from easel_inference.catalog.merging import keeps_of, offer_of

from .decision import Fallback
from .plan import Allowed, Backend
from .request import Request

STAYS = frozenset(error.reason for error in (AmbiguousSubmit, BilledBadOutput, Cancelled, ContentBlocked, InvalidInput))
"""Failures behind which an item goes nowhere else: it may be paid for already, was stopped, or is wrong in itself."""


@dataclass(frozen=True, slots=True)
class Account:
    """A Provider as a choice sees it."""

    spec: ProviderSpec
    offers: Mapping[str, Offer | None]
    """By model; None: nobody knows what it does."""


def account_of(spec: ProviderSpec) -> Account:
    """A Provider as a choice sees it."""
    offers = {offer.model: offer_of(spec, offer.model) for offer in spec.offers}
    return Account(spec, offers)


def request_of(spec: GenerationJobSpec, longest_prompt: int) -> Request:
    """What all items of a job ask for. `longest_prompt` is in characters, with its variables filled in."""
    parameters = spec.parameters
    seconds = parameters.frames / parameters.fps if parameters.frames and parameters.fps else None
    return Request(
        task=spec.task,
        width=parameters.width,
        height=parameters.height,
        seconds=seconds,
        scale=parameters.scale,
        set_parameters=_set(spec),
        prompt_characters=longest_prompt,
        quality=spec.quality,
        encoding=spec.resolved_format(),
        adapts=spec.on_unsupported is OnUnsupported.ADAPT,
    )


def _set(spec: GenerationJobSpec) -> frozenset[Honours]:
    """What a person wrote down; a default binds nobody."""
    named = spec.parameters.model_fields_set
    found = {
        honour
        for field, honour in (
            ("seeds", Honours.SEED),
            ("strength", Honours.STRENGTH),
            ("steps", Honours.STEPS),
            ("guidance_scale", Honours.GUIDANCE_SCALE),
            ("fps", Honours.FPS),
            ("frames", Honours.FRAMES),
            ("expand", Honours.EXPAND),
            ("scale", Honours.SCALE),
            ("mask_colours", Honours.MASK_COLOURS),
            ("end_seed", Honours.END_SEED),
            ("truncation", Honours.TRUNCATION),
        )
        if field in named and getattr(spec.parameters, field) is not None
    }
    if Honours.FPS in found:
        found.discard(Honours.FRAMES)  # the two together are a length, which an offer is asked for in seconds
    asked = (
        (any(prompt.negative for prompt in spec.prompts), Honours.NEGATIVE),
        (spec.quality is not None, Honours.QUALITY),
        (spec.reproducible, Honours.REPRODUCIBLE),
        (bool(spec.adapters), Honours.ADAPTERS),
    )
    return frozenset(found | {honour for is_set, honour in asked if is_set})


Accounts = Mapping[str, Account | str]
"""By the name that a job's namespace has for each Provider; a text says why the job may not go there."""


def backends_of(
    spec: GenerationClassSpec, own: Mapping[str, str], accounts: Accounts, namespace: str = ""
) -> list[Backend]:
    """Every backend of a class for a job of a namespace, in its order.

    `own` has for each ModelDeployment why it cannot, empty when it can.
    """
    return [
        replace(backend, entry=number)
        for number, entry in enumerate(spec.backends)
        for backend in _backends(entry, own, accounts, namespace)
    ]


def _backends(entry: ClassBackend, own: Mapping[str, str], accounts: Accounts, namespace: str) -> Iterable[Backend]:
    if entry.model_deployment is not None:
        name = entry.model_deployment.name
        unfit = own.get(name, "there is no such ModelDeployment in the job's namespace")
        yield Backend(name, own=True, unfit=unfit, quality=entry.quality, weight=entry.weight)
        return
    assert entry.provider is not None  # noqa: S101 - a rule of the class
    provider = entry.provider.named_in(namespace)
    account = accounts.get(provider, "there is no such Provider")
    if isinstance(account, str):
        yield Backend(provider, refusal=account)
        return
    for model in entry.models or [each.model for each in account.spec.offers]:
        said = next((each for each in account.spec.offers if each.model == model), None)
        offer = account.offers.get(model)
        yield Backend(
            f"{provider}/{model}",
            refusal=f"{model} {why_unknown(account.spec.family)}" if said and offer is None else "",
            region=account.spec.region or "",
            retention=keeps_of(account.spec, model).value,
            offer=offer,
            quality=said.quality if said else 0,
            limited=account.spec.spend.limited,
            weight=entry.weight,
        )


def budget_of(job: GenerationJobSpec, spec: GenerationClassSpec) -> Decimal | None:
    """What the job may spend, in US dollars: its own word before the class's. None: there is no limit."""
    return job.budget.max if job.budget else spec.defaults.budget


def allowed_by(allow: Allow, *, budgeted: bool = False) -> Allowed:
    """What a class lets a job go to that has a budget or none."""
    return Allowed(
        regions=frozenset(allow.regions) if allow.regions else None,
        retention=frozenset(keeps.value for keeps in allow.keeps) if allow.keeps else None,
        unknown_price=allow.unknown_price,
        budgeted=budgeted,
    )


def fallback_of(spec: GenerationClassSpec) -> Fallback:
    """When an item goes elsewhere."""
    told = spec.fallback
    failures = frozenset(ERRORS) - STAYS if When.BACKEND_FAILURE in told.when else frozenset()
    if told.on_content_blocked is OnBlocked.FALL_BACK:
        failures |= {ContentBlocked.reason}
    return Fallback(
        queue_wait_seconds=told.queue_wait_seconds,
        wake_seconds=told.wake_seconds,
        unavailable=When.GPU_UNAVAILABLE in told.when,
        failures=failures,
    )
