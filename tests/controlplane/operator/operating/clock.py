"""A clock that jumps for one process alone: libfaketime, as Debian ships it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from easel_cluster import debian


class Clock:
    """The wall clock of a process that is started with `environment`; its monotonic one is the machine's."""

    def __init__(self, folder: Path, progress: Callable[[str], None]) -> None:
        library = debian.unpacked_file("libfaketime", "usr/lib/*/faketime/libfaketime.so.1", progress)
        self._offset = folder / "clock"
        self.jump("+0")
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, offset: str) -> None:
        """Be so far from the machine's clock, such as `+1d`."""
        written = self._offset.with_suffix(".new")
        written.write_text(offset)
        written.replace(self._offset)  # the process reads it all the time, and an empty file is the machine's clock
