"""Progress for people: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from easel_inference.jobs.progress import Snapshot
from easel_inference.jobs.report import Reporter


@contextmanager
def reporter(stream: TextIO = sys.stderr) -> Iterator[Reporter]:
    """A bar when `stream` is a terminal, else lines."""
    if not stream.isatty():
        yield Lines(stream)
        return
    with Bar(stream) as bar:
        yield bar


class Lines(Reporter):
    """One line for each item that ends, and at most one each `quiet_seconds` else."""

    interval_seconds = 0.5

    def __init__(self, stream: TextIO, quiet_seconds: float = 10.0) -> None:
        self._stream, self._quiet = stream, quiet_seconds
        self._last_ended = -1
        self._last_time = time.monotonic()

    def show(self, snapshot: Snapshot) -> None:
        """Prints when something ended or it was quiet for long."""
        ended = snapshot.succeeded + snapshot.failed
        now = time.monotonic()
        if ended == self._last_ended and now - self._last_time < self._quiet:
            return
        self._last_ended, self._last_time = ended, now
        print(f"  {describe(snapshot)}  {snapshot.percent} %  {left(snapshot)}".rstrip(), file=self._stream, flush=True)


class Bar(Reporter):
    """A bar that moves with every step and is gone at the end; use it as a context manager."""

    interval_seconds = 0.1

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("[dim]{task.fields[left]}"),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=100, left="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Moves the bar."""
        self._progress.update(
            self._task, completed=snapshot.percent, description=describe(snapshot), left=left(snapshot)
        )


def describe(snapshot: Snapshot) -> str:
    """`5/16 made`, with the failed ones when there are any."""
    failed = f", {snapshot.failed} failed" if snapshot.failed else ""
    return f"{snapshot.succeeded}/{snapshot.total} made{failed}"


def left(snapshot: Snapshot) -> str:
    """`1:05 left`, or nothing while nobody can tell."""
    if snapshot.eta_seconds is None or snapshot.percent == 100:
        return ""
    minutes, seconds = divmod(snapshot.eta_seconds, 60)
    return f"{minutes}:{seconds:02d} left"
