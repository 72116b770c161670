"""Ends the stub when its tritonserver has gone, whatever its threads are doing.

A tritonserver that is killed leaves its stubs behind, and they wait for its answers for ever; some of those waits hold
the interpreter's lock, so no Python thread could notice. The kernel does: tritonserver holds the write end of a pipe,
and the stub has itself killed at its hang-up. (`PR_SET_PDEATHSIG` would kill a healthy stub: it fires when the thread
that started it ends, and Triton starts stubs from threads that do.)
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

VARIABLE = "EASEL_LIFELINE"
F_SETSIG = 10  # asm-generic/fcntl.h


@contextmanager
def open_lifeline() -> Iterator[tuple[int, int]]:
    """A pipe's read and write ends for tritonserver to inherit; this process keeps neither."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def variable(ends: tuple[int, int]) -> dict[str, str]:
    """How the stub learns which descriptors they are."""
    return {VARIABLE: f"{ends[0]},{ends[1]}"}


def end_with_server(environment: Mapping[str, str]) -> None:
    """Call once in the stub, which inherited both ends from its tritonserver."""
    read, write = map(int, environment[VARIABLE].split(","))
    os.close(write)
    # Opened anew: what fcntl sets belongs to the open file, and tritonserver's other stubs share the inherited one.
    own = os.open(f"/proc/self/fd/{read}", os.O_RDONLY | os.O_NONBLOCK)
    os.close(read)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(own)
    if poll.poll(0):  # it went before the kernel was asked
        os._exit(1)
