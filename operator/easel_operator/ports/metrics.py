"""What the operator counts about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from easel_operator.core.provider.spending import Spending
from easel_operator.core.resources import Key
from easel_operator.core.scaling.policy import Work

Result = Literal["settled", "acted", "refused", "retried", "failed"]


class Metrics(Protocol):
    """Counters and gauges; labels come from closed sets."""

    def reconciled(self, kind: str, result: Result, seconds: float) -> None:
        """A reconcile ended."""

    def acted(self, kind: str, action: str) -> None:
        """An action was carried out."""

    def queue_depth(self, depth: int) -> None:
        """Keys that wait for a reconcile."""

    def watched(self, plural: str) -> None:
        """A watch delivered an event."""

    def stale(self, plural: str, missed: int) -> None:
        """An audit found so many changes that a watch should have delivered and did not."""

    def leading(self, *, leads: bool) -> None:
        """Whether this process is the leader."""

    def work(self, model: Key, work: Work, requested: float) -> None:
        """What jobs ask of a model, and GPU-seconds that they have asked for since the last call."""

    def scaled(self, model: Key, replicas: int, ready: int, *, active: bool) -> None:
        """How many replicas a model was given, how many of them serve, and whether its demand is known."""

    def unscaled(self, model: Key) -> None:
        """A model is scaled by nobody any more."""

    def forget(self, model: Key) -> None:
        """A model is gone, or another leader's."""

    def spending(self, provider: Key, spending: Spending) -> None:
        """What a Provider's ledger says."""

    def closed(self, provider: Key) -> None:
        """A Provider is gone."""

    def jobs(self, phases: Mapping[str, int], longest_wait: float) -> None:
        """GenerationJobs by phase, and the age in seconds of the oldest one that has not begun."""

    def queued(self, namespaces: Mapping[str, int]) -> None:
        """GenerationJobs that wait for their turn though their model serves, by namespace."""
