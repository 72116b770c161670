"""When a backend that fails is left alone, and when it is tried again.

Only what says something of the backend counts: a picture that a policy blocks, or a request that is wrong, would fail anywhere. A
backend that asks to slow down is well; it is left alone for as long as it says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    BackendFault,
    BadOutput,
    BilledBadOutput,
    ContentBlocked,
    InvalidInput,
    ModelRetired,
    QuotaExhausted,
    Stalled,
    Throttled,
    Transient,
    Unsupported,
)

THRESHOLD = 5
"""Faults in a row that open it."""
WINDOW_SECONDS = 60.0
"""A fault that is older says nothing of now."""
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 30.0, 600.0
THROTTLED_SECONDS = 5.0
"""Of a backend that does not say for how long."""
LEAST_PAUSE_SECONDS = 1.0
"""Also of one that says 0: it would be asked thousands of times a second."""
AT_ONCE = frozenset({AuthConfig.reason, QuotaExhausted.reason, ModelRetired.reason})
"""What the next try will meet again: a person must act, so that it rests as long as it can."""
COUNTED = frozenset({Transient.reason, Stalled.reason, AmbiguousSubmit.reason}) | AT_ONCE
ANSWERS = frozenset(
    each.reason for each in (BackendFault, BadOutput, BilledBadOutput, ContentBlocked, InvalidInput, Unsupported)
)
"""Errors by which a backend shows that it works."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Of one backend. Moments are seconds of one clock."""

    faults: tuple[float, ...] = ()
    rests: int = 0
    """How often it opened since it last worked."""
    open_until: float = 0.0
    paused_until: float = 0.0
    """It asked to slow down."""
    probe: float | None = None
    """When the one try began that tells whether it works again."""
    reason: str = ""

    def obstacle(self, now: float) -> str:
        """Why it is left alone at this moment, in words; empty when it may be tried. No seconds: they would be another text at each look."""
        if now < self.open_until:
            return f"rests after {self.reason}"
        if now < self.paused_until:
            return "asked to wait"
        if self.rests and self.probe is not None and now < self.probe + WINDOW_SECONDS:
            return f"one request tries whether it works again after {self.reason}"
        return ""

    def tried(self, now: float) -> Breaker:
        """A request goes to it. Behind a rest it is the only one until it has ended, or was lost."""
        return replace(self, probe=now) if self.rests else self

    def succeeded(self, now: float) -> Breaker:
        """A request ended well; one that was sent before a rest began says nothing of it."""
        return self if now < self.open_until else Breaker(paused_until=self.paused_until)

    def failed(self, reason: str, now: float, retry_after: float | None = None) -> Breaker:
        """A request ended with an error of this reason."""
        if reason == Throttled.reason:
            wait = THROTTLED_SECONDS if retry_after is None else max(retry_after, LEAST_PAUSE_SECONDS)
            until = now + min(wait, LONGEST_REST_SECONDS)
            return replace(self, paused_until=max(self.paused_until, until), probe=None)
        if reason in ANSWERS:
            return self.succeeded(now) if self.rests else self
        if reason not in COUNTED:
            return replace(self, probe=None)  # stopped by us: it says nothing
        if now < self.open_until and reason not in AT_ONCE:
            return self  # sent before the rest began
        faults = (*(moment for moment in self.faults if now - moment < WINDOW_SECONDS), now)
        if reason not in AT_ONCE and len(faults) < THRESHOLD and not self.rests:
            return replace(self, faults=faults, reason=reason)
        rest = (
            LONGEST_REST_SECONDS
            if reason in AT_ONCE
            else min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(self.rests, 10))
        )
        return replace(
            self,
            faults=(),
            rests=self.rests + 1,
            open_until=now + max(rest, min(retry_after or 0.0, LONGEST_REST_SECONDS)),
            probe=None,
            reason=reason,
        )


CLOSED = Breaker()
"""Of a backend of which nothing bad is known."""
