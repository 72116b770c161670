"""Where things are: the cache that outlives checkouts, and the folder of one running cluster.

The state folder is not inside the checkout: `make clean` there must not pull the floor from under running programs, and
unix sockets in it must keep short paths.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import EnvironmentFault

REPOSITORY = Path(__file__).resolve().parents[3]
GO_MODULES = REPOSITORY / "tests" / "cluster" / "go"
NPM_PACKAGES = REPOSITORY / "tests" / "cluster" / "npm"

LONGEST_STATE_PATH = 64
"""Characters: a unix socket's path may have 107, and containerd and kubelet add up to 40 of their own."""


def cache_folder() -> Path:
    """`EASEL_CACHE`, or `~/.cache/easel`."""
    return Path(os.environ.get("EASEL_CACHE") or Path.home() / ".cache" / "easel").absolute()


def default_state_folder() -> Path:
    """`EASEL_CLUSTER_DIR`, or `cluster` in the cache: one node cluster for the machine, whichever checkout asks."""
    return Path(os.environ.get("EASEL_CLUSTER_DIR") or cache_folder() / "cluster").absolute()


@dataclass(frozen=True)
class State:
    """The folder of one cluster."""

    root: Path

    @property
    def logs(self) -> Path:
        """One log file for each program."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """One file for each running program."""
        return self.root / "pids"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Configuration files and kubeconfigs of the programs."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """What the programs keep: etcd's database, objects of the S3 server."""
        return self.root / "data"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "admin.kubeconfig"

    def make(self) -> State:
        """Create the folders, closed to others."""
        if len(str(self.root)) > LONGEST_STATE_PATH and os.geteuid() == 0:
            raise EnvironmentFault(
                "the state folder's path is too long for unix sockets",
                where=str(self.root),
                found=f"{len(str(self.root))} characters",
                fix=f"Set EASEL_CLUSTER_DIR to a path of at most {LONGEST_STATE_PATH} characters.",
            )
        hidden = [
            path
            for path in (self.root, cache_folder())
            if path.is_relative_to("/run") or path.is_relative_to("/var/run")
        ]
        if hidden:
            raise EnvironmentFault(
                "a node has a /run of its own and would not see this folder",
                where=str(hidden[0]),
                fix="Set EASEL_CACHE and EASEL_CLUSTER_DIR to folders elsewhere.",
            )
        for folder in (self.root, self.logs, self.pids, self.pki, self.config, self.data):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def write_changed(path: Path, content: str) -> Path:
    """Write a private file unless it holds just that: kube-proxy ends when its configuration is written, even with the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != content:
        path.touch(mode=0o600)
        path.write_text(content)
    return path
