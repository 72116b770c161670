"""Ends a pod as a crash would: its processes get SIGKILL at once, without a farewell, and the object goes too."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from easel_cluster.kubectl import Kubectl

Manifest = dict[str, Any]


def kill(kubectl: Kubectl, pod: Manifest, *, proc: Path = Path("/proc")) -> None:
    """Kill what runs in the pod and delete it by force, so that nothing of it is left to finish anything."""
    for pid in processes_of(pod["metadata"]["uid"], proc):
        # The death of one may already have ended another.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    # A pod that is gone already is what was wanted.
    kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--ignore-not-found")


def processes_of(uid: str, proc: Path) -> list[int]:
    """Processes of a pod, found by its uid in their cgroups. Elsewhere than on this machine there are none."""
    # The systemd cgroup driver writes dashes as underscores.
    names = (f"pod{uid}", f"pod{uid.replace('-', '_')}")
    found = []
    for entry in proc.glob("[0-9]*"):
        try:
            if any(name in (entry / "cgroup").read_text() for name in names):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found
