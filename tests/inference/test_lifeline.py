"""A stub ends with its tritonserver even when none of its Python threads can run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from waiting import until

from easel_inference.serving.launcher import process_lives
from easel_inference.serving.lifeline import open_lifeline, variable

STUB = """
import ctypes, os
from easel_inference.serving.lifeline import end_with_server
if {guarded}:
    end_with_server(os.environ)
print(os.getpid(), flush=True)
ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock
"""

# Two stubs, as Triton starts them: from a thread that ends, with whatever it inherited.
SERVER = """
import signal, subprocess, sys, threading
def start():
    for _ in range(2):
        subprocess.Popen([sys.executable, "-c", sys.argv[1]], close_fds=False)
starter = threading.Thread(target=start)
starter.start()
starter.join()
signal.pause()
"""


def start_server(*, guarded: bool) -> tuple[subprocess.Popen[str], list[int]]:
    """The server, and its stubs once they are ready."""
    command = [sys.executable, "-c", SERVER, STUB.format(guarded=guarded)]
    with open_lifeline() as ends:
        server = subprocess.Popen(
            command, env=os.environ | variable(ends), pass_fds=ends, stdout=subprocess.PIPE, text=True
        )
    assert server.stdout is not None
    return server, [int(server.stdout.readline()) for _ in range(2)]


def test_stubs_live_with_their_server_and_end_with_it() -> None:
    server, stubs = start_server(guarded=True)
    try:
        assert all(map(process_lives, stubs))
        server.kill()
        server.wait()
        until(lambda: not any(map(process_lives, stubs)), "the stubs are gone")
    finally:
        _end(server, stubs)


def test_a_stub_whose_server_goes_at_once_ends_too() -> None:
    with open_lifeline() as ends:
        stub = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdin.read()\n{STUB.format(guarded=True)}"],
            env=os.environ | variable(ends),
            pass_fds=ends,
            stdin=subprocess.PIPE,
        )
    try:
        stub.communicate(timeout=30)  # both ends are closed here before it goes on
        assert stub.returncode == 1
    finally:
        stub.kill()


def test_this_would_notice_a_stub_that_stays() -> None:
    server, stubs = start_server(guarded=False)
    try:
        server.kill()
        server.wait()
        with pytest.raises(AssertionError, match="gone"):
            until(lambda: not any(map(process_lives, stubs)), "the stubs are gone", 1)
    finally:
        _end(server, stubs)


def _end(server: subprocess.Popen[str], stubs: list[int]) -> None:
    server.kill()
    for stub in filter(process_lives, stubs):
        os.kill(stub, signal.SIGKILL)
