"""From the status we want to the actions that bring it about: a write when it differs, and an Event when it is news."""

from __future__ import annotations

from typing import Any, Literal

from easel_api import conditions
from easel_api.base import ApiModel
from easel_api.conditions import Condition, ConditionType

from .actions import Action, ApplyStatus, RecordEvent
from .observed import Identity

OUR_CONDITIONS = frozenset(item.value for item in ConditionType)
"""Conditions of other types belong to somebody else."""
NO_NEWS = frozenset({"WorkerStarting", "WorkerEnding", "Progressing"})
"""Reasons that each object passes through, for a second, when all is well: Kubernetes' own controllers tell of it already."""


def write(identity: Identity, before: dict[str, Any], after: dict[str, Any]) -> tuple[Action, ...]:
    """The write of a status, unless it is there already."""
    if before == after:
        return ()
    return (ApplyStatus(identity.key, identity.uid, identity.resource_version, after),)


def fields(status: ApiModel, names: tuple[str, ...]) -> dict[str, Any]:
    """These fields of a status as they go over the wire, the empty ones left out, our own conditions only."""
    dumped = status.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(names))
    if "conditions" in dumped:
        ours = [item for item in dumped["conditions"] if item["type"] in OUR_CONDITIONS]
        dumped["conditions"] = sorted(ours, key=lambda item: item["type"])
    return {name: value for name, value in dumped.items() if value not in ("", [], {})}


def announce(identity: Identity, before: list[Condition], after: list[Condition]) -> tuple[Action, ...]:
    """An Event when `Ready` has another reason than before, and one that is news."""
    old, new = conditions.find(before, ConditionType.READY), conditions.find(after, ConditionType.READY)
    if new is None or new.reason in NO_NEWS or (old is not None and old.reason == new.reason):
        return ()
    return (RecordEvent(identity.key, identity.uid, _severity(after), new.reason, new.message),)


def _severity(said: list[Condition]) -> Literal["Normal", "Warning"]:
    return "Warning" if conditions.is_true(said, ConditionType.STALLED) else "Normal"
