"""What to do about a Provider: say what of it can be used, let other namespaces use it, and close the accounts of jobs that are over.

Nothing is asked of the provider itself: a credential is the workers', who mount it, and a call would cost money.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum, auto

from easel_api.conditions import ConditionStatus, ConditionType
from easel_api.errors import InvalidInput, ModelRetired
from easel_api.offers import CODED, Offer, State, why_unknown
from easel_api.provider import OfferStatus, ProviderSpec, ProviderStatus, Spend, SpendLimits
from easel_api.spend import close
from easel_operator.core import statuses
from easel_operator.core.actions import Action, SettleSpend
from easel_operator.core.conditions import Says, listed, not_ready, ready, settle, stalled
from easel_operator.core.decision import Decision, Environment
from easel_operator.core.observed import Problem, ProviderView
from easel_operator.core.provider.spending import Spending, spending

from .sharing import shared

FIELDS = ("observed_generation", "conditions", "offers")
NAMES = 400
"""Characters of names in a condition; status.offers has all."""
LONGEST = 512
"""Characters of an offer's message, as the field has it."""


class _Unfit(Enum):
    """Why no job can use an offer."""

    UNKNOWN = auto()
    """Neither the catalogue nor the Provider says what it does."""
    IDLE = auto()
    """It does no task of a job."""
    ELSEWHERE = auto()
    """It is served in other regions."""
    GONE = auto()


@dataclass(frozen=True, slots=True)
class _Seen:
    """An offer today."""

    status: OfferStatus
    unfit: _Unfit | None = None


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
        said, seen = _unusable(view.spec.reason, view.spec.message), []
    else:
        seen = [
            _offer(view.spec, each.model, view.offers.get(each.model), environment.now.date())
            for each in view.spec.offers
        ]
        said = [_shared_by(each, view.spec, view, environment, refused=refused) for each in _says(view.spec, seen)]
    return ProviderStatus(
        observed_generation=view.identity.generation,
        conditions=settle(said, view.status.conditions, view.identity.generation, environment.now),
        offers=[each.status for each in seen],
    )


def _says(spec: ProviderSpec, seen: list[_Seen]) -> list[Says]:
    unfit = [each for each in seen if each.unfit]
    if not unfit:
        going = [each for each in seen if each.status.state is State.RETIRING]
        return [_usable(seen), _served("True", "Retiring" if going else "Served", _told(going))]
    # A mistake is told before what time has brought: a person can mend it at once.
    mistaken = any(each.unfit is not _Unfit.GONE for each in unfit)
    reason, message = InvalidInput.reason if mistaken else ModelRetired.reason, _unfit_told(spec, unfit)
    served = _served("False", reason, message)
    return [*_unusable(reason, message), served] if len(unfit) == len(seen) else [_usable(seen), served]


def _usable(seen: list[_Seen]) -> Says:
    return ready("Configured", f"{sum(not each.unfit for each in seen)} of {len(seen)} offers can be used")


def _unfit_told(spec: ProviderSpec, unfit: list[_Seen]) -> str:
    """Field, what was found there and what mends it, of each way in which offers are out."""
    by = {way: [each for each in unfit if each.unfit is way] for way in _Unfit}
    told = []
    if unknown := by[_Unfit.UNKNOWN]:
        told.append(f"spec.offers: the catalogue knows no {_names(unknown)} of {spec.family.value}; {_mended(spec)}")
    if idle := by[_Unfit.IDLE]:
        do, them = ("does", "it") if len(idle) == 1 else ("do", "them")
        told.append(f"spec.offers: {_names(idle)} {do} nothing (status.offers says why); take {them} out")
    if elsewhere := by[_Unfit.ELSEWHERE]:
        told.append(f"spec.region: {_told(elsewhere)}; name a region that serves it, or take the offer out")
    if gone := by[_Unfit.GONE]:
        told.append(f"spec.offers: {_told(gone)}; name another, or take the offer out")
    return "; ".join(told)


def _names(seen: list[_Seen]) -> str:
    return listed([each.status.model for each in seen], NAMES)


def _mended(spec: ProviderSpec) -> str:
    if spec.family in CODED:
        return (
            "this family asks for the catalogue's models alone, whatever an offer says: name one of them, which docs/providers.md "
            "and `easel compare` list, or take the offer out"
        )
    return "name the tasks and prices of each"


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


def _told(seen: list[_Seen]) -> str:
    return "; ".join(f"{each.status.model} {each.status.message}" for each in seen)


def _offer(spec: ProviderSpec, model: str, offer: Offer | None, today: date) -> _Seen:
    def says(message: str | None, state: State = State.ACTIVE, unfit: _Unfit | None = None) -> _Seen:
        return _Seen(OfferStatus(model=model, state=state, message=message and message[:LONGEST]), unfit)

    if offer is None:
        return says(why_unknown(spec.family), unfit=_Unfit.UNKNOWN)
    state, end = offer.state(today), offer.ends()
    then = f"; {offer.successor} follows it" if offer.successor else ""
    if state is State.RETIRED:
        return says(f"is no longer served{then}", state, _Unfit.GONE)
    if not offer.tasks:
        why = "does nothing: its row in the catalogue has none of the tasks that the offer names"
        return says(why, state, _Unfit.IDLE)
    if offer.regions and spec.region not in offer.regions:
        return says(f"is served in {', '.join(offer.regions)}", state, _Unfit.ELSEWHERE)
    if state is State.RETIRING:
        return says(f"is said to go on {end}{then}", state)
    return says(None if offer.prices else "has no price that is known", state)
