"""What a worker pod is told by its environment.

The operator sets the job and the endpoint. The folders are where the pod's mounts are; their variables exist so that the same
program runs outside of a pod, against a real API server, in tests and while debugging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from easel_api.errors import EnvironmentFault
from easel_api.generationclass import GenerationClassSpec

from .access import JobName
from .opening import Places


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, typed."""

    job: JobName
    endpoint: str
    """HOST:PORT of the own model's headless Service; empty: the job's class has none that can."""
    providers: Path
    """Folder that holds each Provider's Secret by its name, `west.platform` for one of another namespace."""
    generation_class: GenerationClassSpec | None
    """The job's class when its worker was made."""
    priority: int
    places: Places
    service_account: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """`EnvironmentFault` names the variable that is missing."""
        return cls(
            job=JobName(*(_needed(environment, f"EASEL_JOB_{part}") for part in ("NAME", "NAMESPACE", "UID"))),
            endpoint=environment.get("EASEL_ENDPOINT", ""),
            providers=Path(environment.get("EASEL_PROVIDERS_DIR", "/etc/easel/providers")),
            generation_class=_class(environment.get("EASEL_CLASS", "")),
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


def _class(text: str) -> GenerationClassSpec | None:
    try:
        return GenerationClassSpec.model_validate_json(text) if text else None
    except ValidationError as error:
        raise EnvironmentFault(
            "this worker does not understand the GenerationClass",
            where="EASEL_CLASS",
            found=error.errors(include_url=False, include_input=False)[0]["msg"],
            fix="Run operator, worker and CRDs of one release",
        ) from error


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise EnvironmentFault(
            "this variable is not set", where=name, fix="The operator sets it; on one machine use: easel run FILE"
        )
    return value
