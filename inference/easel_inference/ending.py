"""How a command of a pod ends: when it is told to stop, and with which last words."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

from easel_api.errors import EaselError

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that was told to stop; a Job starts it again."""


def stopped_by_signals() -> threading.Event:
    """Set once SIGTERM or SIGINT comes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def say_why(error: EaselError) -> None:
    """Why it ends, as its last words."""
    say(f"{error.reason}: {error}")


def say(words: str) -> None:
    """Last words where kubelet looks for them: for `kubectl describe pod`, and for the operator."""
    path = Path(os.environ.get("EASEL_TERMINATION_LOG", "/dev/termination-log"))
    with contextlib.suppress(OSError):
        path.write_text(words[:4096])
