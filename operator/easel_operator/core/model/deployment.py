"""The Deployment: pods that run the engine inside Triton."""

from __future__ import annotations

import json
from typing import Any

from easel_api.modeldeployment import FETCHED_FOLDER, ModelDeploymentSpec, RolloutStrategy
from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import Configuration, RuntimeProfile
from easel_operator.core.manifests import digest
from easel_operator.core.observed import Identity
from easel_operator.core.podtemplates import (
    CLAIMS,
    Mounted,
    claim_of,
    claims,
    container_security,
    credentials,
    pod_security,
    scratch,
)
from easel_operator.core.resources import DEPLOYMENTS

from .fetching import fetch_container, told_of
from .metadata import GRPC_PORT, METRICS_PORT, child_metadata
from .placement import cache_claims, placement

CONTAINER = "runtime"
DRAIN_SECONDS = 300
"""How long a replica that stops may at least still work on what it has begun; what its steps say would take longer is handed back at once."""
EXIT_SECONDS = 30
"""How long Triton may take to end after that."""
LOAD_SECONDS = 1800
"""How long a model may take to load before its container is started anew."""

_BESIDE = {"name": "EASEL_BESIDE_REPLICA", "value": "yes"}
_NOT_THE_RUNTIMES = {"replicas", "scaling", "rollout", "runtimeProfile"}
"""Fields that the runtime must not see: a change of them would replace every pod."""


def deployment(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    replicas: int | None,
    drain_seconds: int = DRAIN_SECONDS,
) -> Manifest:
    """Renders the Deployment; `replicas` None leaves their number to somebody else."""
    template = _template(owner, spec, profile, configuration, drain_seconds)
    return Manifest(
        DEPLOYMENTS,
        {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            "metadata": child_metadata(owner),
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": labels.selecting_model(owner.name)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": _rollout(spec.rollout.strategy)},
                "template": template,
            },
        },
    )


def runtime_hash(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    drain_seconds: int = DRAIN_SECONDS,
) -> str:
    """Hash that pods of this very template carry."""
    return digest(_pod(owner, spec, profile, configuration, drain_seconds))


def _rollout(strategy: RolloutStrategy) -> dict[str, int]:
    # Drain is a rolling update without surge and not `Recreate`: replicas go one by one, and changing between the two
    # strategies would leave the API server's default `rollingUpdate` behind, which `Recreate` forbids.
    match strategy:
        case RolloutStrategy.DRAIN:
            return {"maxSurge": 0, "maxUnavailable": 1}
        case RolloutStrategy.SURGE:
            return {"maxSurge": 1, "maxUnavailable": 0}


def _template(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    drain_seconds: int,
) -> dict[str, Any]:
    pod = _pod(owner, spec, profile, configuration, drain_seconds)
    annotations = {
        labels.RUNTIME_HASH: digest(pod),
        "kubectl.kubernetes.io/default-container": CONTAINER,
    }
    return {"metadata": {"labels": labels.of_model(owner.name), "annotations": annotations}, "spec": pod}


def _pod(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    drain_seconds: int,
) -> dict[str, Any]:
    volumes = _volumes(spec)
    beside, theirs = _fetcher(owner, spec, profile)
    return {
        # The runtime never talks to the API server.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": configuration.runtime_service_account,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": drain_seconds + EXIT_SECONDS,
        **({"initContainers": [beside]} if beside else {}),
        "containers": [_container(spec, profile, configuration, volumes, drain_seconds)],
        "volumes": [volume.volume() for volume in (*volumes, *theirs)],
        **placement(spec, profile),
        **({"runtimeClassName": profile.runtime_class_name} if profile.runtime_class_name else {}),
    }


def _fetcher(
    owner: Identity, spec: ModelDeploymentSpec, profile: RuntimeProfile
) -> tuple[dict[str, Any] | None, list[Mounted]]:
    """The container beside the runtime's that fills its emptyDir, and the volumes that it alone mounts: the runtime gets no key."""
    if not spec.fetches_itself():
        return None, []
    theirs = [scratch("fetch-tmp", "/tmp", "1Gi"), *credentials(spec.model.s3)]  # noqa: S108 - an emptyDir of the pod's own
    container = fetch_container(owner, profile, [*theirs, *_own_cache(spec)], told_of(spec))
    # One that is started anew and never waited for: the runtime tells meanwhile how it stands.
    return container | {"restartPolicy": "Always", "env": [*container["env"], _BESIDE]}, theirs


def _own_cache(spec: ModelDeploymentSpec) -> list[Mounted]:
    cache = spec.cache
    if cache is None or cache.empty_dir is None:
        return []
    return [scratch("cache", f"{CLAIMS}/{cache.folder}", cache.empty_dir.size_limit)]


def _container(
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    volumes: list[Mounted],
    drain_seconds: int,
) -> dict[str, Any]:
    http = configuration.runtime_http_port
    return {
        "name": CONTAINER,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": ["python", "-m", "easel_inference.serving"],
        "env": _environment(spec, profile, http, drain_seconds),
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": http, "protocol": "TCP"},
        ],
        "resources": _resources(spec),
        "securityContext": container_security(),
        # A model loads for minutes; until it is ready nothing else is asked. Then a stalled engine is found in a minute.
        "startupProbe": _probe("/readyz", http, period=2, failures=LOAD_SECONDS // 2),
        "livenessProbe": _probe("/livez", http, period=10, failures=6),
        "readinessProbe": _probe("/readyz", http, period=2, failures=2),
        "volumeMounts": [*(volume.mount() for volume in volumes), *_fetched(spec, volumes)],
    }


def _environment(
    spec: ModelDeploymentSpec, profile: RuntimeProfile, http: int, drain_seconds: int
) -> list[dict[str, Any]]:
    manifest = {key: value for key, value in spec.to_manifest().items() if key not in _NOT_THE_RUNTIMES}
    if s3 := manifest["model"].pop("s3", None):
        # It reaches no bucket; the endpoint is a part of the name that a fetched folder has.
        manifest["model"] |= {"s3": {"endpoint": s3["endpoint"]}} if "endpoint" in s3 else {}
    return [
        {"name": "EASEL_MODEL_DEPLOYMENT", "value": json.dumps(manifest, sort_keys=True, separators=(",", ":"))},
        {"name": "EASEL_HTTP_PORT", "value": str(http)},
        {"name": "EASEL_DRAIN_SECONDS", "value": str(drain_seconds)},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
        *profile.env,
    ]


def _resources(spec: ModelDeploymentSpec) -> dict[str, Any]:
    wanted = spec.resources
    limits = {"memory": wanted.memory} | ({"nvidia.com/gpu": str(wanted.gpus)} if wanted.gpus else {})
    return {"requests": {"cpu": wanted.cpu, "memory": wanted.memory}, "limits": limits}


def _probe(path: str, port: int, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(spec: ModelDeploymentSpec) -> list[Mounted]:
    sources = (spec.model.source, *(adapter.source for adapter in spec.adapters))
    return [
        scratch("tmp", "/tmp", "8Gi"),  # noqa: S108 - an emptyDir of the pod's own
        # Triton hands tensors to the engine's process through it.
        scratch("shm", "/dev/shm", "1Gi", memory=True),  # noqa: S108 - an emptyDir of the pod's own
        *claims(
            (claim for source in sources if (claim := claim_of(source))),
            cache_claims(spec),
        ),
        *_own_cache(spec),
    ]


def _fetched(spec: ModelDeploymentSpec, volumes: list[Mounted]) -> list[dict[str, Any]]:
    """What was fetched, read-only over the cache that the runtime may write: it could put a model there that others load."""
    if spec.cache is None or spec.cache.empty_dir or not spec.fetched_sources():
        return []
    (cache,) = (each for each in volumes if each.path == f"{CLAIMS}/{spec.cache.folder}")
    return [
        cache.mount() | {"mountPath": f"{cache.path}/{FETCHED_FOLDER}", "subPath": FETCHED_FOLDER, "readOnly": True}
    ]
