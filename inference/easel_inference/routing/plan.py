"""The candidates of a request in the policy's order, and the reason for each that is out whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from easel_api.generationclass import Policy
from easel_api.offers import Offer, State

from .capability import Unfit, fit
from .price import CENT_OF_A_CENT, estimate
from .request import Request, Resolved

MOST_MONEY = Decimal(10**6)
"""Less than this a field of money holds."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the platform lets a request go to; None allows all."""

    regions: frozenset[str] | None = None
    retention: frozenset[str] | None = None
    """Names of what a provider may keep."""
    unknown_price: bool = False
    budgeted: bool = False
    """Whether the job has a budget, which a price that nobody knows would pass by."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One that a class names: a model of the team's own, or an offer of a provider."""

    name: str
    """`studio`, or `bedrock-west/stability.stable-image-core-v1:1`."""
    own: bool = False
    region: str = ""
    retention: str = ""
    offer: Offer | None = None
    """Of a provider; None: it has none of that name."""
    unfit: str = ""
    """Why an own model cannot make the request; empty when it can."""
    limited: bool = False
    """Whether its account has a limit, which a price that nobody knows would pass by."""
    refusal: str = ""
    """Why it is out whatever is asked; empty when it is not."""
    quality: float = 0.0
    """As the platform declares it, or as it was measured; more is better."""
    weight: float = 0.0
    """Share of the requests that go to it, relative to the other weights; with none, the order decides."""
    entry: int | None = None
    """Backends of one entry of the class have its weight together; None: it is alone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that can make the request."""

    name: str
    own: bool
    resolved: Resolved
    price: Decimal | None
    """Of one result; own models cost nothing here. None: unknown, and allowed."""
    weight: float = 0.0


Reasons = Mapping[str, str]
"""Why backends are not taken, for a person, by their names; in the order in which they were looked at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is so for all items that ask for the same."""

    policy: Policy
    candidates: tuple[Candidate, ...]
    """In the order of the policy, as far as it does not depend on the moment."""
    refused: Reasons


def plan(
    request: Request, backends: Iterable[Backend], policy: Policy, today: date, allowed: Allowed | None = None
) -> Plan:
    """Every backend is either a candidate or refused with a reason."""
    candidates: list[tuple[Backend, Candidate]] = []
    refused: dict[str, str] = {}
    for backend in backends:
        found = _judged(backend, request, allowed or Allowed(), today)
        if isinstance(found, Candidate):
            candidates.append((backend, found))
        else:
            refused[backend.name] = found
    candidates = _weighed(candidates)
    if key := _KEYS.get(policy):
        candidates.sort(key=lambda each: key(*each))  # stable: what is alike stays in the order of the class
    return Plan(policy, tuple(candidate for _, candidate in candidates), refused)


def expected(made: Plan, items: int) -> Decimal | None:
    """US dollars for that many items where each is made by the one whose turn it is: the first of the order, or whom its weight draws.

    None: nobody can tell, since a price is unknown, or only a measurement says who is the fastest.
    """
    drawn = [each for each in made.candidates if each.weight]
    if not drawn:
        if not made.candidates or (made.policy is Policy.FASTEST and made.candidates[1:]):
            return None
        price = made.candidates[0].price
        return None if price is None else price * items
    amount = Decimal(0)
    for each in drawn:
        if each.price is None:
            return None
        amount += each.price * Decimal(each.weight)
    total = sum((Decimal(each.weight) for each in drawn), Decimal(0))
    return (amount * items / total).quantize(CENT_OF_A_CENT)


def expected_in_all(made: Plan, left: int, paid: Iterable[str]) -> Decimal | None:
    """US dollars for a job of which so much was paid, as in a manifest, and so many items are left.

    None: nobody can tell, or it is more than a field of money holds.
    """
    known, rest = list(paid), expected(made, left) if left else Decimal(0)
    if rest is None or "" in known:
        return None
    total = sum(map(Decimal, known), rest)
    return total if total < MOST_MONEY else None


def _weighed(candidates: list[tuple[Backend, Candidate]]) -> list[tuple[Backend, Candidate]]:
    """With the weight of each entry divided among those of its backends that can make the request."""
    together = Counter(backend.entry for backend, _ in candidates)
    return [
        (
            backend,
            replace(candidate, weight=candidate.weight / (1 if backend.entry is None else together[backend.entry])),
        )
        for backend, candidate in candidates
    ]


_KEYS: dict[Policy, Callable[[Backend, Candidate], Decimal | float]] = {
    Policy.CHEAPEST: lambda _, candidate: Decimal("Infinity") if candidate.price is None else candidate.price,
    Policy.BEST_QUALITY: lambda backend, _: -backend.quality,
}


def _judged(backend: Backend, request: Request, allowed: Allowed, today: date) -> Candidate | str:
    if backend.refusal:
        return backend.refusal
    if backend.own:
        return backend.unfit or Candidate(
            backend.name, own=True, resolved=Resolved(), price=Decimal(0), weight=backend.weight
        )
    if backend.offer is None:
        return "neither the Provider nor the catalogue has such an offer"
    if outside := _outside(backend, allowed):
        return outside
    if backend.offer.regions and backend.region not in backend.offer.regions:
        return f"{backend.offer.model} is served in {', '.join(backend.offer.regions)}"
    if backend.offer.state(today) is State.RETIRED:
        then = f"; {backend.offer.successor} follows it" if backend.offer.successor else ""
        return f"{backend.offer.model} is no longer served{then}"
    resolved = fit(backend.offer, request)
    if isinstance(resolved, Unfit):
        return f"{resolved.field}: {resolved.message}"
    price = estimate(backend.offer, request, resolved)
    if price is None and (why := _unpriced(backend, allowed)):
        return f"its price is unknown, and {why}"
    return Candidate(backend.name, own=False, resolved=resolved, price=price, weight=backend.weight)


def _unpriced(backend: Backend, allowed: Allowed) -> str:
    """Why nobody goes where the price is unknown; empty when one may."""
    if not allowed.unknown_price:
        return "the class allows none that is"
    if backend.limited:
        return "the Provider limits what may be spent"
    return "the job has a budget" if allowed.budgeted else ""


def _outside(backend: Backend, allowed: Allowed) -> str:
    """By the class's fields: `allow.regions` and `allow.keeps`."""
    if allowed.regions is not None and backend.region not in allowed.regions:
        return f"the class allows no region {backend.region or 'that is not known'}"
    if allowed.retention is not None and backend.retention not in allowed.retention:
        return f"the class allows no provider that keeps {backend.retention}"
    return ""
