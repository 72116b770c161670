"""The launcher's settings, from the environment; the same names reach tritonserver and its stub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from easel_api.errors import InvalidInput
from easel_api.modeldeployment import ModelDeploymentSpec

SPEC = "EASEL_MODEL_DEPLOYMENT"
STATE_DIR = "EASEL_STATE_DIR"
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the launcher listens, and how long it waits for what."""

    spec: ModelDeploymentSpec
    state_dir: Path = Path("/tmp/easel")  # noqa: S108 - an emptyDir of the pod
    claims: Path = Path("/claims")
    bind: str = "0.0.0.0"  # noqa: S104 - a pod's own address; `easel run` says 127.0.0.1
    grpc_port: int = 8001
    metrics_port: int = 8002
    http_port: int = 8080
    threads: int = 1
    stall_seconds: float = 120.0
    """Longest turn of the batcher's loop: one forward pass. A large clip on a CPU takes most of a minute."""
    drain_seconds: float = 20.0
    """Grace for running items after SIGTERM; what would take longer is handed back at once. With Triton's own exit this stays below
    Kubernetes' 30 s; the operator gives both more."""
    retry_seconds: float = 60.0
    """Pause before a model that failed to load is tried again: the claim may have been filled meanwhile."""

    @staticmethod
    def state_dir_of(environment: Mapping[str, str]) -> Path:
        """The state folder, also when the other settings are wrong."""
        return Path(environment.get(STATE_DIR, "/tmp/easel"))  # noqa: S108 - an emptyDir of the pod

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """`InvalidInput` names the variable that is missing or wrong."""
        defaults = cls(spec=spec_of(environment))
        return cls(
            spec=defaults.spec,
            state_dir=cls.state_dir_of(environment),
            claims=Path(environment.get("EASEL_CLAIMS_DIR", defaults.claims)),
            bind=environment.get("EASEL_BIND", defaults.bind),
            grpc_port=int(_number(environment, "EASEL_GRPC_PORT", defaults.grpc_port)),
            metrics_port=int(_number(environment, "EASEL_METRICS_PORT", defaults.metrics_port)),
            http_port=int(_number(environment, "EASEL_HTTP_PORT", defaults.http_port)),
            threads=int(_number(environment, "EASEL_THREADS", cpus())),
            stall_seconds=_number(environment, "EASEL_STALL_SECONDS", defaults.stall_seconds),
            drain_seconds=_number(environment, "EASEL_DRAIN_SECONDS", defaults.drain_seconds),
            retry_seconds=_number(environment, "EASEL_RETRY_SECONDS", defaults.retry_seconds),
        )


def cpus() -> int:
    """CPUs that this process may use: its affinity, and in a container its quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_MAX.read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        return allowed


def spec_of(environment: Mapping[str, str]) -> ModelDeploymentSpec:
    """The model to serve; `InvalidInput` when it is missing or wrong."""
    text = environment.get(SPEC)
    if not text:
        raise InvalidInput("not set", where=SPEC, fix="Give the spec of a ModelDeployment as JSON")
    try:
        return ModelDeploymentSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join((SPEC, *(str(part) for part in first["loc"])))
        raise InvalidInput(first["msg"], where=where, found=repr(first.get("input"))[:80]) from error


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise InvalidInput("not a number above 0", where=name, found=text)
    return value
