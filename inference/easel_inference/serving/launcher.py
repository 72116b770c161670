"""Starts tritonserver, watches it, answers the probes, drains on SIGTERM: the runtime container's first process.

Triton calls itself ready while its Python stub is dead, and lets streams of a dead stub hang without an error. So this
process watches the stub's process and the engine's heartbeat, and ends when either is gone: Kubernetes then starts the
container anew, which also ends the hanging streams. A model that fails to load is no reason to end: the probes show
why, and it is tried again, for a claim may be filled later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from pathlib import Path

from easel_api.errors import BackendFault, EaselError, EnvironmentFault, ErrorReport, Stalled
from easel_inference.ending import stopped_by_signals
from easel_inference.engine.inspection import check

from . import probes, tritonserver
from .probes import FETCHING, LOADING, Health, Load
from .repository import write_repository
from .settings import Settings
from .state import FetchState, Pulse, State

POLL_SECONDS = 0.2
KILL_SECONDS = tritonserver.EXIT_SECONDS + 5

log = logging.getLogger("easel")


class Exit(IntEnum):
    """Exit codes of the launcher."""

    DRAINED = 0
    DIED = 1
    """tritonserver, the stub or the engine is gone; a restart helps."""
    WRONG = 3
    """A port, a tool or a setting is wrong; a restart alone does not help."""


class Phase(StrEnum):
    """Where the launcher is."""

    FETCHING = "Fetching"
    LOADING = "Loading"
    SERVING = "Serving"
    FAILED = "Failed"
    DRAINING = "Draining"


class Launcher:
    """One tritonserver and its watch. `run` belongs to the main thread, `health` to any."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings, self._environment = settings, environment
        self._state = State(settings.state_dir)
        cache = settings.spec.cache
        self._fetch = FetchState(settings.claims / cache.folder) if cache and settings.spec.fetches_itself() else None
        self._phase = Phase.LOADING
        self._failure: ErrorReport | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()

    def run(self) -> Exit:
        """Serve until told to stop; raises `EnvironmentFault` when it cannot even start."""
        self._stop = stopped_by_signals()
        installation = tritonserver.find(self._environment)
        check_ports(self._settings)
        server = probes.serve(self, self._settings.bind, self._settings.http_port)
        try:
            while (outcome := self._attempt(installation)) is None:
                pass
            return outcome
        finally:
            self._kill()
            server.shutdown()

    def _attempt(self, installation: tritonserver.Installation) -> Exit | None:
        """One life of tritonserver: an exit code, or None to try again."""
        if not self._fetched():
            return Exit.DRAINED if self._stop.wait(POLL_SECONDS) else None
        self._state.clear()
        tritonserver.clean_shared_memory()
        # Why it failed before stands until it serves: to take it back for each try would flap.
        self._phase = Phase.LOADING
        try:
            check(self._settings.spec, self._settings.claims, hashed=False)
        except EaselError as error:
            return self._hold(error.to_report())
        self._start(installation)
        return self._watch()

    def _fetched(self) -> bool:
        """Whether the model is there; a container beside this one fetches it where each replica has a cache of its own."""
        if self._fetch is None or self._fetch.done:
            if self._phase is Phase.FETCHING:
                self._failure = None
            return True
        self._failure, self._phase = self._fetch.error, Phase.FETCHING
        return False

    def health(self) -> Health:
        """What the probes answer now."""
        info = self._state.info
        pending = FETCHING if self._phase is Phase.FETCHING else LOADING
        report = self._failure or (None if info else pending)
        child_lives = self._child is not None and self._child.poll() is None
        alive = self._phase in (Phase.FAILED, Phase.FETCHING) or (child_lives and self._sick(self._state.pulse) is None)
        ready = self._phase is Phase.SERVING and alive
        pulse = self._state.pulse if ready else None
        load = Load(running=pulse.running, waiting=pulse.waiting) if pulse else None
        return Health(alive, ready, report or info or LOADING, load)

    def _start(self, installation: tritonserver.Installation) -> None:
        settings = self._settings
        repository = write_repository(settings.state_dir / "repository")
        self._child = tritonserver.start(
            tritonserver.command(installation, settings, repository),
            tritonserver.stub_environment(installation, settings, self._environment),
        )

    def _watch(self) -> Exit | None:
        while not self._stop.wait(POLL_SECONDS):
            if self._state.error is not None:
                return self._hold(self._state.error)
            trouble = self._trouble()
            if trouble is not None:
                self._failure = trouble.to_report()
                log.error("%s", trouble)
                return Exit.DIED
            if self._phase is Phase.LOADING and self._serves():
                self._failure, self._phase = None, Phase.SERVING
                log.info("ready: %s", self._settings.spec.model.source)
        return self._drain()

    def _trouble(self) -> EaselError | None:
        assert self._child is not None  # noqa: S101 - for the type checker; _start ran before
        code = self._child.poll()
        if code is not None:
            return BackendFault("tritonserver ended", found=f"exit code {code}", fix="Its log says why")
        return self._sick(self._state.pulse)

    def _sick(self, pulse: Pulse | None) -> EaselError | None:
        if pulse is None:  # still loading
            return None
        if not process_lives(pulse.pid):
            return BackendFault("the engine's process is gone", found=f"pid {pulse.pid}")
        silence = time.monotonic() - pulse.heartbeat
        if silence > self._settings.stall_seconds:
            return Stalled("the engine made no turn", found=f"{silence:.0f} s")
        return None

    def _serves(self) -> bool:
        if self._state.info is None or self._state.pulse is None:
            return False
        host = "127.0.0.1" if self._settings.bind == "0.0.0.0" else self._settings.bind  # noqa: S104 - compared
        try:
            socket.create_connection((host, self._settings.grpc_port), timeout=1).close()
        except OSError:
            return False
        return True

    def _hold(self, report: ErrorReport) -> Exit | None:
        """Show why the model failed to load for a while, then try again."""
        self._failure, self._phase = report, Phase.FAILED
        log.error("the model failed to load: %s", report.to_error())
        self._kill()
        return Exit.DRAINED if self._stop.wait(self._settings.retry_seconds) else None

    def _drain(self) -> Exit:
        """Let running items finish; new ones are refused and go to another replica."""
        self._phase = Phase.DRAINING
        self._state.drain()
        end = time.monotonic() + self._settings.drain_seconds
        while time.monotonic() < end and self._busy() and self._trouble() is None:
            time.sleep(POLL_SECONDS)
        return Exit.DRAINED

    def _busy(self) -> bool:
        pulse = self._state.pulse
        # Until the engine says that it drains, its counts may be older than the last request it took.
        return pulse is not None and (not pulse.draining or pulse.running + pulse.waiting > 0)

    def _kill(self) -> None:
        """End tritonserver: politely while its stub lives, else at once, for it would wait for the stub in vain."""
        child, pulse = self._child, self._state.pulse
        if child is None:
            return
        if pulse is not None and self._sick(pulse) is None and child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(KILL_SECONDS)
        child.kill()
        child.wait()
        if pulse is not None and process_lives(pulse.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pulse.pid, signal.SIGKILL)
        tritonserver.clean_shared_memory()


def check_ports(settings: Settings) -> None:
    """Refuse a taken port by name: two tritonservers would share a port and split its requests."""
    for name, port in (("EASEL_GRPC_PORT", settings.grpc_port), ("EASEL_METRICS_PORT", settings.metrics_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.bind, port))
            except OSError as error:
                raise EnvironmentFault(
                    "the port is taken" if error.errno == 98 else "cannot listen",
                    where=f"port {port} ({name})",
                    found=error.strerror or str(error),
                    fix=f"Stop what listens there, or set {name} to a free port",
                ) from error


def process_lives(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")
