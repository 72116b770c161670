"""How a command of a pod ends: when it is told to stop, and with which last words."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from easel_api.errors import EaselError

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that was told to stop; a Job starts it again."""


def stopped_by_signals() -> threading.Event:
    """Set once SIGTERM or SIGINT comes."""
    stop = threading.Event()
    told = setter(stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told())
    return stop


def setter(event: threading.Event) -> Callable[[], None]:
    """What sets an event from a signal handler.

    `Event.set` takes a lock that the interrupted thread may hold, itself inside `wait` or in a handler, and then never comes
    back. `SimpleQueue.put` may interrupt itself (docs.python.org, queue), so a thread hears of it there and sets the event.
    """
    told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def relay() -> None:
        told.get()
        event.set()

    threading.Thread(target=relay, name="signals", daemon=True).start()
    return lambda: told.put(None)


def say_why(error: EaselError) -> None:
    """Why it ends, as its last words."""
    say(f"{error.reason}: {error}")


def say(words: str) -> None:
    """Last words where kubelet looks for them: for `kubectl describe pod`, and for the operator."""
    path = Path(os.environ.get("EASEL_TERMINATION_LOG", "/dev/termination-log"))
    with contextlib.suppress(OSError):
        path.write_text(words[:4096])
