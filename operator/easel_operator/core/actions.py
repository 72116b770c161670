"""What a decision may ask for. The shell carries actions out in order; the first failure ends the pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .resources import Key, Reference, Resource


@dataclass(frozen=True, slots=True)
class Manifest:
    """A rendered child."""

    resource: Resource
    body: dict[str, Any] = field(repr=False)

    @property
    def reference(self) -> Reference:
        """Its place in the cluster."""
        metadata = self.body["metadata"]
        return Reference(self.resource, metadata["namespace"], metadata["name"])


@dataclass(frozen=True, slots=True)
class Apply:
    """Create or change a child by server-side apply.

    `version` is the resource version in which an object of that name was seen to be ours; the write fails when it has another by
    now, so that a process which was frozen while another one took over undoes nothing. Without it nothing is taken from
    another field manager: an object of a user that happens to have the same name is left alone, and the action fails.
    """

    manifest: Manifest
    version: str = ""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop or resume a batch Job, all other fields of which cannot change; fails when it is not in the version that was seen."""

    reference: Reference
    uid: str
    version: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class SetDeletionCost:
    """Say which of several pods goes first when there shall be fewer: the one of the least cost."""

    reference: Reference
    uid: str
    cost: int


@dataclass(frozen=True, slots=True)
class KeepReplicas:
    """Leave a Deployment's number of replicas as it is when it is not ours to say any more.

    An applied field that its only manager gives up falls back to its default, which is one replica. Fails when the Deployment is not
    in the version that was seen.
    """

    reference: Reference
    uid: str
    version: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, unless another has taken its name since it was observed."""

    reference: Reference
    uid: str


@dataclass(frozen=True, slots=True)
class ApplyStatus:
    """Write the fields of the status that are the operator's; refused when the object changed since it was read."""

    key: Key
    uid: str
    resource_version: str
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SettleSpend:
    """Write a Provider's ledger, which its workers write too; refused when it changed since it was read."""

    key: Key
    uid: str
    resource_version: str
    spend: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Tell a person who runs `kubectl describe`."""

    key: Key
    uid: str
    severity: Literal["Normal", "Warning"]
    reason: str
    message: str


Action = Apply | Suspend | SetDeletionCost | KeepReplicas | Delete | ApplyStatus | SettleSpend | RecordEvent
