"""A serving runtime's own word about its model."""

from __future__ import annotations

from typing import Protocol

from easel_operator.core.observed import Probe


class Runtime(Protocol):
    """Asks a runtime's pod."""

    async def model(self, address: str) -> Probe:
        """What it serves, why it does not, or None when nobody answers in time."""

    async def load(self, address: str) -> int | None:
        """How many requests it holds, running and waiting; None when nobody answers in time."""
