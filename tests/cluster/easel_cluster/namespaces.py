"""The walls of the node: network, mount, process, host-name and IPC namespaces, and one link to the machine.

Inside them the node may mount, route, filter and set sysctls as a node does; when their first process ends, the kernel ends
all others and drops mounts, links, routes and packet filters with them. What is left to undo by hand is little: empty
folders that had to exist as mount points, control groups, and the few sysctls that the kernel does not keep per namespace.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault, EnvironmentFault
from easel_cluster import processes
from easel_cluster.controlplane import POD_CIDR, SERVICE_CIDR
from easel_cluster.layout import State
from easel_cluster.processes import Program

NAME = "node-namespaces"
LINK = "easel0"
MARK = "easel-cluster"
"""The alias that says that a link is ours."""

NETWORK = "172.29.77.0/24"
HOST_ADDRESS = "172.29.77.1"
NODE_ADDRESS = "172.29.77.2"
NODE_NAME = "easel-node"

CGROUP = "easel"
PRIVATE_FOLDERS = ("/var/lib/cni", "/var/log/containers", "/var/lib/kubelet")
"""Folders that containerd's network library and kubelet write to, whatever they are told."""

GLOBAL_SYSCTLS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)  # fmt: skip
"""Settings that kubelet changes and that the kernel keeps for the whole machine."""


@dataclass(frozen=True)
class Namespaces:
    """The node's namespaces; `pid` is their first process, seen from outside."""

    state: State

    def pid(self) -> int | None:
        """The first process inside, while it lives."""
        return processes.running(self.state, NAME)

    def raise_walls(self, pause: Path) -> int:
        """Make the namespaces and their link unless they are there; the first process inside.

        Raises `EnvironmentFault` when the link's name or the network is taken by someone else.
        """
        alive = self.pid()
        if alive:
            return alive
        _refuse_foreign_link()
        _refuse_overlap()
        self._remember_machine()
        processes.start(self._program(pause), self.state)
        inside = self.pid()
        if inside is None:
            raise BackendFault("the node's first process ended at once", where=str(self.state.logs / f"{NAME}.log"))
        self._furnish(inside)
        return inside

    def fall(self) -> None:
        """End everything inside, and undo what the machine itself was changed by."""
        processes.kill(NAME, self.state)
        # The kernel drops the link together with the namespace, but a moment after its last process.
        processes.wait_for(lambda: not _link_exists(), 10)
        if _link_exists() and _link_is_ours():
            _run("ip", "link", "delete", LINK)
        remove_cgroups(CGROUP)
        self._restore_machine()

    def _program(self, pause: Path) -> Program:
        walls = ("--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc", "--propagation", "private")
        return Program(NAME, (str(pause), "pause"), lambda: _has_become(self.pid(), pause), walls=walls)

    def _furnish(self, inside: int) -> None:
        # Shared among the node's own mount namespaces (pods), private towards the machine.
        within = processes.enter(inside)
        folders = " && ".join(f"mount -t tmpfs -o mode=755 easel {folder}" for folder in ("/run", *PRIVATE_FOLDERS))
        _run(
            *within, "sh", "-euc", f"mount --make-rshared / && {folders} && mkdir -p /run/lock && hostname {NODE_NAME}"
        )
        _run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", str(inside))
        _run("ip", "link", "set", LINK, "alias", MARK)
        _run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", LINK)
        _run("ip", "link", "set", LINK, "up")
        _run(*within, "ip", "link", "set", "lo", "up")
        _run(*within, "ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "eth0")
        _run(*within, "ip", "link", "set", "eth0", "up")
        _run(*within, "ip", "route", "add", "default", "via", HOST_ADDRESS)
        _run(*within, "sh", "-euc", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for network in (POD_CIDR, SERVICE_CIDR):
            _run("ip", "route", "add", network, "via", NODE_ADDRESS, "dev", LINK)

    def _remember_machine(self) -> None:
        file = self.state.config / "machine.json"
        if file.exists():
            return
        made = [folder for folder in PRIVATE_FOLDERS if not Path(folder).exists()]
        sysctls = {name: (Path("/proc/sys") / name).read_text().strip() for name in GLOBAL_SYSCTLS}
        file.write_text(json.dumps({"folders": made, "sysctls": sysctls}))
        for folder in made:
            Path(folder).mkdir(parents=True)
        for controller in _cgroup_roots():
            (controller / CGROUP).mkdir(exist_ok=True)

    def _restore_machine(self) -> None:
        file = self.state.config / "machine.json"
        if not file.exists():
            return
        kept = json.loads(file.read_text())
        for name, value in kept["sysctls"].items():
            path = Path("/proc/sys") / name
            if path.read_text().strip() != value:
                path.write_text(value)
        for folder in kept["folders"]:
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()
        file.unlink()


def _has_become(pid: int | None, program: Path) -> bool:
    # Until unshare has executed the program, the mounts are not made yet.
    try:
        return pid is not None and Path(f"/proc/{pid}/exe").readlink() == program.resolve()
    except OSError:
        return False


def _refuse_foreign_link() -> None:
    if _link_exists():
        whose = "a node whose state folder is elsewhere or gone" if _link_is_ours() else "someone else"
        raise EnvironmentFault(
            f"a network link named {LINK} is there already",
            where=LINK,
            found=f"made by {whose}",
            fix=f"Take that node down (EASEL_CLUSTER_DIR names its folder), or remove the link: ip link delete {LINK}",
        )


def _refuse_overlap() -> None:
    listed = json.loads(_run("ip", "-json", "-4", "route", "show", "table", "all"))
    routes = {route["dst"] for route in listed if route["dst"] != "default"}
    clash = overlapping(routes, (NETWORK, POD_CIDR, SERVICE_CIDR))
    if clash:
        raise EnvironmentFault(
            "this machine already has a route into the test cluster's networks",
            found=", ".join(clash),
            fix=f"The cluster needs {NETWORK}, {POD_CIDR} and {SERVICE_CIDR} for itself.",
        )


def overlapping(routes: set[str], networks: tuple[str, ...]) -> list[str]:
    """Those routes that lead into one of the networks, or hold one."""
    wanted = [ipaddress.ip_network(network) for network in networks]
    return sorted(route for route in routes if any(ipaddress.ip_network(route).overlaps(each) for each in wanted))


def _link_exists() -> bool:
    return (Path("/sys/class/net") / LINK).exists()


def _link_is_ours() -> bool:
    return (Path("/sys/class/net") / LINK / "ifalias").read_text().strip() == MARK


def _cgroup_roots() -> list[Path]:
    """Version 2 has one hierarchy; version 1 has one for each controller."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top]
    # Controllers that are mounted together are one folder and links to it.
    return [each for each in top.iterdir() if each.is_dir() and not each.is_symlink()]


def remove_cgroups(name: str) -> None:
    """Remove a control group of ours, and those in it, from every hierarchy; nothing may run in them any more."""
    for root in _cgroup_roots():
        for folder, _, _ in os.walk(root / name, topdown=False):
            Path(folder).rmdir()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": processes.SYSTEM_PATH})
    if done.returncode:
        raise BackendFault(f"`{' '.join(command)[:200]}` failed", found=done.stderr.strip())
    return done.stdout
