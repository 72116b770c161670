"""Who leads: the rules of a `coordination.k8s.io/v1` Lease, as Kubernetes' own controllers keep them.

Whether another's lease has run out is judged by how long *we* have seen it unchanged, never by comparing clocks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

Verdict = Literal["acquire", "renew", "wait"]


def judge(lease: dict[str, Any] | None, identity: str, unchanged_for: float, duration: float) -> Verdict:
    """What to do about the Lease as it was read."""
    holder = holder_of(lease)
    if holder == identity:
        return "renew"
    expires = float((lease or {}).get("spec", {}).get("leaseDurationSeconds") or duration)
    return "acquire" if not holder or unchanged_for >= expires else "wait"


def holder_of(lease: dict[str, Any] | None) -> str:
    """Identity of the holder, or nothing."""
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")


def held(lease: dict[str, Any] | None, identity: str, duration: float, now: datetime) -> dict[str, Any]:
    """The Lease that says that we lead."""
    before = dict((lease or {}).get("spec", {}))
    spec = before | {
        "holderIdentity": identity,
        "leaseDurationSeconds": max(1, round(duration)),
        "renewTime": micro(now),
    }
    if before.get("holderIdentity") != identity:
        spec |= {"acquireTime": micro(now), "leaseTransitions": before.get("leaseTransitions", -1) + 1}
    return _with(lease, spec)


def released(lease: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The Lease that says that nobody leads, so that the next one need not wait."""
    spec = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro(now)}
    return _with(lease, spec)


def _with(lease: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
    version = (lease or {}).get("metadata", {}).get("resourceVersion")
    return {"metadata": {"resourceVersion": version} if version else {}, "spec": spec}


def micro(moment: datetime) -> str:
    """A MicroTime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
