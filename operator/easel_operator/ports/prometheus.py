"""What Prometheus says of the demand."""

from __future__ import annotations

from typing import Protocol

from easel_operator.core.scaling.policy import Blind


class Prometheus(Protocol):
    """Answers queries."""

    async def demand(self, query: str) -> float | Blind:
        """The one number that a PromQL expression gives now, or why there is none. Never raises, and never takes long."""
