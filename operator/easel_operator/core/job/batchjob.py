"""The batch Job: one worker pod that is retried when it dies, and not when the job itself is at fault."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from easel_api.generationjob import GenerationJobSpec
from easel_operator.core import labels
from easel_operator.core.actions import Manifest
from easel_operator.core.configuration import Configuration
from easel_operator.core.model.service import endpoint
from easel_operator.core.observed import Identity, Routes
from easel_operator.core.podtemplates import (
    Mounted,
    claim_of,
    claims,
    command_container,
    credentials,
    failure_policy,
    owner_reference,
    pod_security,
    scratch,
)
from easel_operator.core.resources import GENERATION_JOBS, JOBS

from .choice import Chosen

CONTAINER = "worker"
CALL_SECONDS = 330
"""A call that was sent is paid for, so that its end is waited for: the clients give up after 300 s."""
PROVIDERS_PATH = "/etc/easel/providers"
BACKOFF_LIMIT = 6
"""Deaths of the worker that are not its job's fault and no disruption: a lost node, out of memory, a crash."""
FINAL_EXIT_CODES = (1, 2, 3)
"""The worker's own verdicts: job failed, input wrong, environment wrong. Trying again would only repeat them."""


def batch_job(
    owner: Identity,
    spec: GenerationJobSpec,
    backend: Chosen,
    configuration: Configuration,
    queue: dict[str, str],
    routes: Routes | None = None,
) -> Manifest:
    """Renders the batch Job, named like its owner so that there can never be two; with labels for Kueue it is Kueue's to start."""
    deadline = {} if spec.deadline_seconds is None else {"activeDeadlineSeconds": spec.deadline_seconds}
    return Manifest(
        JOBS,
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": _metadata(owner, backend, queue),
            "spec": {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": BACKOFF_LIMIT,
                "suspend": bool(queue),
                "podFailurePolicy": failure_policy(CONTAINER, FINAL_EXIT_CODES),
                "template": {
                    "metadata": {"labels": labels.of_job(owner.name) | _identity(routes)},
                    "spec": _pod(owner, spec, backend, configuration, routes),
                },
                **deadline,
            },
        },
    )


def _identity(routes: Routes | None) -> dict[str, str]:
    """What a pod needs beside its service account to be known at a cloud: AWS and Google look at the account alone."""
    by_identity = routes is not None and any(not provider.secret for provider in routes.providers)
    return {labels.AZURE_IDENTITY: "true"} if by_identity else {}


def _metadata(owner: Identity, backend: Chosen, queue: dict[str, str]) -> dict[str, Any]:
    return {
        "name": owner.name,
        "namespace": owner.namespace,
        "labels": labels.of_job(owner.name) | queue,
        "annotations": {labels.MODEL_DEPLOYMENT: backend.name, labels.SELECTED_REASON: backend.reason},
        "ownerReferences": [owner_reference(GENERATION_JOBS.api_version, GENERATION_JOBS.kind, owner.name, owner.uid)],
    }


def _pod(
    owner: Identity, spec: GenerationJobSpec, backend: Chosen, configuration: Configuration, routes: Routes | None
) -> dict[str, Any]:
    volumes = [*_volumes(spec), *(_accounts(routes) if routes else ())]
    told = {
        "EASEL_ENDPOINT": endpoint(backend.name, owner.namespace) if backend.name else "",
        "EASEL_PRIORITY": str(configuration.admission.priority_of(spec.priority_class_name)),
        **(
            {"EASEL_CLASS": json.dumps(routes.spec.to_manifest(), sort_keys=True, separators=(",", ":"))}
            if routes
            else {}
        ),
    }
    return {
        "restartPolicy": "Never",
        # It reads its job and writes the job's status.
        "serviceAccountName": configuration.worker_service_account,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": CALL_SECONDS if routes else 30,
        "containers": [_container(owner, configuration, volumes, told)],
        "volumes": [volume.volume() for volume in volumes],
    }


def _container(
    owner: Identity, configuration: Configuration, volumes: list[Mounted], told: dict[str, str]
) -> dict[str, Any]:
    environment = {
        "EASEL_JOB_NAME": owner.name,
        "EASEL_JOB_NAMESPACE": owner.namespace,
        "EASEL_JOB_UID": owner.uid,
        **told,
    }
    return command_container(
        CONTAINER,
        configuration.worker_image,
        configuration.worker_image_pull_policy,
        "easel_inference.jobs",
        environment,
        configuration.worker_resources,
        volumes,
    )


def _accounts(routes: Routes) -> Iterable[Mounted]:
    """Each Provider's Secret in a folder of its name. One that is missing is told by the worker, which may do without it."""
    for number, provider in enumerate(routes.providers):
        if provider.secret:
            source = {"secret": {"secretName": provider.secret, "optional": True, "defaultMode": 0o440}}
            yield Mounted(f"provider-{number}", source, f"{PROVIDERS_PATH}/{provider.name}", read_only=True)


def _volumes(spec: GenerationJobSpec) -> list[Mounted]:
    store = spec.output.store
    written = [store.persistent_volume_claim.claim_name] if store and store.persistent_volume_claim else []
    return [
        scratch("tmp", "/tmp", "2Gi"),  # noqa: S108 - an emptyDir of the pod's own
        *credentials(store.s3 if store else None),
        *claims((claim for uri in spec.input_uris() if (claim := claim_of(uri))), written),
    ]
