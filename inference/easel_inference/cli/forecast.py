"""Who makes how many items of a job, by its plan alone: what `easel explain` says below its table.

The worker decides for each item anew (`routing.decision`, `jobs.routed`), by what is so at that moment: queues, rests, money. None of it
is known here, so that a number is said only where the order and the budget give it, and else the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from easel_api.generationclass import Fallback, GenerationClassSpec, OnBlocked, Policy, When
from easel_api.offers import in_words
from easel_api.provider import VideoIndexer
from easel_inference.routing.plan import Candidate, Plan, expected


@dataclass(frozen=True, slots=True)
class Shares:
    """Items by who makes them, in the order in which they are taken."""

    counts: Mapping[str, int]
    """By candidate; 0: the rest of the budget does not pay for one there. Those behind the last that makes any are left out."""
    missing: int
    """Items that nobody can make for what is left."""


def own_models(made: Plan, spec: GenerationClassSpec) -> list[str]:
    """Own models that could make the job, as the class has them: the operator gives it one, the first that can serve when it starts."""
    able = {each.name for each in made.candidates if each.own}
    named = (entry.model_deployment.name for entry in spec.backends if entry.model_deployment)
    return [name for name in dict.fromkeys(named) if name in able]


def forecast(made: Plan, items: int, budget: Decimal | None, spec: GenerationClassSpec) -> list[str]:
    """Sentences, a line each. Of several own models the first is taken for the one that the job is given."""
    if not made.candidates:
        return ["Nobody can make it: see the reasons above."]
    own = own_models(made, spec)
    taking_part = [each for each in made.candidates if not each.own or each.name == own[0]]
    said = _of_several(own)
    drawn = [each for each in taking_part if each.weight]
    if drawn and taking_part[1:]:
        amount = expected(replace(made, candidates=tuple(taking_part)), items)
        said += [_drawn(drawn, taking_part, amount), *_money_of_any(taking_part, items, budget)]
    elif made.policy is Policy.FASTEST and taking_part[1:]:
        said += [
            "Each of them is tried with one item; the one that is done first by measurement makes those that begin behind that. "
            "Nothing is measured before the job runs.",
            *_money_of_any(taking_part, items, budget),
        ]
    else:
        said += _in_order(taking_part, items, budget)
    return said + _passing(taking_part, spec.fallback, None if drawn else made.policy)


def shares(candidates: Iterable[Candidate], items: int, budget: Decimal | None) -> Shares:
    """Each item goes to the first that the rest of the budget pays; own models cost nothing of it, and take all that come to them."""
    counts: dict[str, int] = {}
    missing, left = items, budget
    for each in candidates:
        if not missing:
            break
        makes = missing if each.own else min(missing, _paid_by(left, each.price, missing))
        # A class may name the same one twice.
        counts[each.name] = counts.get(each.name, 0) + makes
        missing -= makes
        if left is not None:
            left -= (each.price or 0) * makes
    return Shares(counts, missing)


def _paid_by(budget: Decimal | None, price: Decimal | None, items: int) -> int:
    if budget is None or price == 0:
        return items
    return 0 if price is None else int(budget / price)


def _of_several(own: Sequence[str]) -> list[str]:
    if not own[1:]:
        return []
    return [
        f"The job is given one own model: the first of {', '.join(own)} that can serve when it starts. "
        f"The cluster alone knows which; here it is taken to be {own[0]}."
    ]


def _drawn(drawn: Sequence[Candidate], taking_part: Sequence[Candidate], amount: Decimal | None) -> str:
    weights = ", ".join(f"{each.name} {each.weight:g}" for each in drawn)
    others = " The others make what none of these may." if len(drawn) < len(taking_part) else ""
    mean = f" All of them cost ${in_words(amount)} in the mean." if amount else ""
    return f"Items are drawn by weight: {weights}.{mean}{others}"


def _money_of_any(candidates: Sequence[Candidate], items: int, budget: Decimal | None) -> list[str]:
    """Where nobody can tell who makes what: whether the budget is enough in the best and in the worst case."""
    prices = [each.price for each in candidates if not each.own and each.price is not None]
    if budget is None or not prices:
        return []
    told, own = f"The budget of ${in_words(budget)}", next((each.name for each in candidates if each.own), "")
    if max(prices) * items <= budget:
        return [f"{told} is enough, whoever makes them."]
    if own:
        return [f"{told} is for Providers; what it does not pay goes to {own}."]
    if min(prices) * items > budget:
        return [f"{told} is enough for {int(budget / min(prices))} of {items} at most."]
    return [f"{told} is enough only when the cheaper ones make most of them."]


def _in_order(candidates: Sequence[Candidate], items: int, budget: Decimal | None) -> list[str]:
    found = shares(candidates, items, budget)
    makers = [(name, count) for name, count in found.counts.items() if count]
    told, own = (
        "" if budget is None else f"the budget of ${in_words(budget)}",
        [each.name for each in candidates if each.own],
    )
    dear = [name for name, count in found.counts.items() if not count]
    if not makers:
        return [f"Nobody makes any of it: {told} is not enough for one item."]
    said = [_makers(makers, items, found.missing)]
    if not found.counts[candidates[0].name]:
        said.append(f"{_sentence(told)} does not pay for one item of {', '.join(dear)}.")
    if found.missing:
        said.append(f"{_sentence(told)} is not enough for the other {found.missing}.")
    elif candidates[0].own:
        said += _behind_own(candidates, items, budget)
    elif told and makers[1:] and makers[-1][0] in own:
        said.append(f"{_sentence(told)} pays for no more than that.")
    elif told and makers[0][0] not in own:
        said.append(f"{_sentence(told)} is enough.")
    return said


def _makers(makers: Sequence[tuple[str, int]], items: int, missing: int) -> str:
    (first, count), *more = makers
    if count == items:
        return f"{first} makes {'it' if items == 1 else f'all {items}'}."
    parts = [f"{first} makes {count} of {items}", *(f"{name} {number}" for name, number in more)]
    if more and not missing:
        parts[-1] = f"{more[-1][0]} the other {more[-1][1]}"
    return f"{', '.join(parts)}."


def _behind_own(candidates: Sequence[Candidate], items: int, budget: Decimal | None) -> list[str]:
    """What Providers may have of a job whose own model comes first."""
    providers = [each for each in candidates if not each.own]
    if budget is None or not providers:
        return []
    found = shares(providers, items, budget)
    told = f"Where Providers make items, they get ${in_words(budget)} at most"
    if not found.missing:
        return [f"{told}: enough for {'it' if items == 1 else f'all {items}'}."]
    return [
        f"{told}: enough for {items - found.missing} of {items}. {candidates[0].name} is waited for with the others."
    ]


def _passing(candidates: Sequence[Candidate], fallback: Fallback, policy: Policy | None) -> list[str]:
    """When an item goes to another than the one whose turn it is; `policy` None: it is drawn. Of one candidate there is nothing to say."""
    if not candidates[1:]:
        return []
    # Behind the last of an order there is nobody for whom it could be passed over.
    last = None if policy in (None, Policy.FASTEST) else candidates[-1]
    said = [_own_passing(each.name, fallback, policy) for each in candidates if each.own and each is not last]
    if any(not each.own and each is not last for each in candidates):
        said.append(
            "A Provider is passed over at once while it rests after faults, was asked to slow down, or has no money left, "
            "whatever the class's fallback says."
        )
    return [*filter(None, said), _failed(fallback)]


def _own_passing(name: str, fallback: Fallback, policy: Policy | None) -> str:
    if whens := _whens(fallback):
        return f"{name} is passed over {', or '.join(whens)}."
    if policy is Policy.FASTEST:
        return ""  # its wait counts as any other's
    drawn = "An item that it draws waits" if policy is None else "Each item waits"
    return f"{name} is never passed over. {drawn} for it, whatever it takes."


def _whens(fallback: Fallback) -> list[str]:
    """As `routing.decision` passes over an own model: a wait for a replica is first, where the class has one."""
    found = []
    if fallback.wake_seconds is not None:
        found.append(f"while no replica of it serves {fallback.wake_seconds} s after the job's worker began")
    elif When.GPU_UNAVAILABLE in fallback.when:
        found.append("while no replica of it serves")
    if fallback.queue_wait_seconds is not None:
        found.append(f"while its queue takes more than {fallback.queue_wait_seconds} s")
    return found


def _failed(fallback: Fallback) -> str:
    """Where an item goes that failed, which `when` decides for own models and Providers alike."""
    blocked = fallback.on_content_blocked is OnBlocked.FALL_BACK
    if When.BACKEND_FAILURE in fallback.when:
        also = " or that a safety policy blocked there" if blocked else ""
        return f"An item that failed in one place{also} goes to another, unless it may be paid for already."
    told = "An item that failed in one place is given to no other for that: the class's fallback has no BackendFailure."
    return f"{told} One that a safety policy blocked is." if blocked else told


def insights(name: str, indexer: VideoIndexer, made: Plan, items: int, budget: Decimal | None) -> list[str]:
    """What it costs on top that clips of a Provider are looked at, which budgets pay too; nothing where it makes no clip of the job."""
    said = []
    for each in made.candidates:
        if each.own or not each.name.startswith(f"{name}/"):
            continue
        if each.resolved.seconds is None:
            said.append(f"{each.name}: how long its clips are is not known before, nor what that is for all.")
            continue
        look = indexer.price(each.resolved.seconds)
        clip = f"{each.name}: ${in_words(look)} for a clip of {each.resolved.seconds} s"
        if each.price is None:
            said.append(f"{clip}, ${in_words(look * items)} for all, beside their own price, which is unknown.")
            continue
        total = (look + each.price) * items
        much = f", more than the budget of ${in_words(budget)}" if budget is not None and total > budget else ""
        said.append(
            f"{clip}; with its own price ${in_words(look + each.price)} each, ${in_words(total)} for all{much}."
        )
    if not said:
        return []
    return [f"{name} has its clips looked at, for ${in_words(indexer.per_minute)} a minute on top of that.", *said]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
