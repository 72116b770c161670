"""A token bucket: the operator limits itself before the API server has to."""

from __future__ import annotations

import asyncio
import time


class TokenBucket:
    """Allows `rate` requests per second on average and twice that at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._size = rate, 2 * rate
        self._tokens, self._filled = self._size, time.monotonic()

    async def take(self) -> None:
        """Wait for a token."""
        self._fill()
        self._tokens -= 1
        if self._tokens < 0:
            # A debt is waited for in the order of arrival, since each taker sees the debt of those before it.
            await asyncio.sleep(-self._tokens / self._rate)

    def _fill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
