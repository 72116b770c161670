"""What every pod of ours has in common: Pod Security `restricted`, and volumes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from easel_api.s3 import S3Access

USER = 65532
"""The numeric user that images of ours run as: `nonroot` by convention, so that runAsNonRoot can be checked."""

CLAIMS = "/claims"
CREDENTIALS_PATH = "/etc/easel/credentials"
_REQUIRED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_OPTIONAL_KEYS = ("AWS_SESSION_TOKEN",)
_CLAIM = re.compile(r"^pvc://([^/]+)/")


def pod_security() -> dict[str, Any]:
    """Security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        # Volumes are handed to this group, or a fresh claim could not be written.
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume and where its container finds it."""

    name: str
    source: dict[str, Any]
    path: str
    read_only: bool = False

    def volume(self) -> dict[str, Any]:
        """Entry of the pod's `volumes`."""
        return {"name": self.name, **self.source}

    def mount(self) -> dict[str, Any]:
        """Entry of the container's `volumeMounts`."""
        return {"name": self.name, "mountPath": self.path, **({"readOnly": True} if self.read_only else {})}


def scratch(name: str, path: str, size: str, *, memory: bool = False) -> Mounted:
    """An empty folder, in memory or on the node's disk; beyond its size the pod is evicted."""
    return Mounted(name, {"emptyDir": {"sizeLimit": size} | ({"medium": "Memory"} if memory else {})}, path)


def claim_of(uri: str) -> str | None:
    """The PersistentVolumeClaim of a `pvc://CLAIM/PATH`."""
    found = _CLAIM.match(uri)
    return found[1] if found else None


def claims(read: Iterable[str], written: Iterable[str] = ()) -> list[Mounted]:
    """Claims at `/claims/<claim>`; one that is written to is not read-only."""
    writable = set(written)
    return [
        Mounted(
            f"claim-{number}",
            {"persistentVolumeClaim": {"claimName": claim} | ({} if claim in writable else {"readOnly": True})},
            f"{CLAIMS}/{claim}",
            read_only=claim not in writable,
        )
        for number, claim in enumerate(sorted(writable | set(read)))
    ]


def credentials(access: S3Access | None) -> list[Mounted]:
    """The Secret as files: kubelet reads it, the operator never does; a session token may be missing, a key may not."""
    if access is None or access.credentials_secret_ref is None:
        return []
    name = access.credentials_secret_ref.name
    sources = [_keys_of(name, _REQUIRED_KEYS, optional=False), _keys_of(name, _OPTIONAL_KEYS, optional=True)]
    source = {"projected": {"sources": sources, "defaultMode": 0o440}}
    return [Mounted("credentials", source, CREDENTIALS_PATH, read_only=True)]


def _keys_of(secret: str, keys: tuple[str, ...], *, optional: bool) -> dict[str, Any]:
    items = [{"key": key, "path": key} for key in keys]
    return {"secret": {"name": secret, "items": items, "optional": optional}}


def command_container(
    name: str,
    image: str,
    pull_policy: str,
    module: str,
    environment: dict[str, str],
    resources: dict[str, Any],
    volumes: list[Mounted],
) -> dict[str, Any]:
    """The container of a Job that runs a Python module of ours to its end."""
    variables = environment | {"HOME": "/tmp"}  # noqa: S108 - an emptyDir of the pod's own
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["python", "-m", module],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": resources,
        "securityContext": container_security(),
        "volumeMounts": [volume.mount() for volume in volumes],
    }


def failure_policy(container: str, final: Iterable[int]) -> dict[str, Any]:
    """`podFailurePolicy` of such a Job; `final` are the exit codes that trying again would only repeat."""
    return {
        "rules": [
            # One that was evicted or preempted starts again and costs no try, whatever it managed to say at the end.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": container, "operator": "In", "values": list(final)},
            },
        ]
    }


def owner_reference(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    """Makes the garbage collector delete the child with its owner; no finalizer is needed."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
