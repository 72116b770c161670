"""What to do about a Provider: say what of it can be used, let other namespaces use it, and close the accounts of jobs that are over.

Nothing is asked of the provider itself: a credential is the workers', who mount it, and a call would cost money.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from easel_api.conditions import ConditionStatus, ConditionType
from easel_api.errors import InvalidInput, ModelRetired
from easel_api.offers import Offer, State
from easel_api.provider import OfferStatus, ProviderSpec, ProviderStatus, Spend, SpendLimits
from easel_api.spend import close
from easel_operator.core import statuses
from easel_operator.core.actions import Action, SettleSpend
from easel_operator.core.conditions import Says, not_ready, ready, settle, stalled
from easel_operator.core.decision import Decision, Environment
from easel_operator.core.observed import Problem, ProviderView
from easel_operator.core.provider.spending import Spending, spending

from .sharing import shared

FIELDS = ("observed_generation", "conditions", "offers")


def decide(view: ProviderView, environment: Environment) -> Decision:
    """Who else may use it, then the status, then the ledger; the next look is at the next day of UTC, when a model may be gone."""
    if view.identity.deleting:
        return Decision(reasons=("deleting",))
    today = environment.now.date()
    # What cannot be read gives nothing and takes nothing.
    sharing = () if isinstance(view.spec, Problem) else shared(view, environment.configuration)
    status = _status(view, environment, refused=view.refusal is not None and bool(sharing))
    written = statuses.write(view.identity, statuses.fields(view.status, FIELDS), statuses.fields(status, FIELDS))
    if written:
        written += statuses.announce(view.identity, view.status.conditions, status.conditions)
    return Decision(
        # After a refusal the pass ends with the status; the rest is tried again at the next one. Of the Provider there is one
        # write at a time, each to the version that was read.
        (() if view.refusal else sharing) + (written or _closed(view, today)),
        _until_tomorrow(environment.now),
        tuple(f"{item.type}={item.status} {item.reason}" for item in status.conditions),
        spending=_spending(view, today),
    )


def _until_tomorrow(now: datetime) -> float:
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds() + 1


def _spending(view: ProviderView, today: date) -> Spending:
    limits = SpendLimits() if isinstance(view.spec, Problem) else view.spec.spend
    return spending(view.status.spend or Spend(), limits, filter(None, view.offers.values()), today)


def _closed(view: ProviderView, today: date) -> tuple[Action, ...]:
    spend = after = view.status.spend or Spend()
    for account in spend.accounts:
        if account.holder not in view.underway:
            after = close(after, account.holder, today)
    if after == spend:
        return ()
    body = after.model_dump(mode="json", by_alias=True, exclude_none=True)
    # A merge would leave a list that is empty now as it was.
    body.setdefault("accounts", [])
    return (SettleSpend(view.identity.key, view.identity.uid, view.identity.resource_version, body),)


def _status(view: ProviderView, environment: Environment, *, refused: bool) -> ProviderStatus:
    if isinstance(view.spec, Problem):
        said, offers = _unusable(view.spec.reason, view.spec.message), []
    else:
        offers = [
            _offer(view.spec, each.model, view.offers.get(each.model), environment.now.date())
            for each in view.spec.offers
        ]
        said = [
            _shared_by(each, view.spec, view, environment, refused=refused) for each in _says(view.spec, view, offers)
        ]
    return ProviderStatus(
        observed_generation=view.identity.generation,
        conditions=settle(said, view.status.conditions, view.identity.generation, environment.now),
        offers=offers,
    )


def _says(spec: ProviderSpec, view: ProviderView, offers: list[OfferStatus]) -> list[Says]:
    unknown = [each.model for each in spec.offers if view.offers.get(each.model) is None]
    if unknown:
        return _unusable(
            InvalidInput.reason,
            f"spec.offers: the catalogue knows no {', '.join(unknown)} of {spec.family.value}; name the tasks and prices of each",
        )
    gone = [each for each in offers if each.state is State.RETIRED]
    if len(gone) == len(offers):
        return [*_unusable(ModelRetired.reason, _told(gone)), _served("False", ModelRetired.reason, _told(gone))]
    elsewhere = [
        each for each in offers if each.state is not State.RETIRED and (each.message or "").startswith("is served in")
    ]
    if len(gone) + len(elsewhere) == len(offers):
        return [
            *_unusable(InvalidInput.reason, f"spec.region: {_told(elsewhere)}"),
            _served("False", InvalidInput.reason, _told(elsewhere)),
        ]
    usable = ready("Configured", f"{len(offers) - len(gone) - len(elsewhere)} of {len(offers)} offers can be used")
    if gone or elsewhere:
        return [
            usable,
            _served("False", ModelRetired.reason if gone else InvalidInput.reason, _told([*gone, *elsewhere])),
        ]
    going = [each for each in offers if each.state is State.RETIRING]
    return [usable, _served("True", "Retiring" if going else "Served", _told(going))]


def _shared_by(says: Says, spec: ProviderSpec, view: ProviderView, environment: Environment, *, refused: bool) -> Says:
    """With who else may use it, where it is usable at all."""
    if spec.namespace_selector is None or says.type is not ConditionType.READY or says.status != "True":
        return says
    if refused and view.refusal:
        told = f"what lets other namespaces use it was refused: {view.refusal.message}"
    elif not environment.configuration.providers_across_namespaces:
        told = "by its own namespace alone, since the platform shares no Providers (providers.acrossNamespaces)"
    else:
        told = f"also by {len(view.users)} other namespace{'' if len(view.users) == 1 else 's'}"
    return replace(says, message=f"{says.message}; {told}")


def _unusable(reason: str, message: str) -> list[Says]:
    return [not_ready(reason, message), stalled(reason, message)]


def _served(status: ConditionStatus, reason: str, message: str) -> Says:
    return Says(ConditionType.OFFERS_SERVED, status, reason, message)


def _told(offers: list[OfferStatus]) -> str:
    return "; ".join(f"{each.model} {each.message}" for each in offers)


def _offer(spec: ProviderSpec, model: str, offer: Offer | None, today: date) -> OfferStatus:
    if offer is None:
        return OfferStatus(model=model, state=State.ACTIVE, message="is not in the catalogue, and has no tasks")
    state, end = offer.state(today), offer.ends()
    then = f"; {offer.successor} follows it" if offer.successor else ""
    if state is State.RETIRED:
        return OfferStatus(model=model, state=state, message=f"is no longer served{then}")
    if offer.regions and spec.region not in offer.regions:
        return OfferStatus(model=model, state=state, message=f"is served in {', '.join(offer.regions)}"[:512])
    if state is State.RETIRING:
        return OfferStatus(model=model, state=state, message=f"is said to go on {end}{then}")
    return OfferStatus(model=model, state=state, message=None if offer.prices else "has no price that is known")
