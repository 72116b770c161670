"""The conditions of our kinds: what we say, and when it last changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from easel_api import conditions
from easel_api.conditions import Condition, ConditionStatus, ConditionType
from easel_api.errors import shortened

from .decision import timestamp

MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Says:
    """One condition without its bookkeeping."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str = ""


def ready(reason: str, message: str = "") -> Says:
    """`Ready=True`."""
    return Says(ConditionType.READY, "True", reason, message)


def not_ready(reason: str, message: str = "") -> Says:
    """`Ready=False`."""
    return Says(ConditionType.READY, "False", reason, message)


def unknown(reason: str, message: str = "") -> Says:
    """`Ready=Unknown`: the first thing said of an object."""
    return Says(ConditionType.READY, "Unknown", reason, message)


def reconciling(reason: str, message: str = "") -> Says:
    """`Reconciling=True`: the operator is at it, or waits for something that may come."""
    return Says(ConditionType.RECONCILING, "True", reason, message)


def stalled(reason: str, message: str = "") -> Says:
    """`Stalled=True`: nothing will happen until a person acts."""
    return Says(ConditionType.STALLED, "True", reason, message)


def settle(said: Iterable[Says], before: list[Condition], generation: int, now: datetime) -> list[Condition]:
    """The conditions as written: in a fixed order, with the old transition time where the status did not change."""
    return [_dated(says, before, generation, now) for says in sorted(said, key=lambda says: says.type.value)]


def listed(names: Sequence[str], room: int) -> str:
    """As many of the names as go into that many characters, one at least, and how many more there are: what follows them stays in the message."""
    shown = 1
    while shown < len(names) and len(", ".join(names[: shown + 1])) <= room:
        shown += 1
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" (and {rest} more)" if rest > 0 else "")


def _dated(says: Says, before: list[Condition], generation: int, now: datetime) -> Condition:
    old = conditions.find(before, says.type)
    unchanged = old is not None and old.status == says.status and old.last_transition_time
    return Condition(
        type=says.type.value,
        status=says.status,
        reason=says.reason[:64],
        message=shortened(says.message, MAX_MESSAGE),
        last_transition_time=old.last_transition_time if old and unchanged else timestamp(now),
        observed_generation=generation,
    )
