"""Strategies that draw whatever a cluster may look like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from operator_effects import after, decide
from operator_views import READY, batch, completed, environment, failed, job_spec, job_view, model_spec, model_view

from easel_api.errors import ErrorReport
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import GenerationJobSpec, GenerationJobStatus
from easel_api.tasks import Task
from easel_operator.core.admission import ADMITTED, UNKNOWN, Turn
from easel_operator.core.decision import Refusal
from easel_operator.core.model.deployment import runtime_hash
from easel_operator.core.observed import (
    DeploymentCounts,
    JobView,
    Loaded,
    ModelView,
    NotLoaded,
    Pod,
    Problem,
    Routes,
    Termination,
    Trouble,
    UsableProvider,
)
from easel_operator.core.resources import DEPLOYMENTS, JOBS
from easel_operator.core.scaling.policy import Blind, Work

TROUBLES = st.none() | st.sampled_from(
    [Trouble("ImagePullBackOff", "x"), Trouble("Unschedulable", "y"), Trouble("CrashLoopBackOff", "z")]
)
TERMINATIONS = st.none() | st.builds(
    Termination,
    st.sampled_from([0, 1, 2, 3, 137]),
    st.sampled_from(["Error", "OOMKilled", "Completed"]),
    st.sampled_from(["", "NotFound: bucket art", "Transient: the network", "no reason of ours"]),
)
REFUSALS = st.none() | st.just(Refusal("QuotaExhausted", "exceeded quota"))
REPORTS = st.sampled_from(["Loading", "UnsafeModel", "BackendFault", "NewerReason"])
PROBES = (
    st.none()
    | st.builds(lambda reason: NotLoaded(ErrorReport(reason=reason, what="w")), REPORTS)
    | st.builds(Loaded, st.just("sha256:0"), st.just("Other"), st.just((Task.INPAINT,)), st.just(9), st.floats(0, 99))
)


@st.composite
def pods(draw: st.DrawFn, hashes: tuple[str, ...] = ("",)) -> Pod:
    running = draw(st.booleans())
    ready = running and draw(st.booleans())
    return Pod(
        name=draw(st.sampled_from("abc")),
        uid="uid",
        address="10.0.0.1" if running else "",
        created=f"2026-01-02T03:00:0{draw(st.integers(0, 9))}Z",
        running=running,
        ready=ready,
        deleting=draw(st.booleans()),
        runtime_hash=draw(st.sampled_from(hashes)),
        trouble=None if running else draw(TROUBLES),
        termination=draw(TERMINATIONS),
        probe=draw(PROBES) if running else None,
    )


CANDIDATES = st.builds(
    lambda found, deleting, desired, ready, tasks: replace(
        READY, found=found, deleting=deleting, desired=desired, ready=ready and desired > 0, tasks=tasks
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
    st.none() | st.frozensets(st.sampled_from(list(Task))),
)
BATCH_JOBS = st.none() | st.one_of(
    st.builds(
        batch,
        queue=st.sampled_from(["", "", "team"]),
        suspended=st.booleans(),
        deleting=st.booleans(),
        active=st.integers(0, 1),
        ready=st.integers(0, 1),
        failed=st.integers(0, 3),
        owner_uid=st.sampled_from(["job-uid", "job-uid", "job-uid", "other"]),
    ),
    st.just(completed()),
    st.builds(failed, st.sampled_from(["PodFailurePolicy", "BackoffLimitExceeded", "DeadlineExceeded"])),
)
WORKER_STATUSES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"items": {"total": 4, "succeeded": 1}, "done": "1/4"},
        {"items": {"total": 4, "failed": 4}, "done": "0/4", "lastFailure": {"reason": "BadOutput", "message": "m"}},
    ]
)


CLASS = GenerationClassSpec.model_validate(
    {"backends": [{"modelDeployment": {"name": "studio"}}, {"provider": {"name": "west"}}]}
)
ROUTES: st.SearchStrategy[Routes | Problem | None] = st.sampled_from(
    [
        None,
        Problem("ClassNotFound", "there is no GenerationClass studio"),
        Routes(CLASS, (UsableProvider("west", "aws"),)),
        Routes(CLASS, (), ("spec.backends[1].provider: Provider west is not ready",)),
    ]
)


def of_a_class(spec: GenerationJobSpec) -> GenerationJobSpec:
    return spec.model_copy(update={"backends": [], "generation_class_name": "studio"})


@st.composite
def job_views(draw: st.DrawFn) -> JobView:
    view = draw(plain_job_views())
    if isinstance(view.spec, Problem) or draw(st.booleans()):
        return view
    return replace(view, spec=of_a_class(view.spec), routes=draw(ROUTES) if view.batch_job is None else None)


@st.composite
def plain_job_views(draw: st.DrawFn) -> JobView:
    spec = draw(
        st.builds(
            job_spec,
            suspend=st.booleans(),
            priorityClassName=st.sampled_from([None, None, None, "unknown"]),
            cancel=st.booleans(),
            ttlSecondsAfterFinished=st.none() | st.integers(0, 90),
        )
        | st.just(Problem("InvalidInput", "spec: wrong"))
    )
    return job_view(
        spec,
        candidates=tuple(draw(st.lists(CANDIDATES, min_size=1, max_size=3))),
        turn=draw(st.sampled_from([ADMITTED, ADMITTED, UNKNOWN, Turn(admitted=False, message="others go first")])),
        queue=draw(st.sampled_from([{}, {}, {"kueue.x-k8s.io/queue-name": "team"}])),
        batch_job=draw(BATCH_JOBS),
        pods=tuple(draw(st.lists(pods(), max_size=3))),
        refusal=draw(REFUSALS),
        status=GenerationJobStatus.model_validate(draw(WORKER_STATUSES)),
    )


HASHES = (
    runtime_hash(
        model_view().identity,
        model_spec(),
        environment().configuration.runtime_profiles["default"],
        environment().configuration,
    ),
    "older",
)


SCALINGS: st.SearchStrategy[dict[str, Any] | None] = st.sampled_from(
    [
        None,
        None,
        {"maxReplicas": 3, "idleSeconds": 20_000},
        {"maxReplicas": 2, "minReplicas": 2},
        {"maxReplicas": 3, "engine": "KEDA"},
        {"maxReplicas": 3, "minReplicas": 1, "engine": "HPA"},
    ]
)
"""Idle times are longer than any clock of a test turns."""


ALONE = {
    "model": {"source": "s3://models/sd15", "s3": {"credentialsSecretRef": {"name": "models"}}},
    "cache": {"emptyDir": {"sizeLimit": "8Gi"}},
}
BUCKET = {"model": {"source": "s3://models/sd15"}, "cache": {"persistentVolumeClaim": "models"}}
ENDS: st.SearchStrategy[list[dict[str, str]]] = st.sampled_from(
    [[], [{"type": "Complete"}], [{"type": "Failed", "reason": "PodFailurePolicy", "message": "said its controller"}]]
)


@st.composite
def fetched(draw: st.DrawFn, view: ModelView) -> ModelView:
    """The same with whatever may have become of its fetch Job."""
    job = view.children.get(JOBS.kind)
    if job is None:
        return view
    told = [end | {"status": "True", "lastTransitionTime": "2026-01-02T03:04:00Z"} for end in draw(ENDS)]
    made = replace(job, body=job.body | {"status": {"conditions": told}}, deleting=draw(st.booleans()))
    return replace(
        view, children=view.children | {JOBS.kind: made}, fetch_pods=tuple(draw(st.lists(pods(), max_size=2)))
    )


@st.composite
def model_views(draw: st.DrawFn) -> ModelView:
    scaling, source = draw(SCALINGS), draw(st.sampled_from([{}, {}, BUCKET, ALONE]))
    scaled = {"scaling": scaling} if scaling else {"replicas": draw(st.integers(0, 3))}
    profile = draw(st.sampled_from(["default", "default", "unknown"]))
    view = model_view(model_spec(runtimeProfile=profile, **scaled, **source), refusal=draw(REFUSALS))
    view = replace(
        view,
        work=draw(st.builds(Work, st.integers(0, 3), st.none() | st.floats(0, 900), st.booleans())),
        demand=draw(st.none() | st.just(Blind("NoData", "nothing")) | st.floats(0, 900)),
    )
    if profile == "default" and draw(st.booleans()):
        made = after(view, decide(view, environment()))
        assert isinstance(made, ModelView)
        view = draw(fetched(made))
    if DEPLOYMENTS.kind in view.children:
        view = replace(view, counts=draw(st.builds(DeploymentCounts, st.booleans(), *[st.integers(0, 3)] * 3)))
    return replace(view, pods=tuple(draw(st.lists(pods(HASHES), max_size=3))))


VIEWS = job_views() | model_views()
