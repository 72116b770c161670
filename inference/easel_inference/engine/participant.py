"""A request as the batcher sees it: what its rank depends on, whether it was cancelled, which step it is at."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from contextvars import ContextVar
from typing import Any

from easel_api.errors import Cancelled
from easel_api.tasks import Quality

from .stepplan import computed

REMEMBERED = 2
"""Outputs that a straight line needs."""


class Participant:
    """A request that is somewhere between its first and its last call.

    `adapters` are the LoRAs it uses, by name and weight; `alone` keeps its calls apart from all others, for results that
    are the same bytes again.
    """

    def __init__(
        self,
        *,
        priority: int = 0,
        deadline: float = math.inf,
        quality: Quality = Quality.EXACT,
        adapters: tuple[tuple[str, float], ...] = (),
        alone: bool = False,
    ) -> None:
        self.priority, self.deadline, self.adapters, self.alone = priority, deadline, adapters, alone
        self.answered = time.monotonic()
        self.decode_seconds = 0.0
        self.computed_steps = 0
        self._quality = quality
        self._cancelled = threading.Event()
        self.begin(1)

    def begin(self, steps: int) -> None:
        """A denoising loop of so many steps starts."""
        self._plan = computed(steps, self._quality)
        self._step = self._slot = 0
        self._began = time.monotonic()
        self._seen: dict[int, deque[tuple[int, Any]]] = {}

    @property
    def steps_left(self) -> int:
        """Steps that the denoiser still computes for this request, at least one."""
        return max(1, sum(self._plan[self._step :]))

    @property
    def seconds_left(self) -> float | None:
        """How long the steps take that it still has, by those of this loop; None before the first."""
        done = sum(self._plan[: self._step])
        return (time.monotonic() - self._began) / done * sum(self._plan[self._step :]) if done else None

    @property
    def is_over(self) -> bool:
        """Whether the request was cancelled or is too late; its next step raises."""
        return self._cancelled.is_set() or time.monotonic() > self.deadline

    def cancel(self) -> None:
        """Stop at the next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` once the request is over."""
        if self._cancelled.is_set():
            raise Cancelled("stopped on request")
        if self.is_over:
            raise Cancelled("its deadline passed", where="deadline_seconds")

    @property
    def skips(self) -> bool:
        """Whether the plan skips this step and the denoiser's output can be guessed."""
        return not self._computes and len(self._seen.get(0, ())) >= REMEMBERED

    def step_ended(self) -> None:
        """The loop goes on to its next step."""
        self.computed_steps += self._computes
        self._step, self._slot = self._step + 1, 0

    def guess(self) -> Any | None:
        """The denoiser's output at this step when the plan skips it, else None.

        A step may call the denoiser more than once (guidance in two calls), so the calls of a step are told apart by
        their order.
        """
        seen = self._seen.get(self._slot)
        if self._computes or seen is None or len(seen) < REMEMBERED:
            return None
        self._slot += 1
        (before, first), (last, second) = seen
        return second + (second - first) * ((self._step - last) / (last - before))

    def keep(self, output: Any) -> None:
        """Remember a computed output, for the steps that the plan skips."""
        if not all(self._plan):
            self._seen.setdefault(self._slot, deque(maxlen=REMEMBERED)).append((self._step, output))
        self._slot += 1

    @property
    def _computes(self) -> bool:
        return self._step >= len(self._plan) or self._plan[self._step]


current: ContextVar[Participant] = ContextVar("current")
"""The request of this thread; a call without one belongs to nobody and cannot be cancelled."""
