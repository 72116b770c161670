"""Why a pod does not run, read from its status.

kubelet's own messages change while the cause stays (`back-off 20s`, `40s`, …); the ones here do not, so that a pod
that waits causes one write to a status and no more.
"""

from __future__ import annotations

import re
from typing import Any

from easel_api.errors import ERRORS

from .observed import Pod, Trouble

FAILED_MOUNT, FAILED_ATTACH, FAILED_CREATE = "FailedMount", "FailedAttachVolume", "FailedCreate"
TELLING_REASONS = (FAILED_MOUNT, FAILED_ATTACH, FAILED_CREATE)
"""Of events that tell what no status does."""

_CHANGING = re.compile(r'(?<=pods) "[^"]*"|, used: .*?(?=, limited)')
"""The name of a pod that was not made, and how much of a quota others use: both differ from try to try, and the cause does not."""

_PULL = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
_CREATE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def trouble_of(raw: dict[str, Any]) -> Trouble | None:
    """The first thing that keeps a pod from running."""
    status = raw.get("status", {})
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return _unschedulable(status) or next((found for container in containers if (found := _waiting(container))), None)


def _unschedulable(status: dict[str, Any]) -> Trouble | None:
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(condition.get("reason", "Unschedulable"), condition.get("message", ""))
    return None


def _waiting(container: dict[str, Any]) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in _PULL:
        return Trouble("ImagePullBackOff", f"the image {container.get('image', '')} cannot be pulled")
    if reason in _CREATE:
        return Trouble(reason, waiting.get("message", ""))
    if reason == "CrashLoopBackOff":
        return Trouble(reason, _end_of(container.get("lastState", {}).get("terminated", {})))
    return None


def _end_of(ended: dict[str, Any]) -> str:
    # `Error` says no more than the exit code does; OOMKilled does.
    why = ended.get("message", "").strip() or ended.get("reason", "").replace("Error", "")
    return f"the container ended with exit code {ended.get('exitCode', '?')}" + (f": {why}" if why else "")


def last_words(pod: Pod) -> Trouble | None:
    """Why its container ended, in the words of our own programs: `Reason: message`."""
    reason, _, message = (pod.termination.message if pod.termination else "").strip().partition(": ")
    return Trouble(reason, message) if reason in ERRORS and message else None


def mount_trouble(events: list[dict[str, Any]]) -> Trouble | None:
    """Why a volume is not mounted: kubelet says so in events of the pod alone."""
    message = _newest(events, FAILED_MOUNT)
    if message is None:
        attached = _newest(events, FAILED_ATTACH)
        return None if attached is None else Trouble(FAILED_ATTACH, attached)
    return Trouble("CredentialsMissing" if '"credentials"' in message else FAILED_MOUNT, message)


def create_trouble(events: list[dict[str, Any]]) -> Trouble | None:
    """Why no pod is made: the Job controller says so in events of the batch Job alone."""
    message = _newest(events, FAILED_CREATE)
    return None if message is None else Trouble(FAILED_CREATE, _CHANGING.sub("", message))


def _newest(events: list[dict[str, Any]], reason: str) -> str | None:
    messages = [str(event.get("message", "")) for event in events if event.get("reason") == reason]
    return messages[-1] if messages else None
