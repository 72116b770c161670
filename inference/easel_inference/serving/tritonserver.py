"""Finds a tritonserver and starts it closed: gRPC and metrics alone, and none of its administration.

Two kinds are known. An installation (NVIDIA's container image) has its Python stub in place. The nvidia-pytriton wheel
carries one stub for each Python version in a folder of its own; the one that fits is copied into a private backend
folder, so that the wheel stays as it was installed. The stub links libpython and takes its packages from the first
`python3` on PATH, so both are set to this interpreter's own.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import EnvironmentFault

from . import lifeline
from .settings import Settings

VARIABLE = "EASEL_TRITONSERVER"
INSTALLED = Path("/opt/tritonserver/bin/tritonserver")
EXIT_SECONDS = 5
CLOSED = ("shared-memory", "model-repository", "model-config", "trace", "logging")

PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Installation:
    """A tritonserver and its folders."""

    binary: Path

    @property
    def root(self) -> Path:
        """The folder that holds `bin` and `backends`."""
        return self.binary.parent.parent

    @property
    def stub(self) -> Path | None:
        """The stub for this Python, where the installation keeps one for each version."""
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = self.root / "python_backend_stubs" / minor / "triton_python_backend_stub"
        return stub if stub.is_file() else None


def find(environment: Mapping[str, str]) -> Installation:
    """The tritonserver to use; `EnvironmentFault` says where it was looked for."""
    named = environment.get(VARIABLE)
    if named:
        return _named(Path(named))
    found = shutil.which("tritonserver", path=environment.get("PATH"))
    for binary in (Path(found) if found else None, INSTALLED, _in_wheel()):
        if binary and binary.is_file():
            return Installation(binary.resolve())
    raise EnvironmentFault(
        "no tritonserver on this machine",
        where="tritonserver",
        found=f"neither {VARIABLE}, nor on PATH, nor {INSTALLED}, nor in the nvidia-pytriton package",
        fix="Install the `local` extra: pip install 'easel-operator[local]'",
    )


def _named(binary: Path) -> Installation:
    if not binary.is_file():
        raise EnvironmentFault("no such file", where=VARIABLE, found=os.fspath(binary))
    return Installation(binary.resolve())


def _in_wheel() -> Path | None:
    spec = importlib.util.find_spec("pytriton")  # found, never imported: its code wants an older numpy
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "tritonserver" / "bin" / "tritonserver"


def backends(installation: Installation, state_dir: Path) -> Path:
    """The backend folder: the installation's, or a private one with the stub for this Python in place."""
    shared = installation.root / "backends"
    if installation.stub is None:
        return shared
    private = state_dir / "backends" / "python"
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (private / name).symlink_to(shared / "python" / name)
    # A copy: the stub finds the wheel's libraries relative to itself, and Triton starts it from this folder.
    shutil.copy2(installation.stub, private / installation.stub.name)
    return private.parent


def stub_environment(installation: Installation, settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What tritonserver and its stub see."""
    libraries = [_libpython(), *_wheel_libraries(installation), environment.get("LD_LIBRARY_PATH", "")]
    return {
        **environment,
        "PATH": os.pathsep.join((os.fspath(Path(sys.executable).parent), environment.get("PATH", os.defpath))),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONUNBUFFERED": "1",
        "EASEL_MODEL_DEPLOYMENT": settings.spec.model_dump_json(by_alias=True, exclude_none=True),
        "EASEL_STATE_DIR": os.fspath(settings.state_dir),
        "EASEL_CLAIMS_DIR": os.fspath(settings.claims),
        "EASEL_THREADS": str(settings.threads),
        # torch's pool is the batcher's; a pool for each other thread would fight with it.
        "OMP_NUM_THREADS": str(settings.threads),
        "TOKENIZERS_PARALLELISM": "false",
    }


def command(installation: Installation, settings: Settings, repository: Path) -> list[str]:
    """The command line. What administers a server needs a header that nobody knows, not even the launcher."""
    closed = f"{','.join(CLOSED)}:easel-closed={secrets.token_hex(16)}"
    cpu = settings.spec.resources.gpus == 0
    return [
        os.fspath(installation.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends(installation, settings.state_dir)}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name=easel-{os.getpid()}-",
        "--allow-http=false",
        "--allow-grpc=true",
        f"--grpc-address={settings.bind}",
        f"--grpc-port={settings.grpc_port}",
        f"--grpc-restricted-protocol={closed}",
        # Workers ping to notice a replica that is gone; by default a third ping within minutes ends the connection.
        "--grpc-http2-max-ping-strikes=0",
        "--allow-metrics=true",
        f"--allow-gpu-metrics={'false' if cpu else 'true'}",
        f"--metrics-address={settings.bind}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        "--log-info=false",
        "--log-warning=false",
    ]


def start(command: list[str], environment: dict[str, str], log: int | None = None) -> subprocess.Popen[bytes]:
    """Start it so that it dies with this process. Call from the main thread: the kernel watches the thread."""
    with lifeline.open_lifeline() as ends:
        return subprocess.Popen(
            command,
            env=environment | lifeline.variable(ends),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=killed_with_parent,
            pass_fds=ends,
        )


def clean_shared_memory() -> None:
    """Remove what killed tritonservers of this launcher, or of one that is gone, left in /dev/shm."""
    for region in Path("/dev/shm").glob("easel-*-*"):  # noqa: S108 - Triton's place for it
        owner = region.name.split("-")[1]
        if owner == str(os.getpid()) or not Path(f"/proc/{owner}").exists():
            region.unlink(missing_ok=True)


def killed_with_parent() -> None:
    """For `preexec_fn`: the kernel kills this process when its parent ends."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ended_with_parent() -> None:
    """For `preexec_fn`: the kernel asks this process to end when its parent has."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


_LIBC = ctypes.CDLL(None)


def _libpython() -> str:
    """The folder of this interpreter's libpython, which the stub links."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), Path(sys.base_prefix) / "lib"]
    folders += [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu"), Path("/usr/local/lib")]
    folder = next((folder for folder in folders if (folder / name).exists()), None)
    if folder is None:
        raise EnvironmentFault(
            "Triton's Python backend needs the shared library of this Python",
            where=name,
            found=f"not in {', '.join(map(os.fspath, folders))}",
            fix=f"Install it (Debian: apt install libpython{sys.version_info.major}.{sys.version_info.minor})",
        )
    return os.fspath(folder)


def _wheel_libraries(installation: Installation) -> list[str]:
    """The stub finds the wheel's libraries by a path relative to itself, which its copy has not."""
    libraries = installation.root.parent.parent / "nvidia_pytriton.libs"
    return [os.fspath(libraries)] if installation.stub and libraries.is_dir() else []
