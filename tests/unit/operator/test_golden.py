"""Every rendered child, word for word. `make golden` rewrites them; the diff is read before it is committed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_views import configuration, environment, job_spec, job_view, model_spec, model_view

from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import GenerationJobSpec
from easel_api.scaling import Scaling
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import RuntimeProfile
from easel_operator.core.decision import Environment
from easel_operator.core.job.batchjob import batch_job
from easel_operator.core.job.choice import Chosen
from easel_operator.core.manifests import sealed
from easel_operator.core.model.decide import children
from easel_operator.core.model.fetching import fetch_job
from easel_operator.core.model.scalers import scaler
from easel_operator.core.observed import Identity, Problem, Routes, UsableProvider
from easel_operator.core.provider.sharing import role, role_binding
from easel_operator.core.resources import PROVIDERS, Key
from easel_operator.core.scaling.hours import bounds_at

GOLDEN = Path(__file__).parents[2] / "golden" / "operator"

GPU: dict[str, Any] = {
    "model": {"source": "pvc://models/stable-diffusion", "family": "StableDiffusion"},
    "adapters": [{"name": "motion", "kind": "Motion", "source": "pvc://adapters/motion"}],
    "engine": {"dtype": "bfloat16", "shapes": [{"width": 1024, "height": 1024}]},
    "resources": {"gpus": 1, "gpuProduct": "NVIDIA-H100-80GB-HBM3", "cpu": "8", "memory": "64Gi"},
    "rollout": {"strategy": "Surge"},
    "replicas": 3,
    "cache": {"persistentVolumeClaim": "kernels"},
    "runtimeProfile": "h100",
}
H100 = RuntimeProfile(
    image="docker.io/easel/runtime@sha256:" + "0" * 64,
    node_selector={"pool": "gpu"},
    tolerations=({"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},),
    runtime_class_name="nvidia",
    env=({"name": "EASEL_THREADS", "value": "8"},),
)


def models(spec: dict[str, Any]) -> list[Manifest]:
    settings = configuration(
        runtime_profiles={"default": RuntimeProfile(image="docker.io/easel/runtime:dev"), "h100": H100}
    )
    view = model_view(model_spec(**spec))
    assert not isinstance(view.spec, Problem)
    profile = settings.runtime_profiles[view.spec.runtime_profile]
    return list(children(view, view.spec, profile, Environment(environment().now, settings), view.spec.replicas))


def fetches() -> list[Manifest]:
    """The Job that brings a model from a bucket into its cache; it asks for no GPU, and the runtime has no credentials."""
    s3 = {"endpoint": "https://s3.example.org", "credentialsSecretRef": {"name": "models"}}
    made = model_spec(**GPU | {"model": {"source": "s3://models/stable-diffusion", "s3": s3}})
    settings = configuration(runtime_profiles={"h100": H100})
    return [fetch_job(model_view().identity, made, H100, settings)]


def alone() -> list[Manifest]:
    """A replica that fetches for itself: a container beside the runtime's has the keys, and the policy lets the pod reach the bucket."""
    s3 = {"endpoint": "https://s3.example.org:9000", "credentialsSecretRef": {"name": "models"}}
    model = {"source": "s3://models/stable-diffusion", "s3": s3}
    resources = GPU["resources"] | {"gpuMemory": "22Gi"}
    return models(GPU | {"model": model, "cache": {"emptyDir": {"sizeLimit": "30Gi"}}, "resources": resources})


def scalers(**scaling: Any) -> list[Manifest]:
    made = Scaling.model_validate({"maxReplicas": 4, "minReplicas": 1, "targetBacklogSeconds": 90} | scaling)
    settings = configuration(prometheus_url="http://prometheus-operated.monitoring.svc:9090")
    bounds = bounds_at(made, environment().now)
    return [scaler(model_view().identity, made, bounds, settings, awake=awake) for awake in (True, False)]


def jobs(spec: dict[str, Any]) -> list[Manifest]:
    made = job_spec(**spec)
    return [batch_job(job_view().identity, made, Chosen("studio", "WarmReplica"), configuration(), {})]


CLAIMS: dict[str, Any] = {
    "task": "inpaint",
    "inputs": {"image": {"uri": "pvc://inputs/mug.png"}, "mask": {"uri": "pvc://results/masks/mug.png"}},
    "output": {"store": {"persistentVolumeClaim": {"claimName": "results", "path": "mugs/"}}},
    "deadlineSeconds": 600,
}


def class_jobs() -> list[Manifest]:
    """A job of a class: its worker is told the class, and mounts the Providers' Secrets."""
    class_spec = GenerationClassSpec.model_validate(
        {
            "backends": [{"modelDeployment": {"name": "studio"}}, {"provider": {"name": "west"}}],
            "fallback": {"when": ["GPUUnavailable"]},
        }
    )
    routes = Routes(class_spec, (UsableProvider("west", "aws"), UsableProvider("vertex")))
    spec = {**job_spec().to_manifest(), "generationClassName": "studio"}
    del spec["backends"]
    made = GenerationJobSpec.model_validate(spec)
    return [batch_job(job_view().identity, made, Chosen("studio", "Routed"), configuration(), {}, routes)]


def sharing() -> list[Manifest]:
    """What lets the workers of two other namespaces pay by a Provider."""
    owner = Identity(Key(PROVIDERS.kind, "platform", "west"), "provider-uid", 1)
    return [sealed(role(owner)), sealed(role_binding(owner, ("art", "studio"), configuration()))]


CASES = {
    "provider-sharing": sharing,
    "job-class": class_jobs,
    "model-cpu": lambda: models({}),
    "model-gpu": lambda: models(GPU),
    "model-fetch": fetches,
    "model-empty-dir": alone,
    "scaler-keda": lambda: scalers(engine="KEDA", minReplicas=0, idleSeconds=120),
    "scaler-hpa": lambda: scalers(engine="HPA")[:1],
    "job-s3": lambda: jobs({}),
    "job-claims": lambda: jobs(CLAIMS),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    rendered = yaml.safe_dump_all([manifest.body for manifest in CASES[name]()], sort_keys=True, width=120)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("EASEL_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered)
    assert path.read_text() == rendered, f"{path} differs; if that is meant, run `make golden` and read the diff"
