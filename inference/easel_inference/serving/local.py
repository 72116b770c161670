"""A model served on this machine for the length of a `with` block: what `easel run` and tests use."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from easel_api.errors import BackendFault, EaselError, ErrorReport, Stalled
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_inference.generation import ModelInfo

from .settings import SPEC, STATE_DIR
from .state import State
from .tritonserver import ended_with_parent

LOAD_SECONDS = 600.0
POLL_SECONDS = 0.1
DRAIN_SECONDS = 1.0
STOP_SECONDS = 20.0
HOST = "127.0.0.1"
LISTENING = range(15_000, 30_000)  # below what Linux lends to connections that go out (32768 on, ip(7))
_DRAW = random.SystemRandom()

OnProgress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it listens."""

    grpc_port: int
    metrics_port: int
    http_port: int
    info: ModelInfo
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the gRPC service."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """Triton's metrics."""
        return f"http://{HOST}:{self.metrics_port}/metrics"

    @property
    def http_url(self) -> str:
        """The launcher's probes, without a path."""
        return f"http://{HOST}:{self.http_port}"


@contextlib.contextmanager
def start_local(
    spec: ModelDeploymentSpec,
    state_dir: Path,
    *,
    on_progress: OnProgress | None = None,
    load_seconds: float = LOAD_SECONDS,
    drain_seconds: float = DRAIN_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[LocalServer]:
    """Serve `spec` on free ports of the loopback address; `on_progress` hears the seconds spent loading.

    Raises the typed error of a model that fails to load or of a machine that cannot serve; `Stalled` after
    `load_seconds`. The server is stopped when the block ends, and dies with this process in any case. Its log is
    `state_dir/server.log`.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    State(state_dir).clear()
    ports = _free_ports()
    log = state_dir / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "easel_inference.serving"],
            env={**os.environ, **(environment or {}), **_environment(spec, state_dir, ports, drain_seconds)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for the caller, who stops this at the block's end
            preexec_fn=ended_with_parent,
        )
    try:
        info = _wait(process, state_dir, ports[2], on_progress or (lambda _: None), load_seconds)
        yield LocalServer(*ports, info=info, log=log, process=process)
    finally:
        _stop(process)


def _environment(
    spec: ModelDeploymentSpec, state_dir: Path, ports: tuple[int, int, int], drain_seconds: float
) -> dict[str, str]:
    grpc, metrics, http = map(str, ports)
    return {
        SPEC: spec.model_dump_json(by_alias=True, exclude_none=True),
        STATE_DIR: os.fspath(state_dir),
        "EASEL_BIND": HOST,
        "EASEL_GRPC_PORT": grpc,
        "EASEL_METRICS_PORT": metrics,
        "EASEL_HTTP_PORT": http,
        "EASEL_DRAIN_SECONDS": str(drain_seconds),
    }


def _wait(
    process: subprocess.Popen[bytes], state_dir: Path, port: int, on_progress: OnProgress, limit: float
) -> ModelInfo:
    """The model once it is ready."""
    started = time.monotonic()
    with urllib3.PoolManager(retries=False, timeout=2) as pool:
        while (spent := time.monotonic() - started) < limit:
            if process.poll() is not None:
                raise _why_ended(process, state_dir)
            on_progress(spent)
            if (info := _ask(pool, f"http://{HOST}:{port}")) is not None:
                return info
            time.sleep(POLL_SECONDS)
    raise Stalled("the model did not load in time", found=f"{limit:.0f} s", fix=f"Read {state_dir}/server.log")


def _ask(pool: urllib3.PoolManager, url: str) -> ModelInfo | None:
    try:
        model = pool.request("GET", f"{url}/model")
        if model.status == 200:
            ready = pool.request("GET", f"{url}/readyz").status == 200
            return ModelInfo.model_validate_json(model.data) if ready else None
    except urllib3.exceptions.HTTPError:  # not listening yet
        return None
    report = ErrorReport.model_validate_json(model.data)
    if report.reason != "Loading":
        raise report.to_error()
    return None


def _why_ended(process: subprocess.Popen[bytes], state_dir: Path) -> EaselError:
    report = State(state_dir).error
    if report is not None:
        return report.to_error()
    return BackendFault("the server ended", found=f"exit code {process.poll()}", fix=f"Read {state_dir}/server.log")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    process.kill()
    process.wait()


def _free_ports() -> tuple[int, int, int]:
    """Three ports that nobody listens on.

    None of those that the kernel lends to connections going out: a model loads for minutes before its server listens.
    """
    found: set[int] = set()
    while len(found) < 3:
        port = _DRAW.choice(LISTENING)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found.add(port)
    first, second, third = found
    return first, second, third
