"""Carries progress to a Reporter from a thread of its own, so that a slow API server or terminal never slows a job.

A reporter that fails is told to the log and asked again at the next change: a job never fails because its status could
not be written. `close` shows the last state for certain.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from .progress import Snapshot

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Shows progress somewhere."""

    interval_seconds: float
    """Never shows more often than this."""

    def show(self, snapshot: Snapshot) -> None:
        """Shows this state; may raise."""
        ...


class ReportLoop:
    """Shows changes until closed; a context manager."""

    def __init__(self, reporter: Reporter, snapshot: Callable[[], Snapshot], *, final_tries: int = 5) -> None:
        """`snapshot` is asked at each interval."""
        self._reporter, self._snapshot, self._final_tries = reporter, snapshot, final_tries
        self._shown: Snapshot | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def __enter__(self) -> ReportLoop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        for attempt in range(self._final_tries):
            if self._show_change():
                return
            threading.Event().wait(self._reporter.interval_seconds * attempt)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._show_change()
            self._closing.wait(self._reporter.interval_seconds)

    def _show_change(self) -> bool:
        """Whether the reporter knows the newest state."""
        newest = self._snapshot()
        if newest == self._shown:
            return True
        try:
            self._reporter.show(newest)
        except Exception as error:  # noqa: BLE001 - whatever a reporter raises, the job goes on
            _log.warning("could not show the progress: %s", type(error).__name__)
            return False
        self._shown = newest
        return True
