"""Builders of what a decision is given. Every builder makes something that can occur in a cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from easel_api.generationjob import GenerationJobSpec, GenerationJobStatus
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.tasks import Task
from easel_operator.core.configuration import Configuration, PodSelector, RuntimeProfile
from easel_operator.core.decision import Environment
from easel_operator.core.observed import BatchJob, Candidate, Identity, JobView, ModelView, Pod, Trouble
from easel_operator.core.resources import GENERATION_JOBS, MODEL_DEPLOYMENTS, Key

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STILL = frozenset({Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT})


def configuration(**changes: Any) -> Configuration:
    settings: dict[str, Any] = {
        "namespaces": ("art",),
        "lease_namespace": "easel-system",
        "worker_image": "docker.io/easel/operator:dev",
        "worker_resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "runtime_profiles": {"default": RuntimeProfile(image="docker.io/easel/runtime:dev")},
        "operator_pod_selector": PodSelector(
            namespace_labels={"kubernetes.io/metadata.name": "easel-system"},
            pod_labels={"app.kubernetes.io/name": "easel-operator"},
        ),
        "prometheus_selector": PodSelector(
            namespace_labels={"kubernetes.io/metadata.name": "monitoring"},
            pod_labels={"app.kubernetes.io/name": "prometheus"},
        ),
    }
    return Configuration(**(settings | changes))


DEFAULT = configuration()


def environment(now: datetime = NOW, **changes: Any) -> Environment:
    return Environment(now, configuration(**changes) if changes else DEFAULT)


def job_spec(**changes: Any) -> GenerationJobSpec:
    spec: dict[str, Any] = {
        "task": "text-to-image",
        "backends": [{"modelDeployment": "studio"}],
        "prompts": [{"text": "a {{colour}} mug"}],
        "matrix": {"colour": ["red", "blue"]},
        "parameters": {"seeds": [1, 2]},
        "output": {"store": {"s3": {"bucket": "art", "prefix": "mugs/", "credentialsSecretRef": {"name": "bucket"}}}},
    }
    return GenerationJobSpec.model_validate(spec | changes)


def model_spec(**changes: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"source": "builtin://miniature"}} | changes)


READY = Candidate(
    "studio", found=True, desired=1, ready=True, tasks=STILL, reason="Serving", since="2026-01-01T00:00:00Z"
)


def job_view(spec: GenerationJobSpec | None = None, **changes: Any) -> JobView:
    key = Key(GENERATION_JOBS.kind, "art", "mugs")
    view = JobView(Identity(key, "job-uid", 1, "100"), spec or job_spec(), GenerationJobStatus(), candidates=(READY,))
    return replace(view, **changes)


def model_view(spec: ModelDeploymentSpec | None = None, **changes: Any) -> ModelView:
    key = Key(MODEL_DEPLOYMENTS.kind, "art", "studio")
    view = ModelView(Identity(key, "model-uid", 1, "100"), spec or model_spec(), ModelDeploymentStatus(), children={})
    return replace(view, **changes)


def batch(**changes: Any) -> BatchJob:
    job = BatchJob("batch-uid", "job-uid", "2026-01-02T03:00:00Z", suspended=False, deleting=False)
    return replace(job, **changes)


def completed() -> BatchJob:
    return batch(complete=True, finished_at="2026-01-02T03:04:00Z")


def failed(reason: str = "PodFailurePolicy") -> BatchJob:
    return batch(failure=Trouble(reason, "said the Job controller"), failed=1, finished_at="2026-01-02T03:04:00Z")


def pod(name: str = "mugs-abcde", **changes: Any) -> Pod:
    made = Pod(name, f"{name}-uid", "10.0.0.9", "2026-01-02T03:00:01Z", running=False, ready=False, deleting=False)
    return replace(made, **changes)


def running(name: str = "mugs-abcde", **changes: Any) -> Pod:
    return pod(name, running=True, ready=True, **changes)
