"""The fetch Job: brings a model from a bucket into its cache before a replica, and a GPU, is asked for.

Until it has, the Deployment stays as it is: a revision that cannot be fetched never takes down the one that serves. Its last
words are the size of the weights, so that a model that cannot fit is refused before a GPU is taken, too. Where the cache is
an emptyDir there is no Job, and a container beside each replica does the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from easel_api.conditions import ConditionType
from easel_api.errors import InvalidInput, NotFound
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.weights import declared, said, too_large
from easel_operator.core import labels
from easel_operator.core.actions import Action, Apply, Delete, Manifest
from easel_operator.core.conditions import Says
from easel_operator.core.configuration import Configuration, RuntimeProfile
from easel_operator.core.decision import Environment, parse_timestamp
from easel_operator.core.manifests import digest, sealed
from easel_operator.core.observed import BatchJob, Child, Identity, ModelView, NotLoaded, Pod, Trouble
from easel_operator.core.parsing import batch_job_of
from easel_operator.core.pods import last_words
from easel_operator.core.podtemplates import (
    Mounted,
    claims,
    command_container,
    credentials,
    failure_policy,
    pod_security,
    scratch,
)
from easel_operator.core.resources import JOBS, Reference

from .metadata import child_metadata
from .placement import cache_claims, placement

CONTAINER = "fetch"
BACKOFF_LIMIT = 6
"""Failed tries with growing pauses, ten minutes together."""
FINAL_EXIT_CODES = (2,)
"""The bucket holds nothing, or what may not be loaded: to download it once more would show the same."""
AGAIN = timedelta(minutes=10)
"""How long after its end a Job that failed is made anew: a bucket may be filled, a claim cleared."""
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
"""It holds a few parts of a file at a time; the page cache of what it writes counts, too, and is given back."""
MAX_NAME = 63
"""Characters of a batch Job's name."""
LOOK_AGAIN_SECONDS = 30.0
"""How soon a Job that is anybody's is looked at again."""
FETCHING = "Fetching"


@dataclass(frozen=True, slots=True)
class Fetch:
    """How far it is."""

    done: bool = True
    actions: tuple[Action, ...] = ()
    says: tuple[Says, ...] = ()
    trouble: Trouble | None = None
    """Why it is not done, or is not yet."""
    failed: bool = False
    look_again: float | None = None


def fetch_name(model: str) -> str:
    """Name of the batch Job."""
    name = f"{model}-fetch"
    return name if len(name) <= MAX_NAME else f"{model[:48]}-{digest([model])[:8]}-fetch"


def fetch(view: ModelView, spec: ModelDeploymentSpec, profile: RuntimeProfile, environment: Environment) -> Fetch:
    """What there is to do, and to say, about what a model has in a bucket."""
    child = view.children.get(JOBS.kind)
    ours = child if child and child.owner_uid == view.identity.uid else None
    if not spec.fetched_sources() or spec.fetches_itself():
        return Fetch(actions=_removed(view, ours))
    if child and not ours:
        message = f"a batch Job {child.name} is not this model's; the model waits until it is gone"
        return _underway("NameTaken", message, look_again=LOOK_AGAIN_SECONDS)
    if ours is None:
        if view.refusal:
            return _underway(view.refusal.reason, view.refusal.message, failed=True)
        manifest = sealed(fetch_job(view.identity, spec, profile, environment.configuration))
        return _underway(FETCHING, _from(spec), actions=(Apply(manifest),))
    if ours.deleting or ours.body["metadata"].get("annotations", {}).get(labels.FETCHES) != digest(told_of(spec)):
        return _underway(FETCHING, "an earlier fetch Job ends", actions=_removed(view, ours))
    return _judged(view, spec, ours, environment)


def _judged(view: ModelView, spec: ModelDeploymentSpec, child: Child, environment: Environment) -> Fetch:
    job = batch_job_of(child.body)
    pods = sorted((pod for pod in view.fetch_pods if pod.owner_uid == child.uid), key=lambda pod: pod.created)
    if job.complete:
        if error := _too_large(spec, pods):
            return _underway(error.reason, str(error), failed=True)
        there = (Says(ConditionType.MODEL_CACHED, "True", "Fetched", "the cache holds the model"),)
        again, left = _again(view, child, job, environment) if _lost(view, spec) else ((), None)
        return Fetch(says=there, actions=again, look_again=left)
    said = [words for pod in pods if (words := last_words(pod))]
    if job.failure:
        why = said[-1] if said else job.failure
        again, left = _again(view, child, job, environment)
        return _underway(why.reason, why.message, actions=again, failed=True, look_again=left)
    made = view.fetch_trouble if not pods else None
    if trouble := next((pod.trouble for pod in pods if pod.trouble), None) or made:
        return _underway(trouble.reason, trouble.message)
    if job.suspended:
        return _underway("Suspended", f"somebody has suspended the Job {child.name}")
    earlier = f"; an earlier try ended with {said[-1].reason}: {said[-1].message}" if said else ""
    return _underway(FETCHING, f"{_from(spec)}{earlier}")


def _too_large(spec: ModelDeploymentSpec, pods: list[Pod]) -> InvalidInput | None:
    """Why no replica can hold what was fetched; None also where nobody says how much a replica has, or how large the model is."""
    weights = next((found for pod in pods if pod.termination and (found := said(pod.termination.message))), None)
    room = declared(spec)
    return too_large(spec, weights, *room) if weights and room else None


def _again(
    view: ModelView, child: Child, job: BatchJob, environment: Environment
) -> tuple[tuple[Action, ...], float | None]:
    """The end of a Job that is made anew then, and in how many seconds that may be."""
    left = (parse_timestamp(job.finished_at) + AGAIN - environment.now).total_seconds()
    return (_removed(view, child), None) if left <= 0 else ((), left)


def _lost(view: ModelView, spec: ModelDeploymentSpec) -> bool:
    """Whether a replica misses in the cache what was fetched, as in a claim that was made anew, or finds it damaged."""
    reports = [pod.probe.report for pod in view.pods if isinstance(pod.probe, NotLoaded)]
    missing = any(each.reason == NotFound.reason and each.where in spec.fetched_sources() for each in reports)
    return missing or any(each.where == "spec.model.digest" for each in reports)


def _underway(
    reason: str,
    message: str,
    *,
    actions: tuple[Action, ...] = (),
    failed: bool = False,
    look_again: float | None = None,
) -> Fetch:
    says = (Says(ConditionType.MODEL_CACHED, "False", reason, message),)
    return Fetch(
        done=False,
        actions=actions,
        says=says,
        trouble=Trouble(reason, message),
        failed=failed,
        look_again=look_again,
    )


def _from(spec: ModelDeploymentSpec) -> str:
    return f"fetches {', '.join(spec.fetched_sources())}; the Job's log tells how far it is"


def _removed(view: ModelView, job: Child | None) -> tuple[Action, ...]:
    if job is None or job.deleting:
        return ()
    return (Delete(Reference(JOBS, view.identity.namespace, job.name), job.uid),)


def fetch_job(
    owner: Identity, spec: ModelDeploymentSpec, profile: RuntimeProfile, configuration: Configuration
) -> Manifest:
    """Renders the batch Job."""
    told = told_of(spec)
    return Manifest(
        JOBS,
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": child_metadata(owner)
            | {
                "name": fetch_name(owner.name),
                "labels": labels.of_fetch(owner.name),
                "annotations": {labels.FETCHES: digest(told)},
            },
            "spec": {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": BACKOFF_LIMIT,
                "podFailurePolicy": failure_policy(CONTAINER, FINAL_EXIT_CODES),
                "template": {
                    "metadata": {"labels": labels.of_fetch(owner.name)},
                    "spec": _pod(owner, spec, profile, configuration, told),
                },
            },
        },
    )


def told_of(spec: ModelDeploymentSpec) -> dict[str, Any]:
    """The part of a spec that says what is fetched."""
    manifest = spec.to_manifest()
    return {key: manifest[key] for key in ("model", "adapters", "cache") if key in manifest}


def _pod(
    owner: Identity,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    configuration: Configuration,
    told: dict[str, Any],
) -> dict[str, Any]:
    volumes = [scratch("tmp", "/tmp", "1Gi"), *credentials(spec.model.s3), *claims((), cache_claims(spec))]  # noqa: S108 - an emptyDir of the pod's own
    placed = placement(spec, profile)
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": configuration.fetcher_service_account,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30,
        "containers": [fetch_container(owner, profile, volumes, told)],
        "volumes": [volume.volume() for volume in volumes],
        # Where the replicas may run, since the claim may be bound to those nodes; beside one where it is mounted by one node at a
        # time. A GPU is not asked for.
        **placed,
        "affinity": placed.get("affinity", {}) | _beside_replicas(owner),
    }


def _beside_replicas(owner: Identity) -> dict[str, Any]:
    term = {
        "labelSelector": {"matchLabels": labels.selecting_model(owner.name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def fetch_container(
    owner: Identity, profile: RuntimeProfile, volumes: list[Mounted], told: dict[str, Any]
) -> dict[str, Any]:
    """The container that fetches, in a Job or beside a replica."""
    environment = {
        "EASEL_MODEL_DEPLOYMENT": json.dumps(told, sort_keys=True, separators=(",", ":")),
        "EASEL_OWNER": owner.name,
    }
    return command_container(
        CONTAINER,
        profile.image,
        profile.image_pull_policy,
        "easel_inference.serving.fetching",
        environment,
        RESOURCES,
        volumes,
    )
