"""Leads while it holds the Lease, and knows by its own clock how long it may still write."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from easel_api.errors import EaselError, Transient
from easel_operator.core.configuration import LeaseTimes
from easel_operator.core.leadership import held, holder_of, judge, released
from easel_operator.ports.cluster import Leases

logger = logging.getLogger(__name__)


class LostLease(EaselError):
    """The leader could not renew in time; it stops, since another may lead by now."""

    reason = "LostLease"


class Leadership:
    """Acquires, renews and releases the Lease."""

    def __init__(self, leases: Leases, identity: str, times: LeaseTimes, on_change: Callable[[bool], None]) -> None:
        self._leases, self._identity, self._times, self._on_change = leases, identity, times, on_change
        self._lease: dict[str, Any] | None = None
        self._version, self._unchanged_since = "", time.monotonic()
        self._renewed = float("-inf")
        self.led = False
        """Whether it ever led; who lost the Lease ends."""

    def leads(self) -> bool:
        """Whether this process may write now."""
        return time.monotonic() < self._renewed + self._times.renew_deadline

    async def run(self) -> None:
        """Stand by, then lead until the Lease is lost."""
        while True:
            try:
                await self._step()
            except Transient as error:
                logger.warning("lease: %s", error)
            except EaselError:
                if not self.led:
                    raise  # wrong namespace or rights: no use in waiting
                logger.exception("lease")
            if self.led and not self.leads():
                self._on_change(False)  # noqa: FBT003 - the callback's one argument
                raise LostLease("the Lease could not be renewed in time", where=self._identity)
            await asyncio.sleep(self._times.retry)

    async def _step(self) -> None:
        started = time.monotonic()
        self._lease = await self._leases.read()
        version = (self._lease or {}).get("metadata", {}).get("resourceVersion", "")
        if version != self._version:
            self._version, self._unchanged_since = version, started
        verdict = judge(self._lease, self._identity, started - self._unchanged_since, self._times.duration)
        if verdict == "wait":
            self._stand_by()
            return
        renewal = held(self._lease, self._identity, self._times.duration, datetime.now(UTC))
        self._lease = await self._leases.write(renewal)
        self._version = self._lease["metadata"]["resourceVersion"]
        self._renewed = self._unchanged_since = started
        self._lead()

    def _stand_by(self) -> None:
        if self.led:
            self._renewed = float("-inf")  # another holds it: stop at once
        logger.debug("%s leads", holder_of(self._lease))

    def _lead(self) -> None:
        if not self.led:
            self.led = True
            logger.info("leads as %s", self._identity)
            self._on_change(True)  # noqa: FBT003 - the callback's one argument

    async def release(self) -> None:
        """Let the next one lead at once; best effort."""
        if not self.led or not self.leads() or self._lease is None:
            return
        self._renewed = float("-inf")
        try:
            await self._leases.write(released(self._lease, datetime.now(UTC)))
        except EaselError as error:
            logger.info("lease not released: %s", error)
