"""A model in a bucket: fetched by a Job before anything of it runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from operator_effects import after, decide, said, status_of
from operator_views import NOW, configuration, environment, model_spec, model_view, pod, running

from easel_api.errors import ErrorReport
from easel_operator.core.actions import Apply, Delete, KeepReplicas
from easel_operator.core.configuration import RuntimeProfile
from easel_operator.core.decision import Decision, Refusal
from easel_operator.core.manifests import sealed
from easel_operator.core.model.deployment import runtime_hash
from easel_operator.core.model.fetching import fetch_job, fetch_name
from easel_operator.core.observed import Child, DeploymentCounts, ModelView, NotLoaded, Problem, Termination
from easel_operator.core.parsing import child_of
from easel_operator.core.pods import create_trouble

SOURCE = "s3://models/sd15"
ENDED = "2026-01-02T03:04:00Z"


def spec(**changes: Any) -> Any:
    model = {"source": SOURCE, "s3": {"endpoint": "https://s3.example.org", "credentialsSecretRef": {"name": "models"}}}
    return model_spec(**({"model": model, "cache": {"persistentVolumeClaim": "models"}} | changes))


def fetch_child(view: ModelView, *conditions: dict[str, str], owner: str = "model-uid") -> Child:
    assert not isinstance(view.spec, Problem)
    settings = configuration()
    body = sealed(fetch_job(view.identity, view.spec, settings.runtime_profiles["default"], settings)).body
    metadata = body["metadata"] | {"uid": "fetch-uid", "ownerReferences": [{"uid": owner, "controller": True}]}
    told = [condition | {"status": "True", "lastTransitionTime": ENDED} for condition in conditions]
    return child_of(body | {"metadata": metadata, "status": {"conditions": told}})


COMPLETE = {"type": "Complete"}
FAILED = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "said the Job controller"}


def viewed(*conditions: dict[str, str], made: Any = None, **changes: Any) -> ModelView:
    view = model_view(made or spec())
    return replace(view, children={"Job": fetch_child(view, *conditions)}, **changes)


def applied(decision: Decision) -> list[str]:
    return [action.manifest.resource.kind for action in decision.actions if isinstance(action, Apply)]


def deleted(decision: Decision) -> list[str]:
    return [action.reference.name for action in decision.actions if isinstance(action, Delete)]


def ended(message: str) -> Any:
    return pod("studio-fetch-1", owner_uid="fetch-uid", termination=Termination(2, "Error", message))


def test_a_model_in_a_bucket_is_fetched_before_a_replica_is_asked_for() -> None:
    decision = decide(model_view(spec()), environment())
    assert applied(decision) == ["Job", "NetworkPolicy", "Service", "PodDisruptionBudget"]
    assert said(decision) == {
        "ModelCached": ("False", "Fetching"),
        "ModelLoaded": ("False", "Fetching"),
        "Ready": ("False", "Fetching"),
        "Reconciling": ("True", "Fetching"),
    }
    assert "lastFailure" not in status_of(decision)


def test_a_model_that_is_cached_is_served() -> None:
    decision = decide(viewed(COMPLETE), environment())
    assert applied(decision) == ["NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]
    assert said(decision)["ModelCached"] == ("True", "Fetched")
    assert said(decision)["Ready"] == ("Unknown", "Progressing")


WEIGHTS = "Weights: denoisers=2567463684 others=902000000"


def weighed(**resources: Any) -> ModelView:
    """Fetched, with the size of its weights in the Job's last words."""
    last = replace(ended(WEIGHTS), termination=Termination(0, "Completed", WEIGHTS))
    return viewed(COMPLETE, made=spec(resources=resources), fetch_pods=(last,))


def test_a_model_that_cannot_fit_is_refused_before_a_gpu_is_asked_for() -> None:
    decision = decide(weighed(gpus=1, gpuMemory="6Gi"), environment())
    assert applied(decision) == ["NetworkPolicy", "Service", "PodDisruptionBudget"]
    assert said(decision)["Stalled"] == ("True", "InvalidInput")
    message = status_of(decision)["lastFailure"]["message"]
    assert message.startswith(
        "spec.resources.gpuMemory: the model's weights do not fit into memory (found: 6,617 MiB of"
    )
    assert said(decide(weighed(memory="12Gi"), environment()))["ModelCached"] == ("False", "InvalidInput")


@pytest.mark.parametrize("resources", [{"gpus": 1, "gpuMemory": "7Gi"}, {"gpus": 1}, {"memory": "13Gi"}])
def test_a_model_that_may_fit_is_served(resources: dict[str, Any]) -> None:
    decision = decide(weighed(**resources), environment())
    assert "Deployment" in applied(decision)
    assert said(decision)["ModelCached"] == ("True", "Fetched")


def test_a_replica_with_a_cache_of_its_own_needs_no_job() -> None:
    alone = spec(cache={"emptyDir": {"sizeLimit": "8Gi"}})
    decision = decide(model_view(alone), environment())
    assert applied(decision) == ["NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]
    assert "ModelCached" not in said(decision)
    assert deleted(decide(replace(viewed(), spec=alone), environment())) == ["studio-fetch"], "of the claim before it"


def test_what_such_a_replica_fetches_is_why_it_does_not_serve() -> None:
    view = model_view(spec(cache={"emptyDir": {"sizeLimit": "8Gi"}}))
    made = after(view, decide(view, environment()))
    assert isinstance(made, ModelView)
    settings = configuration()
    template = runtime_hash(view.identity, view.spec, settings.runtime_profiles["default"], settings)  # type: ignore[arg-type]  # a spec, as made above
    fetches = ErrorReport(reason="Loading", what="the replica fetches the model from its bucket")
    for report, reason in ((fetches, "Loading"), (ErrorReport(reason="QuotaExhausted", what="full"), "QuotaExhausted")):
        at_it = running("studio-0", runtime_hash=template, probe=NotLoaded(report))
        counts = DeploymentCounts(current=True, replicas=1, updated=1)
        decision = decide(replace(made, counts=counts, pods=(replace(at_it, ready=False),)), environment())
        (told,) = (each for each in status_of(decision)["conditions"] if each["type"] == "Ready")
        assert (told["reason"], told["message"]) == (reason, report.what)


def test_while_a_changed_model_is_fetched_the_one_before_serves() -> None:
    before = model_view()
    view = after(before, decide(before, environment()))
    assert isinstance(view, ModelView)
    counts = DeploymentCounts(current=True, replicas=1, updated=1, ready=1)
    changed = replace(view, spec=spec(), counts=counts, pods=(running("studio-0", runtime_hash="before"),))
    decision = decide(changed, environment())
    assert applied(decision) == ["Job"], "neither the Deployment nor anything else that serves"
    assert said(decision)["Ready"] == ("True", "Serving")
    assert said(decision)["ModelLoaded"] == ("False", "Fetching")


@pytest.mark.parametrize(
    ("message", "reason", "stalls"),
    [
        ("InvalidInput: spec.model.digest: the model folder is not the one that was pinned", "InvalidInput", True),
        ("QuotaExhausted: spec.cache.persistentVolumeClaim: the cache is full", "QuotaExhausted", True),
        ("", "BackoffLimitExceeded", False),
    ],
)
def test_why_a_model_cannot_be_fetched_is_told_and_tried_again_later(message: str, reason: str, stalls: bool) -> None:
    view = viewed(FAILED, fetch_pods=(ended(message),))
    decision = decide(view, environment())
    assert said(decision)["ModelCached"] == ("False", reason)
    assert said(decision)["Ready"] == ("False", reason)
    assert ("Stalled" in said(decision)) == stalls
    assert status_of(decision)["lastFailure"]["reason"] == reason
    assert decision.requeue_after == 595
    assert deleted(decision) == []
    assert deleted(decide(view, environment(NOW + timedelta(minutes=10)))) == ["studio-fetch"]


def test_a_try_that_failed_is_told_while_the_next_one_works() -> None:
    works = pod("studio-fetch-2", owner_uid="fetch-uid", running=True)
    view = viewed(fetch_pods=(ended("EnvironmentFault: the S3 endpoint did not serve"), works))
    decision = decide(view, environment())
    assert said(decision)["ModelCached"] == ("False", "Fetching")
    assert "Stalled" not in said(decision)
    (told,) = (each for each in status_of(decision)["conditions"] if each["type"] == "ModelCached")
    assert "an earlier try ended with EnvironmentFault: the S3 endpoint did not serve" in told["message"]


def test_the_last_words_of_an_earlier_jobs_pod_are_not_this_ones() -> None:
    view = viewed(FAILED, fetch_pods=(replace(ended("NotFound: no such bucket"), owner_uid="earlier"),))
    assert said(decide(view, environment()))["ModelCached"] == ("False", "BackoffLimitExceeded")


def test_a_job_whose_pod_cannot_be_made_says_so() -> None:
    event = {"reason": "FailedCreate", "message": 'Error creating: pods "studio-fetch-x1y2z" is forbidden: no quota'}
    decision = decide(viewed(fetch_trouble=create_trouble([event])), environment())
    assert said(decision)["ModelCached"] == ("False", "FailedCreate")
    assert "x1y2z" not in str(status_of(decision)), "the name differs from try to try"


def test_a_suspended_job_says_so() -> None:
    view = viewed()
    job = view.children["Job"]
    held = replace(job, body=job.body | {"spec": job.body["spec"] | {"suspend": True}})
    assert said(decide(replace(view, children={"Job": held}), environment()))["ModelCached"] == ("False", "Suspended")


@pytest.mark.parametrize(
    ("reason", "where", "again"),
    [
        ("NotFound", SOURCE, True),
        ("InvalidInput", "spec.model.digest", True),
        ("Unsupported", "model_index.json", False),
    ],
)
def test_what_a_replica_misses_in_the_cache_is_fetched_again(reason: str, where: str, again: bool) -> None:
    report = ErrorReport(reason=reason, what="it is not there", where=where)
    view = replace(viewed(COMPLETE), pods=(pod("studio-0", running=True, probe=NotLoaded(report)),))
    now, later = decide(view, environment()), decide(view, environment(NOW + timedelta(minutes=10)))
    assert deleted(now) == []
    assert deleted(later) == (["studio-fetch"] if again else [])


def test_the_number_of_replicas_is_kept_though_the_change_is_not_fetched() -> None:
    before = model_view()
    view = after(before, decide(before, environment()))
    assert isinstance(view, ModelView)
    decision = decide(replace(view, spec=spec(replicas=0)), environment())
    assert applied(decision) == ["Job"]
    assert [action.replicas for action in decision.actions if isinstance(action, KeepReplicas)] == [0]
    assert not any(
        isinstance(action, KeepReplicas) for action in decide(replace(view, spec=spec()), environment()).actions
    )


def test_what_is_fetched_anew_takes_the_earlier_job_away_first() -> None:
    view = replace(viewed(COMPLETE), spec=spec(model={"source": SOURCE, "digest": "sha256:" + "0" * 64}))
    decision = decide(view, environment())
    assert deleted(decision) == ["studio-fetch"]
    assert "Deployment" not in applied(decision)
    assert said(decision)["ModelCached"] == ("False", "Fetching")


def test_a_change_of_anything_else_fetches_nothing() -> None:
    view = replace(viewed(COMPLETE), spec=spec(engine={"quality": "Draft"}))
    newer = environment(runtime_profiles={"default": RuntimeProfile(image="docker.io/easel/runtime:newer")})
    for decision in (decide(view, environment()), decide(view, newer)):
        assert deleted(decision) == []
        assert "Deployment" in applied(decision)


def test_a_model_that_left_its_bucket_has_no_fetch_job() -> None:
    decision = decide(replace(viewed(COMPLETE), spec=model_spec()), environment())
    assert deleted(decision) == ["studio-fetch"]
    assert "Deployment" in applied(decision)
    assert "ModelCached" not in said(decision)


def test_a_job_of_that_name_that_is_anothers_is_left_alone() -> None:
    view = viewed()
    view = replace(view, children={"Job": fetch_child(view, COMPLETE, owner="somebody")})
    decision = decide(view, environment())
    assert deleted(decision) == []
    assert "Job" not in applied(decision)
    assert said(decision)["ModelCached"] == ("False", "NameTaken")


def test_a_refused_job_is_told_and_not_tried_twice_in_a_pass() -> None:
    decision = decide(replace(model_view(spec()), refusal=Refusal("QuotaExhausted", "no more Jobs")), environment())
    assert applied(decision) == []
    assert said(decision)["ModelCached"] == ("False", "QuotaExhausted")


def test_with_whose_keys_a_bucket_is_reached_is_no_business_of_the_replicas() -> None:
    settings, view = configuration(), model_view()
    profile = settings.runtime_profiles["default"]
    s3 = {"endpoint": "https://s3.example.org", "region": "eu-central-1"}
    elsewhere = spec(model={"source": SOURCE, "s3": s3})
    assert runtime_hash(view.identity, spec(), profile, settings) == runtime_hash(
        view.identity, elsewhere, profile, settings
    )


def test_a_name_that_is_too_long_for_a_job_is_cut_and_stays_unique() -> None:
    one, other = "a" * 60 + "b", "a" * 60 + "c"
    assert len(fetch_name(one)) <= 63
    assert fetch_name(one) != fetch_name(other)
