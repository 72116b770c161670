"""How a pod's command is told to stop: by signals, however many come and whenever."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

PROGRAM = """
from easel_inference.ending import stopped_by_signals
stop = stopped_by_signals()
print("ready", flush=True)
while not stop.wait(0.0001):
    pass
"""


def test_signals_that_interrupt_one_another_never_hang_a_program() -> None:
    """An event that a handler sets itself does hang, in one round of ten."""
    for _ in range(30):
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with contextlib.suppress(ProcessLookupError):
                for _ in range(200):
                    os.kill(process.pid, signal.SIGTERM)
            try:
                assert process.wait(10) in (0, -signal.SIGTERM)  # one may come when all is over
            finally:
                process.kill()
