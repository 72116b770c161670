"""Where a model's pods may run, and what of a claim they write to."""

from __future__ import annotations

from typing import Any

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.weights import bytes_of
from easel_operator.core.configuration import RuntimeProfile


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
    if spec.resources.gpu_memory:
        chosen["affinity"] = {"nodeAffinity": _with_gpu_memory(bytes_of(spec.resources.gpu_memory) // 2**20)}
    return chosen


def cache_claims(spec: ModelDeploymentSpec) -> list[str]:
    """The claim that its cache is, if it is one."""
    claim = spec.cache.persistent_volume_claim if spec.cache else None
    return [claim] if claim else []


def _with_gpu_memory(mib: int) -> dict[str, Any]:
    # GPU feature discovery says it in MiB; `Gt` compares whole numbers, and there is no "at least".
    enough = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": [str(mib - 1)]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [enough]}]}}
