"""`easel doctor`: what this machine has and lacks for `easel run`."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from easel_api.errors import EaselError, ExitCode

_GIB = 2**30
_NEEDED_DISK = 1 * _GIB
_NEEDED_MEMORY = 2 * _GIB
_SHARED = "/dev/shm"  # noqa: S108 - Triton's place for it, not ours
_PYTHONS = ((3, 11), (3, 13))


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    NOTE = "note"
    LACKS = "lacks"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about this machine."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def doctor() -> ExitCode:
    """Prints every finding; `ENVIRONMENT` when `easel run` cannot work here."""
    findings = [check() for check in CHECKS]
    for line in rendered(findings, colour=sys.stdout.isatty()):
        print(line)
    return ExitCode.ENVIRONMENT if any(finding.verdict is Verdict.LACKS for finding in findings) else ExitCode.DONE


def rendered(findings: list[Finding], *, colour: bool) -> Iterator[str]:
    """Lines for a person."""
    paint = {Verdict.OK: "32", Verdict.NOTE: "33", Verdict.LACKS: "31"}
    for finding in findings:
        mark = f"{finding.verdict.value:<6}"
        if colour:
            mark = f"\033[{paint[finding.verdict]}m{mark}\033[0m"
        yield f"{mark} {finding.name:<14} {finding.found}"
        if finding.fix:
            yield f"{'':<21}  {finding.fix}"
    missing = sum(finding.verdict is Verdict.LACKS for finding in findings)
    yield "easel run works here." if not missing else f"easel run does not work here: {missing} thing(s) to mend."


def python() -> Finding:
    """The interpreter: Triton's stub exists for these versions."""
    version = platform.python_version()
    low, high = _PYTHONS
    if low <= sys.version_info[:2] <= high:
        return Finding("Python", Verdict.OK, version)
    return Finding("Python", Verdict.LACKS, version, f"Use Python {low[0]}.{low[1]} to {high[0]}.{high[1]}")


def libpython() -> Finding:
    """Triton's stub links this library; a Python built without it does not bring it along."""
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    folders = (
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix, "lib"),
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    )
    for folder in folders:
        if folder and Path(folder, name).exists():
            return Finding("libpython", Verdict.OK, str(Path(folder, name)))
    if ctypes.util.find_library(name.removeprefix("lib").split(".so")[0]):
        return Finding("libpython", Verdict.OK, name)
    return Finding("libpython", Verdict.LACKS, f"no {name}", f"apt-get install {name.split('.so', maxsplit=1)[0]}")


def tritonserver() -> Finding:
    """The server."""
    from easel_inference.serving.tritonserver import find

    try:
        return Finding("tritonserver", Verdict.OK, str(find(os.environ).binary))
    except EaselError as error:
        return Finding("tritonserver", Verdict.LACKS, error.found, error.fix)


def engine() -> Finding:
    """The packages that generate; looked for, not imported: that would take seconds."""
    missing = [name for name in ("torch", "diffusers", "transformers", "safetensors", "av") if find_spec(name) is None]
    if missing:
        return Finding("engine", Verdict.LACKS, f"no {', '.join(missing)}", "pip install 'easel-operator[local]'")
    return Finding("engine", Verdict.OK, "torch, diffusers, transformers, safetensors, av")


def disk() -> Finding:
    """Room for the server's scratch and for results."""
    free = min(shutil.disk_usage(folder).free for folder in (tempfile.gettempdir(), Path.cwd()))
    return _amount(
        "disk", free, _NEEDED_DISK, f"free in {tempfile.gettempdir()} and here", "Free some space, or set TMPDIR"
    )


def memory() -> Finding:
    """Room for the model."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    return _amount("memory", free, _NEEDED_MEMORY, "available", "Close something, or use a larger machine")


def shared_memory() -> Finding:
    """Triton and its stub speak through /dev/shm."""
    try:
        free = shutil.disk_usage(_SHARED).free
    except OSError:
        return Finding(_SHARED, Verdict.LACKS, "not there", f"Mount a tmpfs at {_SHARED}")
    return _amount(_SHARED, free, 64 * 2**20, "free", "In a container give it more: --shm-size=1g")


def ports() -> Finding:
    """The server listens on free ports of the loopback address."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("ports", Verdict.LACKS, f"cannot listen on 127.0.0.1: {error.strerror}", "Allow it")
    return Finding("ports", Verdict.OK, "can listen on 127.0.0.1")


def gpu() -> Finding:
    """Only told: the CPU serves too."""
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return Finding("GPU", Verdict.OK, ", ".join(devices))
    return Finding("GPU", Verdict.NOTE, "none: models are served on the CPU, which suits the miniature")


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, libpython, tritonserver, engine, memory, shared_memory, disk, ports, gpu,
)  # fmt: skip


def _amount(name: str, free: int, needed: int, what: str, fix: str) -> Finding:
    found = f"{free / _GIB:.1f} GiB {what}"
    if free >= needed:
        return Finding(name, Verdict.OK, found)
    return Finding(name, Verdict.LACKS, f"{found}; {needed / _GIB:.1f} GiB needed", fix)
