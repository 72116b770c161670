"""Every rule of the CRDs on a real API server: one manifest that it takes, one that it refuses, and the same said offline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from api_manifests import (
    Manifest,
    broken,
    classes,
    edited,
    fitting_jobs,
    fitting_providers,
    generation_class,
    job,
    jobs,
    model,
    models,
    providers,
)
from api_manifests import provider as provider_manifest
from hypothesis import HealthCheck, given, settings
from rule_cases import (
    BOUNDS,
    CHANGING,
    CLASS_BOUNDS,
    CREATING,
    MODEL_BOUNDS,
    PROVIDER_BOUNDS,
    TASK_BOUNDS,
    Case,
)

from easel_api import generationclass, generationjob, modeldeployment, provider
from easel_api.crdgen.render import custom_resource_definition
from easel_api.schema import Schema
from easel_api.validation import spec_problems, transition_problems, validate_text

if TYPE_CHECKING:
    from conftest import Objects

pytestmark = pytest.mark.apiserver

KINDS = {
    "GenerationJob": (generationjob.GenerationJob, generationjob.KIND),
    "ModelDeployment": (modeldeployment.ModelDeployment, modeldeployment.KIND),
    "Provider": (provider.Provider, provider.KIND),
    "GenerationClass": (generationclass.GenerationClass, generationclass.KIND),
}


def test_every_rule_has_a_case() -> None:
    stated = {
        (kind, message) for kind, pair in KINDS.items() for message in _messages(custom_resource_definition(*pair))
    }
    assert {(case.kind, case.message) for case in (*CREATING, *CHANGING)} == stated


@pytest.mark.parametrize("case", CREATING, ids=lambda case: case.id)
def test_a_rule_on_creation(case: Case, objects: Objects) -> None:
    assert objects.on_create(case.accepted) == ""
    assert offline(case.accepted) == []
    assert case.message in objects.on_create(case.refused)
    assert offline(case.refused) != []


@pytest.mark.parametrize("case", CREATING, ids=lambda case: case.id)
def test_the_twin_of_a_rule_names_it(case: Case) -> None:
    # Names are checked by the model's own pattern, in its words.
    if "each name" not in case.message and "a name" not in case.message:
        assert any(case.message in problem for problem in offline(case.refused)), offline(case.refused)


@pytest.mark.parametrize("case", CHANGING, ids=lambda case: case.id)
def test_a_rule_on_changes(case: Case, objects: Objects) -> None:
    assert case.before is not None
    objects.keep(case.before)
    try:
        assert objects.on_change(case.accepted) == ""
        assert case.message in objects.on_change(case.refused)
    finally:
        objects.drop(case.before)
    parse = generationjob.GenerationJob.model_validate
    before, accepted, refused = (parse(each).spec for each in (case.before, case.accepted, case.refused))
    assert transition_problems(before, accepted) == []
    assert case.message in [problem.what for problem in transition_problems(before, refused)]


def test_every_immutable_field_has_a_case_for_each_way_it_could_change() -> None:
    spec = generationjob.GenerationJobSpec
    for transition in spec.all_transitions():
        changes = [case for case in CHANGING if case.message == transition.message]
        required = transition.path in {"task", "backends"}
        assert len(changes) >= (1 if required or transition.path in {"inputs", "output", "cancel"} else 3), (
            transition.path
        )


@pytest.mark.parametrize(
    ("base", "path", "right", "wrong"),
    [(job(), *each) for each in BOUNDS]
    + TASK_BOUNDS
    + [(model(), *each) for each in MODEL_BOUNDS]
    + [(provider_manifest(), *each) for each in PROVIDER_BOUNDS]
    + [(generation_class(backends=[{"provider": {"name": "west"}}]), *each) for each in CLASS_BOUNDS],
    ids=[each[-3] for each in (*BOUNDS, *TASK_BOUNDS, *MODEL_BOUNDS, *PROVIDER_BOUNDS, *CLASS_BOUNDS)],
)
def test_bounds(base: Manifest, path: str, right: list[Any], wrong: list[Any], objects: Objects) -> None:
    for value in right:
        assert (objects.on_create(edited(base, path, value)), offline(edited(base, path, value))) == ("", []), value
    for value in wrong:
        assert objects.on_create(edited(base, path, value)) != "", value
        assert offline(edited(base, path, value)) != [], value


@pytest.mark.parametrize(
    "manifests",
    [
        *(jobs, models, fitting_jobs(), providers, fitting_providers(), classes),
        *(broken(jobs), broken(fitting_jobs()), broken(models), broken(providers), broken(fitting_providers())),
        broken(classes),
    ],
    ids=[
        *("job", "model", "fitting-job", "provider", "fitting-provider", "class"),
        *("bad-job", "nearly-fitting-job", "bad-model", "bad-provider", "nearly-fitting-provider", "bad-class"),
    ],
)
def test_offline_and_the_api_server_agree_on_any_manifest(manifests: Any, objects: Objects) -> None:
    @settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(manifests)
    def agree(manifest: Manifest) -> None:
        said = objects.on_create(manifest)
        assert bool(said) == bool(offline(manifest)), (said, offline(manifest))

    agree()


def offline(manifest: Manifest) -> list[str]:
    """What `easel validate` says, but for what no API server can know."""
    found = validate_text(json.dumps(manifest), for_cluster=True)
    beyond = {problem.what for parsed in found.jobs for problem in spec_problems(parsed.spec)}
    return [str(problem) for problem in found.problems if problem.what not in beyond]


def _messages(schema: Schema) -> list[str]:
    found: list[str] = []
    for key, value in schema.items():
        if key == "x-kubernetes-validations":
            found += [rule["message"] for rule in value]
        elif isinstance(value, dict):
            found += _messages(value)
        elif isinstance(value, list):
            found += [message for each in value if isinstance(each, dict) for message in _messages(each)]
    return found
