"""Up, pods, down: and the machine is as it was."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from easel_cluster import cluster as node_cluster
from easel_cluster import processes
from easel_cluster.cluster import Cluster, attach, down, up
from easel_cluster.layout import State, default_state_folder
from easel_cluster.machine import SYSCTLS
from easel_cluster.namespaces import LINK
from web_workload import deploy

from easel_api.errors import EnvironmentFault

pytestmark = pytest.mark.cluster

LOOKED_AT = {
    "links": ("ip", "-brief", "link"),
    "addresses": ("ip", "-brief", "address"),
    "routes": ("ip", "route", "show", "table", "all"),
    "mounts": ("findmnt", "--raw", "--output", "TARGET,SOURCE,FSTYPE"),
    "nftables": ("nft", "list", "ruleset"),
    "iptables": ("iptables-save",),
    "namespaces": ("lsns", "--noheadings", "--output", "NS,TYPE", "--type", "net"),
}
FOLDERS = ("/etc", "/opt", "/run", "/var/lib", "/var/log", "/usr/libexec", "/sys/fs/cgroup")


def machine() -> dict[str, object]:
    """All that a node could have changed and that nothing else here changes meanwhile."""
    seen: dict[str, Any] = {
        name: sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
        for name, command in LOOKED_AT.items()
    }
    # Other tests mount disks of their own there; nothing of the node is there.
    seen["mounts"] = [line for line in seen["mounts"] if not line.startswith(tempfile.gettempdir())]
    sysctls = (*SYSCTLS, "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/netfilter/nf_conntrack_max")
    seen["sysctls"] = {
        name: (Path("/proc/sys") / name).read_text() for name in sysctls if (Path("/proc/sys") / name).exists()
    }
    seen["folders"] = sorted(
        str(path) for folder in FOLDERS if Path(folder).exists() for path in Path(folder).iterdir()
    )
    seen["cgroups"] = sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir())
    return seen


def processes_of(cluster: Cluster) -> set[processes.Identity]:
    """The cluster's programs, and whatever descends from the node's first process: shims, sandboxes, containers."""
    ours = {processes.running(cluster.state, name) for name in processes.names(cluster.state)}
    waiting = [cluster.node.inside]
    while waiting:
        pid = waiting.pop()
        ours.add(pid)
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            waiting += map(int, (thread / "children").read_text().split())
    return {identity for pid in ours if pid and (identity := processes.identify(pid))}


def test_down_leaves_the_machine_as_it_was(request: pytest.FixtureRequest) -> None:
    state = State(default_state_folder())
    try:
        node_cluster.need_root()
    except EnvironmentFault as fault:
        pytest.skip(f"no node on this machine: {fault}")
    if attach(state) is not None:
        shared = any("cluster" in getattr(item, "fixturenames", ()) for item in request.session.items)
        if not shared:
            pytest.skip("a node is up that this session did not start: run `make cluster-down` first")
        down(state)
    before = machine()
    cluster = up(state)
    deploy(cluster, "trace")
    assert machine() != before
    running = processes_of(cluster)
    # Ten programs, and for each of two pods a shim, a sandbox and a container.
    assert len(running) >= 16
    down(state)
    assert processes.wait_for(lambda: machine() == before, 10), {
        name: (before[name], now) for name, now in machine().items() if now != before[name]
    }
    assert [each for each in running if processes.identify(each.pid) == each] == []
    assert not state.root.exists()


def test_a_foreign_link_of_our_name_is_left_alone() -> None:
    state = State(default_state_folder())
    if node_cluster.os.geteuid() != 0:
        pytest.skip("no node on this machine: it needs root")
    if attach(state) is not None:
        pytest.skip("a node is up: its own link has the name")
    subprocess.run(["ip", "link", "add", LINK, "type", "bridge"], check=True)
    try:
        with pytest.raises(EnvironmentFault, match="made by someone else"):
            up(state)
        down(state)
        assert (Path("/sys/class/net") / LINK).exists()
    finally:
        subprocess.run(["ip", "link", "delete", LINK], check=True)
