"""What `decide` returns, and the values it is given besides the observed state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from easel_api.errors import EaselError

from .actions import Action
from .configuration import Configuration


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything a decision depends on that is not in the cluster."""

    now: datetime
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server refused an action of this very pass; the next status says so."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: EaselError) -> Refusal:
        """What a person should read of it."""
        return cls(error.reason, str(error))


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions in order, and when to look again though nothing happens (seconds)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether the cluster holds what it should."""
        return not self.actions


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The moment that `timestamp` wrote."""
    return datetime.fromisoformat(text)
