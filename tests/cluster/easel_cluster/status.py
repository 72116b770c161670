"""What of a cluster runs, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from easel_cluster import processes
from easel_cluster.layout import State


def lines(state: State) -> Iterator[str]:
    """One line for each program that was started, and the kubeconfig."""
    names = processes.names(state)
    if not names:
        yield f"nothing is up in {state.root}"
        return
    for name in names:
        pid = processes.running(state, name)
        yield f"{name:<26} {f'running, pid {pid}' if pid else f'ended, see {state.logs / name}.log'}"
    yield f"export KUBECONFIG={state.kubeconfig}"
