"""From the API server's objects to the values that decisions read.

A spec that does not parse becomes a `Problem` with the field's path, since an older operator may meet a newer CRD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from easel_api import conditions
from easel_api.conditions import ConditionType
from easel_api.errors import InvalidInput
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import ChosenBackend, GenerationJobSpec, GenerationJobStatus
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.provider import ProviderSpec, ProviderStatus

from . import labels
from .admission import slots
from .observed import (
    DEADLINE_EXCEEDED,
    BatchJob,
    Candidate,
    Child,
    DeploymentCounts,
    Identity,
    Memory,
    Pod,
    Problem,
    Termination,
    Trouble,
)
from .pods import trouble_of
from .resources import Key
from .scaling.work import UNMEASURED, Costs

Raw = dict[str, Any]
S = TypeVar("S", bound=BaseModel)

OPERATORS_AND_WORKERS = frozenset(
    {"observedGeneration", "phase", "conditions", "backend", "startTime", "completionTime", "done"}
    | {"items", "manifest", "lastFailure"}
)
"""Status fields of a GenerationJob that the operator needs; the rest of the worker's report is not its business."""


def identity_of(key: Key, raw: Raw) -> Identity:
    """Which object this is."""
    metadata = raw.get("metadata", {})
    return Identity(
        key,
        metadata.get("uid", ""),
        metadata.get("generation", 0),
        metadata.get("resourceVersion", ""),
        "deletionTimestamp" in metadata,
        metadata.get("creationTimestamp", ""),
    )


def queue_labels(raw: Raw) -> dict[str, str]:
    """Labels for Kueue, none when it names no queue."""
    tags = raw.get("metadata", {}).get("labels", {})
    return {name: tags[name] for name in labels.KUEUE if name in tags} if labels.KUEUE_QUEUE in tags else {}


def declared(raw: Raw) -> bool:
    """Whether a tool keeps the object as it is in Git, or in a release, and would make it anew."""
    metadata = raw.get("metadata", {})
    told = metadata.get("labels", {}).keys() | metadata.get("annotations", {}).keys()
    return any(name in told for name in labels.DECLARED)


def parse_spec(model: type[S], raw: Raw, problems: Callable[[S], Iterable[str]]) -> S | Problem:
    """The spec, or what is wrong with it; `problems` finds what no schema can say."""
    try:
        spec = model.model_validate(raw.get("spec", {}))
    except ValidationError as error:
        return Problem(InvalidInput.reason, "; ".join(map(_readable, error.errors()[:3])))
    found = tuple(problems(spec))
    return Problem(InvalidInput.reason, "; ".join(found[:3])) if found else spec


def _readable(error: Any) -> str:
    # The offending value is left out: it may be a prompt.
    return f"{'.'.join(('spec', *map(str, error['loc'])))}: {error['msg']}"


def model_spec(raw: Raw, problems: Callable[[ModelDeploymentSpec], Iterable[str]]) -> ModelDeploymentSpec | Problem:
    """Spec of a ModelDeployment."""
    return parse_spec(ModelDeploymentSpec, raw, problems)


def job_spec(raw: Raw, problems: Callable[[GenerationJobSpec], Iterable[str]]) -> GenerationJobSpec | Problem:
    """Spec of a GenerationJob."""
    return parse_spec(GenerationJobSpec, raw, problems)


def model_status(raw: Raw) -> ModelDeploymentStatus:
    """Status of a ModelDeployment as last written; empty before that."""
    return ModelDeploymentStatus.model_validate(raw.get("status") or {})


def job_status(raw: Raw) -> GenerationJobStatus:
    """The part of a GenerationJob's status that the operator reads."""
    status = raw.get("status") or {}
    return GenerationJobStatus.model_validate({key: status[key] for key in OPERATORS_AND_WORKERS if key in status})


def is_over(job: Raw) -> bool:
    """Whether a GenerationJob has ended: the moment is written with its last phase, and stays."""
    return bool((job.get("status") or {}).get("completionTime"))


def provider_spec(raw: Raw) -> ProviderSpec | Problem:
    """Spec of a Provider."""
    return parse_spec(ProviderSpec, raw, lambda _: ())


def provider_status(raw: Raw) -> ProviderStatus:
    """Status of a Provider as last written; empty before that."""
    return ProviderStatus.model_validate(raw.get("status") or {})


def class_spec(raw: Raw) -> GenerationClassSpec | Problem:
    """Spec of a GenerationClass."""
    return parse_spec(GenerationClassSpec, raw, lambda _: ())


def owner_uid(raw: Raw) -> str:
    """Uid of the controlling owner, or nothing."""
    owners = raw.get("metadata", {}).get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def child_of(raw: Raw) -> Child:
    """A child, whatever its kind."""
    metadata = raw["metadata"]
    return Child(
        metadata["name"],
        metadata.get("uid", ""),
        owner_uid(raw),
        metadata.get("annotations", {}).get(labels.RENDERED, ""),
        "deletionTimestamp" in metadata,
        metadata.get("resourceVersion", ""),
        raw,
    )


def counts_of(raw: Raw) -> DeploymentCounts:
    """How far a Deployment is."""
    status = raw.get("status", {})
    return DeploymentCounts(
        current=status.get("observedGeneration", 0) >= raw["metadata"].get("generation", 0),
        replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        trouble=next(
            (
                Trouble(item.get("reason", "FailedCreate"), item.get("message", ""))
                for item in status.get("conditions", [])
                if item["type"] == "ReplicaFailure" and item["status"] == "True"
            ),
            None,
        ),
    )


def batch_job_of(raw: Raw) -> BatchJob:
    """A batch Job."""
    metadata, status = raw["metadata"], raw.get("status", {})
    true = {item["type"]: item for item in status.get("conditions", []) if item["status"] == "True"}
    failed = true.get("Failed")
    if failed is None and true.get("FailureTarget", {}).get("reason") == DEADLINE_EXCEEDED:
        # Failed follows when its pods are gone, which wait for calls that were sent; the worker is to know that nobody will.
        failed = true["FailureTarget"]
    ended = true.get("Complete") or failed or {}
    return BatchJob(
        uid=metadata.get("uid", ""),
        owner_uid=owner_uid(raw),
        created=metadata.get("creationTimestamp", ""),
        suspended=raw.get("spec", {}).get("suspend", False),
        deleting="deletionTimestamp" in metadata,
        resource_version=metadata.get("resourceVersion", ""),
        active=status.get("active", 0),
        ready=status.get("ready", 0),
        failed=status.get("failed", 0),
        complete="Complete" in true,
        failure=Trouble(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        finished_at=ended.get("lastTransitionTime", ""),
        backend=_backend(metadata.get("annotations", {})),
        queue=metadata.get("labels", {}).get(labels.KUEUE_QUEUE, ""),
    )


def _backend(annotations: Raw) -> ChosenBackend | None:
    name, reason = annotations.get(labels.MODEL_DEPLOYMENT, ""), annotations.get(labels.SELECTED_REASON, "")
    if not name and reason != labels.ROUTED:
        return None
    try:
        return ChosenBackend(model_deployment=name, selected_reason=reason)
    except ValidationError:
        return None  # anyone may have edited them


def pod_of(raw: Raw) -> Pod:
    """A pod of one container."""
    metadata, status = raw["metadata"], raw.get("status", {})
    container: Raw = next(iter(status.get("containerStatuses", [])), {})
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        address=status.get("podIP", ""),
        created=metadata.get("creationTimestamp", ""),
        running="running" in container.get("state", {}),
        ready=container.get("ready", False),
        deleting="deletionTimestamp" in metadata,
        restarts=container.get("restartCount", 0),
        runtime_hash=metadata.get("annotations", {}).get(labels.RUNTIME_HASH, ""),
        trouble=trouble_of(raw),
        termination=_termination(container),
        deletion_cost=_deletion_cost(metadata),
        owner_uid=owner_uid(raw),
    )


def _deletion_cost(metadata: Raw) -> int:
    cost = metadata.get("annotations", {}).get(labels.DELETION_COST, "0")
    try:
        return int(cost)
    except ValueError:
        return 0  # anyone may have edited it


def _termination(container: Raw) -> Termination | None:
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if ended is None:
        return None
    return Termination(ended.get("exitCode", 0), ended.get("reason", ""), ended.get("message", ""))


def candidate_of(name: str, raw: Raw | None) -> Candidate:
    """The ModelDeployment of that name as a job sees it."""
    if raw is None:
        return Candidate(name, found=False)
    status, spec = model_status(raw), model_spec(raw, lambda _: ())
    ready = conditions.find(status.conditions, ConditionType.READY)
    loaded = conditions.find(status.conditions, ConditionType.MODEL_LOADED)
    # A replica that the present specification replaces may lack what the job needs.
    up_to_date = loaded is not None and loaded.status == "True"
    serves = ready is not None and ready.status == "True" and bool(status.replicas and status.replicas.ready)
    told = loaded if serves and not up_to_date else ready
    current = status.observed_generation == raw["metadata"].get("generation", 0)
    known = None if isinstance(spec, Problem) else spec.known_tasks()
    return Candidate(
        name,
        found=True,
        deleting="deletionTimestamp" in raw["metadata"],
        desired=0 if isinstance(spec, Problem) else _desired(spec, status),
        wakes=not isinstance(spec, Problem) and spec.scaling is not None,
        costs=_costs(spec, status) if current and not isinstance(spec, Problem) else UNMEASURED,
        memory=_memory(status) if current else None,
        ready=current and serves and up_to_date,
        tasks=frozenset(status.tasks) if current and status.tasks else known,
        adapters=frozenset() if isinstance(spec, Problem) else spec.usable_adapters(),
        reason=told.reason if told and current else "",
        message=told.message if told else "",
        since=told.last_transition_time if told else "",
    )


def slots_of(raw: Raw) -> int:
    """How many jobs the ModelDeployment takes at once: none unless a replica of its present specification serves."""
    candidate, spec = candidate_of(raw["metadata"]["name"], raw), model_spec(raw, lambda _: ())
    if not candidate.ready or isinstance(spec, Problem):
        return 0
    replicas = model_status(raw).replicas
    return slots(replicas.ready if replicas else 0, spec.engine.max_concurrent_requests)


def _desired(spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> int:
    if spec.scaling is None:
        return spec.replicas
    return status.replicas.desired if status.replicas else 0


def _memory(status: ModelDeploymentStatus) -> Memory | None:
    told = status.model.memory if status.model else None
    if told is None:
        return None
    return Memory(told.capacity_bytes, told.weights_bytes, tuple((peak.shape, peak.bytes) for peak in told.peaks))


def _costs(spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> Costs:
    steps = (status.model.steps if status.model else None) or ()
    return Costs({step.shape: step.seconds for step in steps}, spec.engine.quality)
