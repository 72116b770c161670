"""Conditions in the shape of `metav1.Condition`, and the rules by which they change.

Kinds follow kstatus: `Reconciling` and `Stalled` are abnormal-true and absent otherwise, `Ready` is always there,
and the first status that a controller writes carries `Ready=Unknown` and `Reconciling=True`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .base import ApiModel

ConditionStatus = Literal["True", "False", "Unknown"]


class ConditionType(StrEnum):
    """Every condition type that Easel writes."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    MODEL_CACHED = "ModelCached"
    MODEL_LOADED = "ModelLoaded"
    AUTOSCALING_ACTIVE = "AutoscalingActive"
    OFFERS_SERVED = "OffersServed"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class Condition(ApiModel):
    """One observation about an object."""

    type: Annotated[str, Field(max_length=64, description="What is observed, CamelCase.")]
    status: Annotated[ConditionStatus, Field(description="True, False or Unknown.")]
    reason: Annotated[str, Field(max_length=64, description="Why, as one CamelCase word that programs may rely on.")]
    message: Annotated[str, Field(max_length=2048, description="Why, for a person to read.")] = ""
    last_transition_time: Annotated[
        str, Field(max_length=40, description="When `status` last changed, RFC 3339 in UTC.")
    ] = ""
    observed_generation: Annotated[
        int, Field(ge=0, description="The generation of the object that this was observed for.")
    ] = 0


def find(conditions: list[Condition], wanted: ConditionType) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == wanted), None)


def is_true(conditions: list[Condition], wanted: ConditionType) -> bool:
    """Whether the condition is there and `True`."""
    found = find(conditions, wanted)
    return found is not None and found.status == "True"
