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
    pod_security,
    scratch,
)
from easel_operator.core.resources import DEPLOYMENTS

from .metadata import GRPC_PORT, METRICS_PORT, child_metadata

CONTAINER = "runtime"
DRAIN_SECONDS = 300
"""How long a replica that stops may still work on what it has begun; what its steps say would take longer is handed back at once."""
EXIT_SECONDS = 30
"""How long Triton may take to end after that."""
LOAD_SECONDS = 1800
"""How long a model may take to load before its container is started anew."""

_NOT_THE_RUNTIMES = {"replicas", "scaling", "rollout", "runtimeProfile"}
"""Fields that the runtime must not see: a change of them would replace every pod."""


def deployment(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    replicas: int | None,
) -> Manifest:
    """Renders the Deployment; `replicas` None leaves their number to somebody else."""
    template = _template(owner, spec, profile, configuration)
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
    owner: Identity, spec: ModelDeploymentSpec, profile: RuntimeProfile, configuration: Configuration
) -> str:
    """Hash that pods of this very template carry."""
    return digest(_pod(owner, spec, profile, configuration))


def _rollout(strategy: RolloutStrategy) -> dict[str, int]:
    # Drain is a rolling update without surge and not `Recreate`: replicas go one by one, and changing between the two
    # strategies would leave the API server's default `rollingUpdate` behind, which `Recreate` forbids.
    match strategy:
        case RolloutStrategy.DRAIN:
            return {"maxSurge": 0, "maxUnavailable": 1}
        case RolloutStrategy.SURGE:
            return {"maxSurge": 1, "maxUnavailable": 0}


def _template(
    owner: Identity, spec: ModelDeploymentSpec, profile: RuntimeProfile, configuration: Configuration
) -> dict[str, Any]:
    pod = _pod(owner, spec, profile, configuration)
    annotations = {
        labels.RUNTIME_HASH: digest(pod),
        "kubectl.kubernetes.io/default-container": CONTAINER,
    }
    return {"metadata": {"labels": labels.of_model(owner.name), "annotations": annotations}, "spec": pod}


def _pod(
    owner: Identity, spec: ModelDeploymentSpec, profile: RuntimeProfile, configuration: Configuration
) -> dict[str, Any]:
    volumes = _volumes(spec)
    return {
        # The runtime never talks to the API server.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": configuration.runtime_service_account,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": DRAIN_SECONDS + EXIT_SECONDS,
        "containers": [_container(owner, spec, profile, configuration, volumes)],
        "volumes": [volume.volume() for volume in volumes],
        **placement(spec, profile),
        **({"runtimeClassName": profile.runtime_class_name} if profile.runtime_class_name else {}),
    }


def _container(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    volumes: list[Mounted],
) -> dict[str, Any]:
    http = configuration.runtime_http_port
    return {
        "name": CONTAINER,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": ["python", "-m", "easel_inference.serving"],
        "env": _environment(spec, profile, http),
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


def _environment(spec: ModelDeploymentSpec, profile: RuntimeProfile, http: int) -> list[dict[str, Any]]:
    manifest = {key: value for key, value in spec.to_manifest().items() if key not in _NOT_THE_RUNTIMES}
    if s3 := manifest["model"].pop("s3", None):
        # It reaches no bucket; the endpoint is a part of the name that a fetched folder has.
        manifest["model"] |= {"s3": {"endpoint": s3["endpoint"]}} if "endpoint" in s3 else {}
    return [
        {"name": "EASEL_MODEL_DEPLOYMENT", "value": json.dumps(manifest, sort_keys=True, separators=(",", ":"))},
        {"name": "EASEL_HTTP_PORT", "value": str(http)},
        {"name": "EASEL_DRAIN_SECONDS", "value": str(DRAIN_SECONDS)},
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
            [spec.cache.persistent_volume_claim] if spec.cache else [],
        ),
    ]


def _fetched(spec: ModelDeploymentSpec, volumes: list[Mounted]) -> list[dict[str, Any]]:
    """What was fetched, read-only over the cache that the runtime may write: it could put a model there that others load."""
    if spec.cache is None or not spec.fetched_sources():
        return []
    (cache,) = (each for each in volumes if each.path == f"{CLAIMS}/{spec.cache.persistent_volume_claim}")
    return [
        cache.mount() | {"mountPath": f"{cache.path}/{FETCHED_FOLDER}", "subPath": FETCHED_FOLDER, "readOnly": True}
    ]


def placement(spec: ModelDeploymentSpec, profile: RuntimeProfile) -> dict[str, Any]:
    """Nodes that a replica may run on."""
    product = spec.resources.gpu_product
    selector = profile.node_selector | ({"nvidia.com/gpu.product": product} if product else {})
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    tolerations = [*profile.tolerations, *([gpu] if spec.resources.gpus else [])]
    chosen: dict[str, Any] = {}
    if selector:
        chosen["nodeSelector"] = selector
    if tolerations:
        chosen["tolerations"] = tolerations
    return chosen
