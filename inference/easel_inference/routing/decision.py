"""The backend that makes the next item, by what is so at this moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf

from easel_api.errors import ERRORS, AmbiguousSubmit, Cancelled
from easel_api.generationclass import Policy

from .breaker import CLOSED, Breaker
from .plan import Candidate, Plan, Reasons


@dataclass(frozen=True, slots=True)
class Now:
    """What is known of a backend at this moment."""

    ready: bool = True
    """False: an own model without a replica that serves."""
    wait_seconds: float = 0.0
    """Until a request would begin: its queue, or until it has woken."""
    run_seconds: float | None = None
    """What a result took lately; None: nothing was measured."""
    tried: bool = True
    """Whether a request was ever sent there."""
    breaker: Breaker = CLOSED
    failure: str = ""
    """Reason for which this very item failed there last; empty when it did not."""
    obstacle: str = ""
    """Why it is out for this item, in words, and nothing that failed: its money is spent."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """When an own model is passed over. None: it is waited for, whatever it takes."""

    queue_wait_seconds: float | None = None
    wake_seconds: float | None = None
    unavailable: bool = False
    """When it has no replica and none is on its way."""
    failures: frozenset[str] = frozenset()
    """Reasons of errors behind which an item may go elsewhere; a block by a safety policy is among them only if the class says so.

    One whose fate nobody knows, or that was stopped, goes nowhere, whatever a class says: `ValueError`.
    """

    def __post_init__(self) -> None:
        if wrong := self.failures & NOWHERE:
            raise ValueError(f"no item goes elsewhere after {', '.join(sorted(wrong))}")


@dataclass(frozen=True, slots=True)
class Decision:
    """Who makes the item, or why nobody may at this moment."""

    chosen: Candidate | None
    skipped: Reasons
    """Those before it in the order; all of them when there is none."""
    reason: str = ""
    """Why this one, as one CamelCase word: the policy's name, `Weight` where it was drawn, `Fallback` where others come first, or `NothingElse`."""


NOWHERE = frozenset({AmbiguousSubmit.reason, Cancelled.reason})
UNKNOWN = Now()
UNMEASURED_SECONDS = 60.0
"""What a result is taken to last where one is on its way, or failed, and none has ended."""


def decide(
    plan: Plan,
    known: Mapping[str, Now],
    fallback: Fallback,
    *,
    now: float,
    budget_left: Decimal | None = None,
    dice: float = 0.0,
) -> Decision:
    """`budget_left` None: there is no limit. `dice`, in [0, 1), draws among weights.

    An item that failed for good is made nowhere, unless the class names its reason; what may be tried again is.
    """
    if ended := next(_ended(known, fallback), None):
        failed_at, reason = ended
        others = (each.name for each in plan.candidates if each.name != failed_at)
        return Decision(None, {failed_at: reason, **dict.fromkeys(others, "the item has failed for good")})
    skipped: dict[str, str] = {}
    waited_for: Candidate | None = None
    open_: list[Candidate] = []
    # What no order needs is not looked at: this runs for each item.
    first_counts = plan.policy is not Policy.FASTEST and not any(candidate.weight for candidate in plan.candidates)
    for candidate in plan.candidates:
        state = known.get(candidate.name, UNKNOWN)
        obstacle = _obstacle(candidate, state, fallback, now, budget_left)
        if not obstacle:
            open_.append(candidate)
            if first_counts:
                break
        else:
            skipped[candidate.name] = obstacle
            if candidate.own and waited_for is None and not state.failure:
                waited_for = candidate
    if not open_ and waited_for:
        # Nobody is there to go to instead: neither a spent budget nor a provider that rests stops the team's own models.
        del skipped[waited_for.name]
        return Decision(waited_for, skipped, "NothingElse")
    if not open_:
        return Decision(None, skipped)
    if any(candidate.weight for candidate in open_):
        return Decision(_drawn(open_, dice), skipped, "Weight")
    if plan.policy is Policy.FASTEST:
        fastest = min(open_, key=lambda each: _seconds(known.get(each.name, UNKNOWN)))
        return Decision(fastest, skipped, plan.policy)
    return Decision(open_[0], skipped, "Fallback" if skipped else plan.policy)


def _ended(known: Mapping[str, Now], fallback: Fallback) -> Iterator[tuple[str, str]]:
    for name, state in known.items():
        if state.failure and state.failure not in fallback.failures and not ERRORS[state.failure].retryable:
            yield name, f"this item failed there for good: {state.failure}"


def _drawn(open_: Sequence[Candidate], dice: float) -> Candidate:
    drawn = dice * sum(candidate.weight for candidate in open_)
    for candidate in open_:
        drawn -= candidate.weight
        if drawn < 0:
            return candidate
    return [candidate for candidate in open_ if candidate.weight][-1]  # by rounding


def _seconds(now: Now) -> float:
    """One that nobody tried is tried, since nothing else says how fast it is; until that has ended it counts as slow."""
    if not now.tried and now.ready:
        return now.wait_seconds
    return now.wait_seconds + (UNMEASURED_SECONDS if now.run_seconds is None else now.run_seconds)


def _obstacle(candidate: Candidate, state: Now, fallback: Fallback, now: float, budget_left: Decimal | None) -> str:
    if state.failure and state.failure in fallback.failures:
        return f"this item failed there: {state.failure}"
    if state.obstacle:
        return state.obstacle
    if candidate.own:
        return _passed_over(state, fallback)
    if (rests := state.breaker.obstacle(now)) != "":
        return rests
    if budget_left is None:
        return ""
    if candidate.price is None:
        return "its price is unknown, and there is a budget"
    if candidate.price > budget_left:
        return f"{candidate.price} is more than the {budget_left} that is left of the budget"
    return ""


def _passed_over(state: Now, fallback: Fallback) -> str:
    if state.ready:
        if fallback.queue_wait_seconds is not None and state.wait_seconds > fallback.queue_wait_seconds:
            return (
                f"its queue takes {state.wait_seconds:.0f} s, and the class waits for {fallback.queue_wait_seconds:.0f}"
            )
        return ""
    # One that nobody wakes is later than any limit, and has no number of seconds to be told.
    if state.wait_seconds == inf and (fallback.unavailable or fallback.wake_seconds is not None):
        return "it has no replica, and none is on its way"
    if fallback.wake_seconds is not None and state.wait_seconds > fallback.wake_seconds:
        return f"it wakes in {state.wait_seconds:.0f} s, and the class waits for {fallback.wake_seconds:.0f}"
    return ""
