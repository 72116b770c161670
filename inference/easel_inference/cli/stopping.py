"""Why a running job is to stop: Ctrl-C, its deadline, or a server that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from easel_api.errors import BackendFault, Cancelled, EaselError, ExitCode
from easel_inference.ending import setter

_WATCH_SECONDS = 0.5


class Stop:
    """A flag that remembers who set it first."""

    def __init__(self) -> None:
        self.flag = threading.Event()
        self.error: EaselError | None = None
        self.interrupted = False
        self._set = setter(self.flag)

    def because(self, error: EaselError) -> None:
        """Stops; the first reason counts."""
        if not self.flag.is_set():
            self.error = error
        self.flag.set()

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: the first signal stops in order, the second at once."""
        if self.interrupted:
            os._exit(ExitCode.INTERRUPTED)  # the server dies with this process
        self.interrupted = True
        self._set()


@contextmanager
def signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the job in order for the length of the block."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def deadline(stop: Stop, seconds: int | None) -> Iterator[None]:
    """Stops the job when its `deadlineSeconds` have passed."""
    if seconds is None:
        yield
        return
    error = Cancelled(
        "the job did not end before its deadline",
        where="spec.deadlineSeconds",
        found=f"{seconds} s",
        fix="Finished items are kept; run it again to go on, or allow more time",
    )
    timer = threading.Timer(seconds, stop.because, (error,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def server_watched(stop: Stop, process: subprocess.Popen[bytes], log: Path) -> Iterator[None]:
    """Stops the job when the server ends: on one machine nobody starts it again."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_SECONDS):
            if process.poll() is not None:
                stop.because(
                    BackendFault(
                        "the server ended",
                        found=f"exit code {process.returncode}",
                        fix=f"Its log is {log}. Finished items are kept; run it again to go on",
                    )
                )
                return

    thread = threading.Thread(target=watch, name="server-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
