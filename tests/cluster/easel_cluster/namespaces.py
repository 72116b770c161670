"""The walls of the node: network, mount, process, host-name and IPC namespaces, and one link to the machine.

Inside them the node may mount, route, filter and set sysctls as a node does; when their first process ends, the kernel ends
all others and drops mounts, links, routes and packet filters with them. The little that is left
to undo by hand, `machine` undoes.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault, EnvironmentFault
from easel_cluster import machine, processes
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
        machine.prepare(self.state)
        processes.start(self._program(pause), self.state)
        inside = self.pid()
        if inside is None:
            raise BackendFault("the node's first process ended at once", where=str(self.state.logs / f"{NAME}.log"))
        self._furnish(inside)
        return inside

    def fall(self) -> None:
        """End everything inside, and undo what the machine itself was changed by.

        Link and control groups have one name on the whole machine: a folder that never held a node leaves them to the one
        that does.
        """
        if not machine.is_prepared(self.state):
            return
        processes.kill(NAME, self.state)
        # The kernel drops the link together with the namespace, but a moment after its last process.
        if not processes.wait_for(lambda: not _link_is_ours(), 10):
            _run("ip", "link", "delete", LINK)
        machine.restore(self.state)

    def _program(self, pause: Path) -> Program:
        walls = ("--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc", "--propagation", "private")
        return Program(NAME, (str(pause), "pause"), lambda: _has_become(self.pid(), pause), walls=walls)

    def _furnish(self, inside: int) -> None:
        # Shared among the node's own mount namespaces (pods), private towards the machine.
        within = processes.enter(inside)
        folders = " && ".join(
            f"mount -t tmpfs -o mode=755 easel {folder}" for folder in ("/run", *machine.PRIVATE_FOLDERS)
        )
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
    try:
        return (Path("/sys/class/net") / LINK / "ifalias").read_text().strip() == MARK
    except OSError:
        return False


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": processes.SYSTEM_PATH})
    if done.returncode:
        raise BackendFault(f"`{' '.join(command)[:200]}` failed", found=done.stderr.strip())
    return done.stdout
