"""What a worker pod is told by its environment.

The operator sets the job and the endpoint. The folders are where the pod's mounts are; their variables exist so that the same
program runs outside of a pod, against a real API server, in tests and while debugging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import EnvironmentFault

from .access import JobName
from .opening import Places


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, typed."""

    job: JobName
    endpoint: str
    priority: int
    places: Places
    service_account: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """`EnvironmentFault` names the variable that is missing."""
        return cls(
            job=JobName(*(_needed(environment, f"EASEL_JOB_{part}") for part in ("NAME", "NAMESPACE", "UID"))),
            endpoint=_needed(environment, "EASEL_ENDPOINT"),
            priority=int(environment.get("EASEL_PRIORITY", "0")),
            places=Places(
                claims=Path(environment.get("EASEL_CLAIMS_DIR", "/claims")),
                credentials=Path(environment.get("EASEL_CREDENTIALS_DIR", "/etc/easel/credentials")),
                files=Path("/nonexistent"),
            ),
            service_account=Path(
                environment.get("EASEL_SERVICE_ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount")
            ),
        )


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise EnvironmentFault(
            "this variable is not set", where=name, fix="The operator sets it; on one machine use: easel run FILE"
        )
    return value
