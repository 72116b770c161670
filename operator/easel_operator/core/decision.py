"""What `decide` returns, and the values it is given besides the observed state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from easel_api.errors import EaselError

from .actions import Action
from .admission import Seat
from .configuration import Configuration
from .provider.spending import Spending
from .scaling.policy import Recommendation
from .scaling.work import JobWork


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
class Scaled:
    """What the shell keeps of a decision about the number of replicas."""

    replicas: int
    ready: int
    active: bool
    """False: the demand is not known, and the number is frozen."""
    query: str | None = None
    """What Prometheus shall be asked from now on."""
    history: tuple[Recommendation, ...] = ()
    """What the next decision is given."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions in order, and when to look again though nothing happens (seconds)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    reasons: tuple[str, ...] = ()
    work: JobWork | None = None
    """What a job still asks of its model; the shell adds it up."""
    seat: Seat | None = None
    """What a job asks of the admission queue."""
    scaled: Scaled | None = None
    """Of a model whose number of replicas is ours to decide or to tell."""
    spending: Spending | None = None
    """What a Provider's ledger says; the shell tells metrics."""

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
