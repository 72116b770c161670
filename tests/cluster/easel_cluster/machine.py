"""What a node changes on the machine itself, outside its namespaces: remembered before, undone after.

It is little: empty folders that have to exist as mount points, control groups, and the few settings that the kernel keeps
for the whole machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from easel_api.errors import BackendFault
from easel_cluster import processes
from easel_cluster.layout import State, write_changed

CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "easel"
WANTED_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")

PRIVATE_FOLDERS = ("/var/lib/cni", "/var/log/containers", "/var/lib/kubelet")
"""Folders that containerd's network library and kubelet write to, whatever they are told."""

SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Settings that kubelet changes and that are not kept per namespace."""


class Before(BaseModel):
    """The machine before a node: what to put back."""

    folders: list[str]
    """Those that did not exist."""
    sysctls: dict[str, str]
    controllers: list[str] = []
    """Controllers that were not handed down to control groups."""


def prepare(state: State) -> None:
    """Write down how the machine is, then make what the node needs of it; does nothing the second time."""
    file = _file(state)
    if file.exists():
        return
    before = Before(
        folders=[folder for folder in PRIVATE_FOLDERS if not Path(folder).exists()],
        sysctls={name: _sysctl(name).read_text().strip() for name in SYSCTLS},
        controllers=_idle_controllers(),
    )
    write_changed(file, before.model_dump_json())
    for folder in before.folders:
        Path(folder).mkdir(parents=True)
    _switch("+", before.controllers)
    for root in _roots():
        (root / CGROUP).mkdir(exist_ok=True)


def is_prepared(state: State) -> bool:
    """Whether this folder's node changed the machine."""
    return _file(state).exists()


def restore(state: State) -> None:
    """Put the machine back as it was."""
    file = _file(state)
    if not file.exists():
        return
    before = Before.model_validate_json(file.read_text())
    remove_cgroups(CGROUP)
    _switch("-", before.controllers)
    for name, value in before.sysctls.items():
        if _sysctl(name).read_text().strip() != value:
            _sysctl(name).write_text(value)
    for folder in before.folders:
        if Path(folder).is_dir() and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    file.unlink()


def remove_cgroups(name: str) -> None:
    """Remove a control group of ours, and those in it, from every hierarchy."""
    for root in _roots():
        for folder, _, _ in os.walk(root / name, topdown=False):
            _remove(Path(folder))


def _remove(folder: Path) -> None:
    def gone() -> bool:
        try:
            folder.rmdir()
        except OSError:
            return not folder.exists()
        return True

    # A group counts its processes for a moment after they were killed.
    if not processes.wait_for(gone, 10):
        raise BackendFault("a control group is still in use", where=str(folder))


def _roots() -> list[Path]:
    """Version 2 has one hierarchy; version 1 has one for each controller."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    # Controllers that are mounted together are one folder and links to it.
    return [each for each in CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]


def _idle_controllers() -> list[str]:
    """Controllers that kubelet wants and that the root does not hand down; version 1 has no such switch."""
    switch = CGROUPS / "cgroup.subtree_control"
    if not switch.exists():
        return []
    available, handed_down = (CGROUPS / "cgroup.controllers").read_text().split(), switch.read_text().split()
    return [each for each in WANTED_CONTROLLERS if each in available and each not in handed_down]


def _switch(sign: str, controllers: list[str]) -> None:
    for controller in controllers:
        (CGROUPS / "cgroup.subtree_control").write_text(f"{sign}{controller}")


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def _file(state: State) -> Path:
    return state.config / "machine.json"
