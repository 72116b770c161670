"""Starts, watches and stops programs, and never touches one that is not surely ours.

A pid alone proves nothing: pids are reused. Each program leaves a file with its pid, the moment the kernel says it
started and the machine's boot id; only a process that matches all three is ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from easel_api.errors import EnvironmentFault, Stalled
from easel_cluster.layout import State
from easel_cluster.tools import last_lines

POLL_SECONDS = 0.05
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_SECONDS = 10.0
LINES_SHOWN = 6
CHILD_SECONDS = 2.0
"""Within which a child that is being started runs its program."""
# Below what Linux lends to connections that go out (32768 on, ip(7)) and what Kubernetes gives to node ports (30000 on).
LISTENING = range(15_000, 30_000)
_DRAW = random.SystemRandom()  # tests set the seed of the shared one, alike in every process

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Program:
    """One program to run: what to start and when it counts as up."""

    name: str
    argv: tuple[str, ...]
    healthy: Callable[[], bool]
    deadline: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[str, int], ...] = ()
    inside: int | None = None
    """The process whose namespaces the program runs in."""
    walls: tuple[str, ...] = ()
    """Namespaces of its own (arguments of `unshare`) that the program is the first process of, and that end with it."""
    tied: bool = False
    """Dies with the thread that started it: for tests, whose end may be a kill."""


@dataclass(frozen=True)
class Identity:
    """What makes a process this process."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """The identity of a living process; None when there is none or only its zombie."""
    try:
        # The second field, the program's name, may hold spaces and parentheses; the rest follows the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())


def remember(state: State, name: str, pid: int) -> None:
    """Write down that a process is ours."""
    identity = identify(pid)
    if identity:
        _file(state, name).write_text(json.dumps(asdict(identity)))


def running(state: State, name: str) -> int | None:
    """The pid of a program of ours that is alive."""
    try:
        kept = Identity(**json.loads(_file(state, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return kept.pid if identify(kept.pid) == kept else None


def names(state: State) -> list[str]:
    """Programs that were started here, whether or not they still live."""
    return sorted(path.stem for path in state.pids.glob("*.json"))


def start(program: Program, state: State) -> int:
    """Start a program unless it runs, and wait until it is healthy; its pid.

    Raises `EnvironmentFault` for a port in use, `Stalled` when it ends or is not healthy in time, with its last log lines.
    """
    return start_all([program], state)[0]


def start_all(programs: Sequence[Program], state: State) -> list[int]:
    """Start programs side by side that do not wait for one another, then wait until each is healthy; their pids."""
    pids = [running(state, program.name) or _spawn(program, state) for program in programs]
    for program, pid in zip(programs, pids, strict=True):
        _wait_healthy(program, pid, state)
    return pids


def end(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """End a child of this process: SIGTERM, and SIGKILL after the given time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)


def stop(name: str, state: State, seconds: float = STOP_SECONDS) -> bool:
    """Stop a program of ours: SIGTERM, and SIGKILL after the given time; True when one ran."""
    pid = running(state, name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        if not wait_for(lambda: _gone(pid), seconds):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: _gone(pid), STOP_SECONDS)
    _file(state, name).unlink(missing_ok=True)
    return pid is not None


def kill(name: str, state: State) -> bool:
    """End a program of ours at once, whose data nobody wants any more; True when one ran."""
    return stop(name, state, seconds=0)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition until it holds or the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on right now, all different.

    None of those that the kernel lends to connections going out: one of them could be lent before it is listened on.
    """
    found: set[int] = set()
    while len(found) < count:
        port = _DRAW.choice(LISTENING)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            found.add(port)
    return list(found)


def need_free_port(address: str, port: int, who: str) -> None:
    """Refuse to start what could not listen, naming the port.

    A child that another thread starts has every socket of this process until it runs its program: one of `free_ports` may outlive
    its end by that.
    """
    found: list[OSError] = []

    def is_free() -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                found.append(error)
                return False
        return True

    if not wait_for(is_free, CHILD_SECONDS):
        raise EnvironmentFault(
            f"{who} cannot listen on port {port}",
            where=f"{address}:{port}",
            found=os.strerror(found[-1].errno or 0),
            fix="Stop what uses that port, or choose another.",
        )


def _spawn(program: Program, state: State) -> int:
    for address, port in program.ports:
        need_free_port(address, port, program.name)
    command = _command(program)
    with (state.logs / f"{program.name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state.root,
            # Nothing of the caller's environment: a proxy set there would swallow traffic between parts of the cluster.
            env={"PATH": SYSTEM_PATH, "HOME": str(state.root)} | dict(program.environment),
            start_new_session=True,
            preexec_fn=_die_with_starter if program.tied else None,
        )
    # A process cannot change its own pid namespace: nsenter and unshare fork, and the child is the program.
    pid = _only_child(process) if program.inside or program.walls else process.pid
    remember(state, program.name, pid)
    return pid


def enter(pid: int) -> tuple[str, ...]:
    """The beginning of a command line that runs the rest of it in all namespaces of a process."""
    return ("nsenter", "--target", str(pid), "--all", "--")


def _command(program: Program) -> tuple[str, ...]:
    command = program.argv
    if program.inside:
        command = (*enter(program.inside), *command)
    if program.walls:
        command = ("unshare", *program.walls, "--fork", "--kill-child", "--", *command)
    return command


def _die_with_starter() -> None:
    # Before the program is run and not by it, as setpriv would: else who starts it could be gone before it is tied.
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _only_child(parent: subprocess.Popen[bytes]) -> int:
    wait_for(lambda: _child(parent.pid) is not None or parent.poll() is not None, 10)
    return _child(parent.pid) or parent.pid


def _child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def _wait_healthy(program: Program, pid: int, state: State) -> None:
    end = time.monotonic() + program.deadline
    while not program.healthy():
        ended = _gone(pid)
        if ended or time.monotonic() > end:
            raise Stalled(
                f"{program.name} {'ended' if ended else f'was not healthy within {program.deadline:.0f} s'}",
                where=str(state.logs / f"{program.name}.log"),
                found=last_lines(state.logs / f"{program.name}.log", LINES_SHOWN),
            )
        time.sleep(POLL_SECONDS)


def _gone(pid: int) -> bool:
    # A child of ours stays a zombie until it is waited for; a program of another launcher is not our child.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return identify(pid) is None


def _file(state: State, name: str) -> Path:
    return state.pids / f"{name}.json"
