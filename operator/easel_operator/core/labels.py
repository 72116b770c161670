"""Labels and annotations that tie children to the object they serve."""

from __future__ import annotations

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGER = "easel"

RUNTIME = "easel-runtime"
WORKER = "easel-worker"
FETCHER = "easel-fetcher"

MODEL_DEPLOYMENT = "easel.dev/model-deployment"
GENERATION_JOB = "easel.dev/generation-job"
PROVIDER = "easel.dev/provider"
MODEL_FETCH = "easel.dev/model-fetch"
"""Of what brings a model into its cache: no replica, so nothing that selects those may select it."""

RENDERED = "easel.dev/rendered"
"""Annotation: hash of the child as rendered, so that a changed rendering is seen whatever the API server defaulted."""
FETCHES = "easel.dev/fetches"
"""Annotation of a fetch Job: hash of what it fetches, so that a chart's upgrade fetches nothing anew."""
RUNTIME_HASH = "easel.dev/runtime"
"""Annotation of runtime pods: hash of their template, which tells pods of this specification from older ones."""

SELECTED_REASON = "easel.dev/selected-reason"
"""Annotation of a batch Job, beside the name of its backend: an operator that dies right after making it forgets neither."""

ROUTED = "Routed"
"""The reason of a job whose worker chooses among the backends of its class for each item."""

AZURE_IDENTITY = "azure.workload.identity/use"
"""Label of pods that Azure's webhook gives the tokens of their service account; nobody else looks at it."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own annotation: of the pods of a Deployment the one of the least cost goes first."""

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
KUEUE = (KUEUE_QUEUE, "kueue.x-k8s.io/priority-class", "kueue.x-k8s.io/max-exec-time-seconds")
"""Labels of a GenerationJob that its batch Job gets too: Kueue admits batch Jobs."""

DECLARED = (
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "meta.helm.sh/release-name",
)
"""Labels and annotations of tools that make an object anew when it is gone: Argo CD, Flux, Helm."""

SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Selects every child."""

FIELD_MANAGER = "easel-operator"


def of_model(name: str) -> dict[str, str]:
    """Labels of everything that serves a model."""
    return {NAME: RUNTIME, INSTANCE: name, MANAGED_BY: MANAGER, MODEL_DEPLOYMENT: name}


def of_fetch(name: str) -> dict[str, str]:
    """Labels of what fetches a model."""
    return {NAME: FETCHER, INSTANCE: name, MANAGED_BY: MANAGER, MODEL_FETCH: name}


def of_job(name: str) -> dict[str, str]:
    """Labels of everything that works on a job."""
    return {NAME: WORKER, INSTANCE: name, MANAGED_BY: MANAGER, GENERATION_JOB: name}


def of_provider(name: str) -> dict[str, str]:
    """Labels of what lets other namespaces use a Provider."""
    return {NAME: WORKER, INSTANCE: name, MANAGED_BY: MANAGER, PROVIDER: name}


def selecting_model(name: str) -> dict[str, str]:
    """The fewest labels that select a model's pods; a Deployment's selector can never change."""
    return {NAME: RUNTIME, MODEL_DEPLOYMENT: name}
