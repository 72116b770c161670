"""What a ModelDeployment's status says.

`Ready` means that the model serves, with however many replicas, which may be of an older specification while a new one rolls
out; `ModelLoaded` that one of the present specification does, which is what a job waits for. `Reconciling` that something still changes or is waited
for; `Stalled` that the model can never load as it is, and a person must act. A replica's readiness is proof that its
model is loaded, so a runtime that does not answer our question takes nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass

from easel_api.conditions import ConditionType
from easel_api.errors import ERRORS, ErrorReport
from easel_api.modeldeployment import (
    LoadedModel,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
    ModelFailure,
    ModelMemory,
    PreviousRevision,
    Replicas,
    ShapePeak,
    StepCost,
)
from easel_api.tasks import Task
from easel_operator.core.conditions import Says, not_ready, ready, reconciling, settle, stalled, unknown
from easel_operator.core.decision import Environment, timestamp
from easel_operator.core.observed import DeploymentCounts, Loaded, ModelView, NotLoaded, Pod, Problem, Trouble
from easel_operator.core.pods import last_words

from .fetching import Fetch
from .replicas import LOADING, Wanted
from .service import endpoint


@dataclass(frozen=True, slots=True)
class Replication:
    """How many replicas there are, and what the ones of the wanted template say."""

    wanted: Wanted
    fetch: Fetch
    counts: DeploymentCounts | None
    pods: tuple[Pod, ...]
    older: tuple[Pod, ...] = ()
    """Replicas of earlier templates that serve."""

    @property
    def desired(self) -> int:
        """Replicas that there shall be."""
        return self.wanted.replicas

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return self.counts.ready if self.counts else 0

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to roll out."""
        counts = self.counts
        return (
            self.fetch.done
            and counts is not None
            and counts.current
            and (counts.replicas == counts.updated == counts.ready == self.desired)
        )

    @property
    def loaded(self) -> Loaded | None:
        """What a replica says that it serves."""
        return next((pod.probe for pod in self.pods if isinstance(pod.probe, Loaded)), None)

    @property
    def failure(self) -> Trouble | None:
        """Why the model was not fetched, or a replica did not load it, when it said so."""
        if self.fetch.failed:
            return self.fetch.trouble
        reports = [pod.probe.report for pod in self._waiting if isinstance(pod.probe, NotLoaded)]
        failed = [report for report in reports if report.reason != LOADING]
        return next((Trouble(report.reason, _text(report)) for report in failed), None) or self._last_words

    @property
    def up_to_date(self) -> bool:
        """Whether a replica of the present template serves; `ready` counts those that it replaces, too."""
        return any(pod.ready for pod in self.pods)

    @property
    def _waiting(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if not pod.ready)

    @property
    def _last_words(self) -> Trouble | None:
        return next((words for pod in self._waiting if (words := last_words(pod))), None)

    @property
    def trouble(self) -> Trouble | None:
        """Why a replica does not run."""
        made = self.counts.trouble if self.counts and not self._waiting else None
        return next((pod.trouble for pod in self._waiting if pod.trouble), None) or made

    @property
    def loading(self) -> str:
        """What a replica is at, as it says; empty when none is."""
        at_it = [pod.probe for pod in self.pods if pod.running and not pod.ready]
        told = (probe.report.what for probe in at_it if isinstance(probe, NotLoaded) and probe.report.reason == LOADING)
        return next(told, "the runtime loads the model") if at_it else ""


def _text(report: ErrorReport) -> str:
    return str(report.to_error())


def final(trouble: Trouble) -> bool:
    """Whether trying again is of no use."""
    error = ERRORS.get(trouble.reason)
    return error is not None and not error.retryable


def replication(view: ModelView, wanted: Wanted, fetch: Fetch, runtime_hash: str) -> Replication:
    """The replicas, those of the present template apart; older ones are of interest as long as they serve, and are not blamed."""
    staying = [pod for pod in view.pods if not pod.deleting]
    current = tuple(pod for pod in staying if pod.runtime_hash == runtime_hash)
    older = tuple(pod for pod in staying if pod.runtime_hash != runtime_hash and pod.ready)
    return Replication(wanted, fetch, view.counts, current, older)


def serving_status(
    view: ModelView, spec: ModelDeploymentSpec, replicas: Replication, environment: Environment
) -> ModelDeploymentStatus:
    """The status of a model whose children are rendered."""
    return ModelDeploymentStatus(
        observed_generation=view.identity.generation,
        conditions=settle(
            _conditions(view, replicas), view.status.conditions, view.identity.generation, environment.now
        ),
        tasks=sorted(_tasks(view, spec, replicas)),
        replicas=Replicas(desired=replicas.desired, ready=replicas.ready),
        model=_model(view, replicas),
        endpoint=endpoint(view.identity.name, view.identity.namespace),
        last_failure=_last_failure(view, replicas, environment),
        previous=_previous(replicas),
        scaling=replicas.wanted.status,
    )


def stalled_status(view: ModelView, problem: Problem, environment: Environment) -> ModelDeploymentStatus:
    """The status of a model that nothing can be rendered for."""
    said = (
        not_ready(problem.reason, problem.message),
        stalled(problem.reason, problem.message),
        Says(ConditionType.MODEL_LOADED, "False", problem.reason, problem.message),
    )
    return ModelDeploymentStatus(
        observed_generation=view.identity.generation,
        conditions=settle(said, view.status.conditions, view.identity.generation, environment.now),
        last_failure=_failure(view, Trouble(problem.reason, problem.message), environment),
    )


def _conditions(view: ModelView, replicas: Replication) -> list[Says]:
    said = [_ready(view, replicas), _model_loaded(replicas), *replicas.fetch.says, *replicas.wanted.says]
    failure = replicas.failure
    if failure and final(failure):
        said.append(stalled(failure.reason, failure.message))
    elif view.refusal or not replicas.settled:
        reason, message = _wait(view, replicas)
        said.append(reconciling(reason, message))
    return said


def _ready(view: ModelView, replicas: Replication) -> Says:
    if replicas.desired == 0:
        wakes = "a job wakes the model" if replicas.wanted.scaled else "set spec.replicas to wake the model"
        return ready("ScaledToZero", f"no replica is wanted; {wakes}")
    if replicas.ready:
        return ready("Serving", f"{replicas.ready} of {replicas.desired} replicas serve")
    reason, message = _wait(view, replicas)
    # Until the Deployment's controller has seen it nobody knows.
    seen = view.refusal or not replicas.fetch.done or (replicas.counts is not None and replicas.counts.current)
    return not_ready(reason, message) if seen else unknown(reason, message)


def _wait(view: ModelView, replicas: Replication) -> tuple[str, str]:
    if view.refusal:
        return view.refusal.reason, view.refusal.message
    if found := replicas.failure or replicas.fetch.trouble or replicas.trouble:
        return found.reason, found.message
    if replicas.desired == 0:
        return "ScalingDown", f"{replicas.counts.replicas if replicas.counts else 0} replicas stop"
    if replicas.loading:
        return LOADING, replicas.loading
    return "Progressing", f"{replicas.ready} of {replicas.desired} replicas serve"


def _model_loaded(replicas: Replication) -> Says:
    def says(status: str, reason: str, message: str = "") -> Says:
        return Says(ConditionType.MODEL_LOADED, "True" if status == "True" else "False", reason, message)

    if replicas.desired == 0:
        return says("False", "ScaledToZero")
    if replicas.up_to_date:
        return says("True", "Loaded", "the engine holds the model")
    if failure := replicas.failure or replicas.fetch.trouble:
        return says("False", failure.reason, failure.message)
    return says("False", LOADING if replicas.loading else "NoReplica", "no replica of the present specification serves")


def _tasks(view: ModelView, spec: ModelDeploymentSpec, replicas: Replication) -> frozenset[Task]:
    """What the runtime says, else what the specification implies, else what was said before of this specification."""
    if replicas.loaded:
        return frozenset(replicas.loaded.tasks)
    known = spec.known_tasks()
    if known is not None:
        return known
    unchanged = view.status.observed_generation == view.identity.generation
    return frozenset(view.status.tasks) if unchanged else frozenset()


def _previous(replicas: Replication) -> PreviousRevision | None:
    if not replicas.older:
        return None
    digest = next((pod.probe.digest for pod in replicas.older if isinstance(pod.probe, Loaded)), "")
    return PreviousRevision(digest=digest, replicas=len(replicas.older))


def _model(view: ModelView, replicas: Replication) -> LoadedModel | None:
    loaded = replicas.loaded
    if loaded is None:
        # Kept while the specification is the same: a digest stays true while nobody can be asked.
        return view.status.model if view.status.observed_generation == view.identity.generation else None
    return LoadedModel(
        digest=loaded.digest,
        family=loaded.family,
        parameters=loaded.parameters,
        loaded_seconds=_kept_seconds(view.status.model, loaded),
        steps=_kept_steps(view, loaded),
        memory=_kept_memory(view, loaded),
    )


def _kept_seconds(before: LoadedModel | None, loaded: Loaded) -> float:
    # Replicas load the same model in different times, and whichever is asked first must not change the status.
    same = before is not None and before.digest == loaded.digest and before.loaded_seconds
    return before.loaded_seconds if before and same else round(loaded.loaded_seconds, 1)


def _kept_steps(view: ModelView, loaded: Loaded) -> list[StepCost] | None:
    # Measured anew by each replica and never twice the same: the first word on a specification counts.
    before = view.status.model
    unchanged = view.status.observed_generation == view.identity.generation
    if before and before.steps and before.digest == loaded.digest and unchanged:
        return before.steps
    return [StepCost(shape=shape, seconds=float(f"{seconds:.3g}")) for shape, seconds in loaded.step_seconds] or None


def _kept_memory(view: ModelView, loaded: Loaded) -> ModelMemory | None:
    before = view.status.model
    unchanged = view.status.observed_generation == view.identity.generation
    if before and before.memory and before.digest == loaded.digest and unchanged:
        return before.memory
    if loaded.memory is None:
        return None
    peaks = [ShapePeak(shape=shape, bytes=size) for shape, size in loaded.memory.peaks]
    return ModelMemory(capacity_bytes=loaded.memory.capacity, weights_bytes=loaded.memory.weights, peaks=peaks)


def _last_failure(view: ModelView, replicas: Replication, environment: Environment) -> ModelFailure | None:
    if replicas.desired == 0 or replicas.settled:
        return None
    found = replicas.failure or replicas.trouble
    return _failure(view, found, environment) if found else view.status.last_failure


def _failure(view: ModelView, trouble: Trouble, environment: Environment) -> ModelFailure:
    before = view.status.last_failure
    if before and (before.reason, before.message) == (trouble.reason[:64], trouble.message[:1024]):
        return before
    return ModelFailure(reason=trouble.reason[:64], message=trouble.message[:1024], time=timestamp(environment.now))
