"""What was seen in the cluster, as values that a decision reads. `parsing` makes them from the API server's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from easel_api.errors import ErrorReport
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import ChosenBackend, GenerationJobSpec, GenerationJobStatus
from easel_api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from easel_api.offers import Offer
from easel_api.provider import ProviderSpec, ProviderStatus
from easel_api.tasks import Task

from .admission import ADMITTED, Turn
from .decision import Refusal
from .resources import Key
from .scaling.policy import NO_WORK, Blind, Recommendation, Work
from .scaling.work import UNMEASURED, Costs

DEADLINE_EXCEEDED = "DeadlineExceeded"
"""Reason of a batch Job that ran for longer than it may."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object, and which state of it."""

    key: Key
    uid: str
    generation: int
    resource_version: str = ""
    deleting: bool = False
    created: str = ""

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.key.name

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return self.key.namespace


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a spec cannot be carried out."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Child:
    """An object that we may have made, of whatever kind."""

    name: str
    uid: str
    owner_uid: str
    rendered_hash: str
    deleting: bool
    resource_version: str
    body: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not run, or is not even made, in one word and one sentence that do not change while the cause is the same."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class DeploymentCounts:
    """How far a Deployment's rollout is."""

    current: bool
    """Whether the counts are about the Deployment's present specification."""
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    trouble: Trouble | None = None
    """Why no pod can be made at all."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a replica's device in bytes: what there is, what the weights take, and what a request takes beside them by shape."""

    capacity: int
    weights: int
    peaks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a runtime says of the model that it serves (`GET /model`, 200)."""

    digest: str
    family: str
    tasks: tuple[Task, ...]
    parameters: int
    loaded_seconds: float
    step_seconds: tuple[tuple[str, float], ...] = ()
    """Seconds of one denoising step by shape."""
    memory: Memory | None = None
    """None: it was not measured."""


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """What a runtime says while it loads, or why it cannot (`GET /model`, 503)."""

    report: ErrorReport


Probe = Loaded | NotLoaded | None
"""None: nobody answered."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container last ended."""

    exit_code: int
    reason: str
    message: str
    """Its termination message, which our own programs write as `Reason: message`."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A runtime's or a worker's pod."""

    name: str
    uid: str
    address: str
    created: str
    running: bool
    """Whether its container runs."""
    ready: bool
    deleting: bool
    restarts: int = 0
    runtime_hash: str = ""
    trouble: Trouble | None = None
    termination: Termination | None = None
    probe: Probe = None
    load: int | None = None
    """Requests that a runtime holds; None: nobody asked, or nobody answered."""
    deletion_cost: int = 0
    """What its annotation says."""
    owner_uid: str = ""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A ModelDeployment and everything around it."""

    identity: Identity
    spec: ModelDeploymentSpec | Problem
    status: ModelDeploymentStatus
    children: dict[str, Child]
    """By kind."""
    counts: DeploymentCounts | None = None
    pods: tuple[Pod, ...] = ()
    fetch_pods: tuple[Pod, ...] = ()
    """Of the Job that brings the model into its cache, which is among the children."""
    fetch_trouble: Trouble | None = None
    """Why no pod of that Job can be made at all."""
    refusal: Refusal | None = None
    work: Work = NO_WORK
    """What its jobs ask of it."""
    demand: float | Blind | None = None
    """What Prometheus says, in GPU-seconds, or why it does not; None: it was not asked yet."""
    history: tuple[Recommendation, ...] = ()
    """What the demand asked for before."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """The batch Job of a GenerationJob."""

    uid: str
    owner_uid: str
    created: str
    suspended: bool
    deleting: bool
    resource_version: str = ""
    active: int = 0
    ready: int = 0
    failed: int = 0
    complete: bool = False
    failure: Trouble | None = None
    """Reason and message of its condition `Failed`."""
    finished_at: str = ""
    trouble: Trouble | None = None
    """Why no pod can be made at all."""
    backend: ChosenBackend | None = None
    """The backend that it was made for, as its annotations say."""
    queue: str = ""
    """The LocalQueue of Kueue that it waits in; it is Kueue's to suspend and resume then."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ModelDeployment that a job names, as far as it is known."""

    name: str
    found: bool
    deleting: bool = False
    desired: int = 0
    wakes: bool = False
    """Whether it gets a replica when a job waits for it."""
    costs: Costs = UNMEASURED
    memory: Memory | None = None
    ready: bool = False
    """Whether a replica of its present specification serves."""
    tasks: frozenset[Task] | None = None
    """None while nobody can tell."""
    adapters: frozenset[str] = frozenset()
    """Names of the adapters that a job may use."""
    reason: str = ""
    message: str = ""
    since: str = ""
    """Reason, message and last transition of the condition that it waits for; no reason while nothing was said of its present
    specification."""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A Provider and the jobs that may pay by it."""

    identity: Identity
    spec: ProviderSpec | Problem
    status: ProviderStatus
    offers: Mapping[str, Offer | None]
    """By model, with what the catalogue says; None: it says nothing, and neither does the Provider."""
    underway: frozenset[str] = frozenset()
    """Uids of GenerationJobs that are not over."""
    users: tuple[str, ...] = ()
    """Other namespaces whose jobs may use it."""
    children: Mapping[str, Child] = field(default_factory=dict)
    """By kind: what lets them."""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class UsableProvider:
    """A Provider that a job's class names, that the job may use, and that can be used."""

    name: str
    """`west`, and `west.platform` when it is of another namespace."""
    secret: str = ""
    """Name of its Secret; empty: it goes by the workers' own identity."""


@dataclass(frozen=True, slots=True)
class Routes:
    """What a job's class means in its namespace; the own models are among the job's candidates."""

    spec: GenerationClassSpec
    providers: tuple[UsableProvider, ...] = ()
    unusable: tuple[str, ...] = ()
    """Why others of the class cannot be used, for a person, each by its field in the class."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A GenerationJob and everything around it."""

    identity: Identity
    spec: GenerationJobSpec | Problem
    status: GenerationJobStatus
    candidates: tuple[Candidate, ...] = ()
    turn: Turn = ADMITTED
    queue: dict[str, str] = field(default_factory=dict)
    """Its labels for Kueue; none: it has a turn in our own queue."""
    declared: bool = False
    """Whether a tool such as Argo CD would make it anew when it is gone."""
    batch_job: BatchJob | None = None
    pods: tuple[Pod, ...] = ()
    refusal: Refusal | None = None
    routes: Routes | Problem | None = None
    """Of a job of a class that has no worker yet."""
