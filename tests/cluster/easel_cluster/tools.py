"""Builds the programs from the Go modules pinned in `tests/cluster/go`, each once.

A program is kept under a hash of everything that decides its bytes: go.mod, go.sum, the flags and Go's version. Go
checks each module against go.sum; nothing prebuilt is downloaded. Only what is asked for is built: a test run that needs
an API server does not pay for containerd. A program in Python gets a virtual environment of its own beside them, under a hash
of its requirements and Python's version; one in JavaScript a folder of packages, under a hash of its lock and Node's version.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault, EnvironmentFault
from easel_cluster import debian
from easel_cluster.layout import GO_MODULES, NPM_PACKAGES, REPOSITORY, cache_folder
from easel_cluster.pins import API_TOOLS, IMAGE_TOOLS, KUBERNETES_VERSION, NODE_TOOLS, TOOLS, Tool

__all__ = [
    "API_TOOLS",
    "CHECKOV",
    "IMAGE_TOOLS",
    "KUBERNETES_VERSION",
    "NODE_TOOLS",
    "TOOLS",
    "NodeProgram",
    "Report",
    "Tool",
    "ensure",
    "installed",
    "packaged",
    "say",
]

Report = Callable[[str], None]

CHECKOV = REPOSITORY / "requirements" / "checkov.txt"
"""Hashed requirements of a program in Python whose pins do not go with ours."""

PROGRESS_SECONDS = 15.0
GO_FOLDER = "/usr/local/go/bin"
"""Where Go's own installer puts it, which is not on everyone's PATH."""


def say(line: str) -> None:
    """Print progress where tests and people see it at once."""
    print(line, flush=True)


def ensure(names: Iterable[str], report: Report = say) -> dict[str, Path]:
    """The paths of the named programs, built now where they are missing.

    Raises `EnvironmentFault` when Go, a compiler or a library is missing, `BackendFault` when a build fails.
    """
    wanted = [_known(name) for name in names]
    version = go_version() if wanted else ""
    return {tool.name: _ensure(tool, version, report) for tool in wanted}


def source_of(module: str, package: str) -> Path:
    """The source of a pinned module, for what comes with it besides programs; downloaded and checked when it is not there."""
    command = [_go(), "mod", "download", "-json", package]
    done = subprocess.run(
        command, cwd=GO_MODULES / module, env=_environment(), capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout or "{}")
    if "Dir" not in found:
        raise BackendFault(f"cannot download {package}", found=found.get("Error") or done.stderr.strip())
    return Path(found["Dir"])


def folder_of(tool: Tool, version: str) -> Path:
    """The cache folder of a program: another pin, flag or compiler is another folder."""
    digest = hashlib.sha256()
    sources = sorted(path for path in (GO_MODULES / tool.module).iterdir() if path.suffix in {".mod", ".sum", ".go"})
    for part in (*(path.read_bytes() for path in sources), repr(tool).encode(), version.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return cache_folder() / "tools" / f"{tool.module}-{tool.name}-{digest.hexdigest()[:16]}"


def installed(requirements: Path, report: Report = say) -> Path:
    """The programs of a virtual environment with just what a hashed requirements file lists; made now where it is missing.

    Raises `BackendFault` when it cannot be made.
    """
    folder = _folder_of_environment(requirements)
    _once(folder, requirements.stem, lambda: _install(requirements, folder, report), report)
    return folder / "venv" / "bin"


@dataclass(frozen=True)
class NodeProgram:
    """A program in JavaScript."""

    node: str
    packages: Path

    def command(self, name: str) -> tuple[str, ...]:
        """The beginning of its command line. Node is named, since a program's environment may not find it."""
        return self.node, str(self.packages / "node_modules" / ".bin" / name)


def packaged(name: str, report: Report = say) -> NodeProgram:
    """The program of a folder of `tests/cluster/npm`, with just what its lock lists; installed now where it is missing.

    Raises `EnvironmentFault` when there is no Node.js and it cannot be installed, `BackendFault` when the program cannot be.
    """
    debian.need_javascript(report)
    node = shutil.which("node") or "node"
    folder = _folder_of_packages(name, node)
    _once(folder, name, lambda: _unpack(name, folder, report), report)
    return NodeProgram(node, folder)


def _folder_of_packages(name: str, node: str) -> Path:
    version = subprocess.run([node, "--version"], capture_output=True, check=True).stdout
    pins = [(NPM_PACKAGES / name / each).read_bytes() for each in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"\0".join((version, *pins))).hexdigest()
    return cache_folder() / "tools" / f"npm-{name}-{digest[:16]}"


def _unpack(name: str, folder: Path, report: Report) -> None:
    for each in ("package.json", "package-lock.json"):
        shutil.copy(NPM_PACKAGES / name / each, folder)
    # The lock has a hash for each package and no address: they come from wherever this machine's npm looks. No package's script is run.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    _logged(f"installing {name}", command, folder / "install.log", folder, report)


def _once(folder: Path, what: str, make: Callable[[], None], report: Report) -> None:
    """Has a folder of the cache made, by one process at a time, and never again once it was."""
    done = folder / "done"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", f"another process installs {what}", report):
        if not done.exists():
            make()
            done.touch()


def _logged(what: str, command: list[str], log: Path, folder: Path, report: Report) -> None:
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        watch(process, what, report)
    if process.returncode:
        raise BackendFault(f"{what} failed", found=last_lines(log, 4), fix=f"The whole log is {log}.")


def _folder_of_environment(requirements: Path) -> Path:
    digest = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    return cache_folder() / "tools" / f"python-{requirements.stem}-{digest[:16]}"


def _install(requirements: Path, folder: Path, report: Report) -> None:
    log, environment = folder / "install.log", folder / "venv"
    # Wheels alone: a source is built with tools that nobody pinned.
    pip = [str(environment / "bin" / "pip"), "install", "--disable-pip-version-check", "--quiet", "--only-binary=:all:"]
    commands = {
        f"making an environment for {requirements.stem}": [sys.executable, "-m", "venv", "--clear", str(environment)],
        f"installing {requirements.stem}": [*pip, "--no-deps", "--require-hashes", "--requirement", str(requirements)],
    }
    for what, command in commands.items():
        _logged(what, command, log, folder, report)


def forget_others() -> list[str]:
    """Delete programs that this checkout does not ask for: other pins, other flags, other compilers; their folders."""
    version = go_version()
    kept = {folder_of(tool, version).name for tool in TOOLS.values()} | {_folder_of_environment(CHECKOV).name}
    if node := shutil.which("node"):
        kept |= {_folder_of_packages(each.name, node).name for each in NPM_PACKAGES.iterdir()}
    others = [folder for folder in (cache_folder() / "tools").glob("*") if folder.name not in kept]
    for folder in others:
        shutil.rmtree(folder)
    return sorted(folder.name for folder in others)


def go_version() -> str:
    """What `go version` says, without its first words; checks that it is new enough for every pinned module."""
    told = subprocess.run(
        [_go(), "env", "GOVERSION"], capture_output=True, text=True, check=True, env=_environment()
    ).stdout
    return check_go(told.strip(), minimum=_minimum_go())


def check_go(version: str, *, minimum: tuple[int, ...]) -> str:
    """The version itself when it is at least `minimum`."""
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if found < minimum:
        needed = ".".join(map(str, minimum))
        raise EnvironmentFault(
            "Go is too old", where="go", found=version, fix=f"Install Go {needed} or newer from go.dev/dl."
        )
    return version


def _minimum_go() -> tuple[int, ...]:
    lines = [re.search(r"^go ([\d.]+)$", path.read_text(), re.MULTILINE) for path in GO_MODULES.glob("*/go.mod")]
    return max(tuple(map(int, line[1].split("."))) for line in lines if line)


def _known(name: str) -> Tool:
    try:
        return TOOLS[name]
    except KeyError:
        raise EnvironmentFault("no such tool", where=name, fix=f"Tools are: {', '.join(TOOLS)}.") from None


def _go() -> str:
    found = shutil.which("go") or shutil.which("go", path=GO_FOLDER)
    if not found:
        fix = "Install Go (go.dev/dl) and put it on PATH; everything else is built with it."
        raise EnvironmentFault("no Go compiler on this machine", where="go", fix=fix)
    return found


def _environment() -> dict[str, str]:
    # A newer toolchain is never fetched behind our back: the version is part of the cache key.
    return os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}


def _ensure(tool: Tool, version: str, report: Report) -> Path:
    folder = folder_of(tool, version)
    program = folder / tool.name
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", f"another process builds {tool.name}", report):
        if not program.exists():
            _build(tool, folder, report)
    return program


def _build(tool: Tool, folder: Path, report: Report) -> None:
    if tool.cgo:
        debian.need_c_compiler(report)
    log, partial = folder / "build.log", folder / f".{tool.name}.partial"
    command = [_go(), "build", "-o", str(partial), *tool.flags, tool.package]
    environment = _environment() | {"CGO_ENABLED": "1" if tool.cgo else "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=GO_MODULES / tool.module, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        seconds = watch(process, f"building {tool.name}", report)
    if process.returncode:
        raise BackendFault(
            f"building {tool.name} failed", where=tool.package, found=last_lines(log, 4), fix=f"The whole log is {log}."
        )
    partial.rename(folder / tool.name)
    report(f"built {tool.name} in {seconds:.0f} s")


def watch(process: subprocess.Popen[bytes], what: str, report: Report) -> float:
    """Wait for a long command, saying every while that it goes on; how long it took in seconds."""
    started = time.monotonic()
    report(f"{what} ...")
    try:
        while process.poll() is None:
            try:
                process.wait(PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                report(f"{what} ... {time.monotonic() - started:.0f} s")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return time.monotonic() - started


def last_lines(log: Path, count: int) -> str:
    """The end of a log, for an error's text."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(line[:200] for line in lines[-count:]) or "an empty log"


@contextmanager
def locked(path: Path, waiting: str, report: Report) -> Iterator[None]:
    """Hold a file's lock; says so when it has to wait. The lock ends with the process, however it ends."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"{waiting}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
