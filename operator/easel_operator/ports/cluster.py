"""The Kubernetes API as the operator uses it.

    EaselError
    ├── Transient ─┬ Changed   the object is not the one that was read: read it again
    │              └ Expired   a version that is remembered no more: list everything again
    └── InvalidInput ── NameTaken   a child's name belongs to an object that is not ours

Every call may also raise `AuthConfig`, `QuotaExhausted`, `InvalidInput` and `NotFound`, which a person must see, and
`Transient` and `Throttled`, which pass.
"""

from __future__ import annotations

from typing import Any, Protocol

from easel_api.errors import AuthConfig, InvalidInput, NotFound, QuotaExhausted, Transient
from easel_operator.core.actions import Action
from easel_operator.core.resources import Reference, Resource


class Changed(Transient):
    """The object was changed, or replaced by another of its name, since it was read."""

    reason = "Changed"


class Expired(Transient):
    """The API server does not remember a version any more."""

    reason = "Expired"


class NameTaken(InvalidInput):
    """An object of that name is there and belongs to somebody else."""

    reason = "NameTaken"


REFUSALS = (AuthConfig, QuotaExhausted, InvalidInput, NotFound)
"""Errors that trying again does not mend; they belong into a status."""


class Cluster(Protocol):
    """Reads and writes."""

    async def get(self, reference: Reference) -> dict[str, Any] | None:
        """The object as it is now, or None."""

    async def perform(self, action: Action) -> None:
        """Carry out one action."""

    async def versions(self, resource: Resource, namespace: str, selector: str) -> dict[str, str]:
        """Resource version of each object by name, as the API server knows them now."""

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows this kind."""


class Leases(Protocol):
    """The Lease of the leader."""

    async def read(self) -> dict[str, Any] | None:
        """The Lease, or None."""

    async def write(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Create it, or replace the state that it was read in; `Changed` when somebody was faster."""
