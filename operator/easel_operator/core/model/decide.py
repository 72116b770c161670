"""What to do about a ModelDeployment."""

from __future__ import annotations

from functools import partial

from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_operator.core import labels, statuses
from easel_operator.core.actions import Action, Apply, Manifest
from easel_operator.core.configuration import RuntimeProfile
from easel_operator.core.decision import Decision, Environment
from easel_operator.core.manifests import matches, sealed
from easel_operator.core.observed import ModelView, Problem
from easel_operator.core.resources import DEPLOYMENTS

from .deployment import DRAIN_SECONDS, deployment, runtime_hash
from .draining import drain_seconds
from .fetching import fetch
from .networkpolicy import network_policy
from .pdb import disruption_budget
from .replicas import current_replicas, keep_replicas, wanted_replicas
from .service import service
from .status import Replication, replication, serving_status, stalled_status

PROBE_SECONDS = 5.0
"""How soon a runtime that loads is asked again."""
UNANSWERED_SECONDS = 60.0
"""How soon a runtime that serves and does not answer is asked again."""

FIELDS = (
    "observed_generation",
    "conditions",
    "tasks",
    "replicas",
    "model",
    "endpoint",
    "last_failure",
    "previous",
    "scaling",
)


def decide(view: ModelView, environment: Environment) -> Decision:
    """Children first, then the status; nothing when the cluster holds both. A deleted object's children go by themselves."""
    if view.identity.deleting:
        return Decision(reasons=("deleting",))
    match plan(view, environment):
        case Problem() as problem:
            return _write(view, stalled_status(view, problem, environment))
        case (ModelDeploymentSpec() as spec, RuntimeProfile() as profile):
            return _serve(view, spec, profile, environment)


def plan(view: ModelView, environment: Environment) -> tuple[ModelDeploymentSpec, RuntimeProfile] | Problem:
    """The specification with its profile, or why it cannot be carried out."""
    if isinstance(view.spec, Problem):
        return view.spec
    profiles = environment.configuration.runtime_profiles
    profile = profiles.get(view.spec.runtime_profile)
    if profile is None:
        return Problem(
            "RuntimeProfileUnknown",
            f"spec.runtimeProfile: there is no profile {view.spec.runtime_profile}; the platform offers "
            f"{', '.join(sorted(profiles)) or 'none'}",
        )
    return view.spec, profile


def children(
    view: ModelView,
    spec: ModelDeploymentSpec,
    profile: RuntimeProfile,
    environment: Environment,
    replicas: int | None,
    drains: int = DRAIN_SECONDS,
) -> tuple[Manifest, ...]:
    """Everything that serves the model; the policy first, so that no runtime is ever reachable without it."""
    configuration = environment.configuration
    return (
        sealed(network_policy(view.identity, spec, configuration)),
        sealed(service(view.identity)),
        sealed(disruption_budget(view.identity)),
        sealed(deployment(view.identity, spec, profile, configuration, replicas, drains)),
    )


def _serve(view: ModelView, spec: ModelDeploymentSpec, profile: RuntimeProfile, environment: Environment) -> Decision:
    wanted, fetched = wanted_replicas(view, spec, environment), fetch(view, spec, profile, environment)
    hash_of = partial(runtime_hash, view.identity, spec, profile, environment.configuration)
    drains = drain_seconds(view, spec, hash_of)
    manifests = children(view, spec, profile, environment, wanted.rendered, drains)
    kept: tuple[Action, ...] = ()
    if not fetched.done:
        # The Deployment's template stays as it is, and its number does not.
        manifests = tuple(each for each in manifests if each.resource != DEPLOYMENTS)
        if wanted.rendered is not None and current_replicas(view) not in (None, wanted.rendered):
            kept = (keep_replicas(view, wanted.rendered),)
    if wanted.scaler and (fetched.done or DEPLOYMENTS.kind in view.children):
        manifests += (sealed(wanted.scaler),)
    # After a refusal the pass ends with the status; the children are tried again at the next one.
    changes = () if view.refusal else tuple(filter(None, (_change(view, manifest) for manifest in manifests)))
    replicas = replication(view, wanted, fetched, hash_of(drains))
    written = _write(view, serving_status(view, spec, replicas, environment))
    return Decision(
        (() if view.refusal else wanted.first + kept + fetched.actions) + changes + written.actions,
        min(filter(None, (_look_again(replicas), wanted.look_again, fetched.look_again)), default=None),
        (*map(_named, (*fetched.actions, *changes)), *written.reasons),
        scaled=wanted.scaled,
    )


def _named(action: Action) -> str:
    kind = action.manifest.resource.kind if isinstance(action, Apply) else ""
    return f"apply {kind}" if kind else type(action).__name__.lower()


def _change(view: ModelView, manifest: Manifest) -> Apply | None:
    child = view.children.get(manifest.resource.kind)
    if child is None or child.owner_uid != view.identity.uid:
        return Apply(manifest)
    same = child.rendered_hash == manifest.body["metadata"]["annotations"][labels.RENDERED]
    return None if same and matches(child.body, manifest.body) else Apply(manifest, child.resource_version)


def _look_again(replicas: Replication) -> float | None:
    # What a runtime says of its model must be asked for; everything else comes by itself.
    if not any(pod.running for pod in replicas.pods):
        return None
    if not replicas.settled:
        return PROBE_SECONDS
    return UNANSWERED_SECONDS if replicas.loaded is None else None


def _write(view: ModelView, status: ModelDeploymentStatus) -> Decision:
    before, after = statuses.fields(view.status, FIELDS), statuses.fields(status, FIELDS)
    actions: tuple[Action, ...] = statuses.write(view.identity, before, after)
    if actions:
        actions += statuses.announce(view.identity, view.status.conditions, status.conditions)
    return Decision(actions, reasons=tuple(f"{item.type}={item.status} {item.reason}" for item in status.conditions))
