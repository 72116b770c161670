"""Debian packages that programs need: installed where that is possible, named where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from easel_api.errors import EnvironmentFault
from easel_cluster.layout import cache_folder

NODE_PROGRAMS = {
    "ip": "iproute2", "iptables": "iptables", "nft": "nftables", "conntrack": "conntrack", "unshare": "util-linux",
    "nsenter": "util-linux", "mount": "mount",
}  # fmt: skip
"""Programs that a node calls, and the Debian package that has each."""


def need_node_programs(report: Callable[[str], None]) -> None:
    """Network tools for the node, kube-proxy and the CNI plugins."""
    _need({package for program, package in NODE_PROGRAMS.items() if not _on_path(program)}, report)


def need_c_compiler(report: Callable[[str], None]) -> None:
    """A C compiler and libseccomp, for runc."""
    missing = {package for program, package in (("gcc", "gcc"), ("pkg-config", "pkg-config")) if not _on_path(program)}
    if "pkg-config" in missing or subprocess.run(["pkg-config", "--exists", "libseccomp"], check=False).returncode:
        missing.add("libseccomp-dev")
    _need(missing, report)


def need_javascript(report: Callable[[str], None]) -> None:
    """Node.js and npm, for programs in JavaScript."""
    _need({package for program, package in (("node", "nodejs"), ("npm", "npm")) if not _on_path(program)}, report)


def need_debootstrap(report: Callable[[str], None]) -> None:
    """What makes a Debian root folder."""
    _need(set() if _on_path("debootstrap") else {"debootstrap"}, report)


def unpacked(package: str, program: str, report: Callable[[str], None]) -> Path:
    """A program of a Debian package that is not installed, since its daemon would start: unpacked into the cache."""
    return unpacked_file(package, f"usr/bin/{program}", report)


def unpacked_file(package: str, path: str, report: Callable[[str], None]) -> Path:
    """A file of a Debian package; the path may have wildcards."""
    folder = cache_folder() / "debian" / package
    if found := next(folder.glob(path), None):
        return found
    if not shutil.which("apt-get"):
        raise EnvironmentFault("no apt-get on this machine", where=package, fix=f"Put {path} into {folder}.")
    report(f"unpacking {path} from the Debian package {package}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "download", package]):
        _run(command, "Download the package by hand.", cwd=folder)
    (archive,) = folder.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "-x", archive.name, "."], "Look at the package.", cwd=folder)
    archive.unlink()
    return next(folder.glob(path))


def _run(command: list[str], fix: str, *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " | ".join((done.stdout + done.stderr).splitlines()[-3:])
        raise EnvironmentFault(f"`{' '.join(command)}` failed", found=last, fix=fix)


def _need(packages: Iterable[str], report: Callable[[str], None]) -> None:
    missing = sorted(packages)
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise EnvironmentFault(
            "programs are missing on this machine",
            found=", ".join(missing),
            fix=f"As root: apt-get install {' '.join(missing)}",
        )
    report(f"installing Debian packages: {' '.join(missing)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing],
    ):
        _run(command, "Install the packages by hand.", env=environment)


def _on_path(program: str) -> bool:
    return shutil.which(program) is not None or shutil.which(program, path="/usr/sbin:/sbin") is not None
