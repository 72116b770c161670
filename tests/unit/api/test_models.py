"""The models themselves: what goes out comes back, and each kind's own sums."""

import json

import pytest
from api_manifests import Manifest, fitting_jobs, job, jobs, model, models
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from easel_api.errors import ERRORS, EaselError, ExitCode
from easel_api.generationjob import GenerationJob, GenerationJobSpec
from easel_api.modeldeployment import ModelDeployment
from easel_api.tasks import ADDED, FAMILIES, OWN, TAKES, Task
from easel_api.validation import validate_text


@settings(max_examples=60, deadline=None)
@given(st.one_of(jobs, fitting_jobs()))
def test_any_job_survives_the_way_to_a_manifest_and_back(manifest: Manifest) -> None:
    parsed = GenerationJob.model_validate(manifest)
    assert GenerationJob.model_validate_json(json.dumps(parsed.to_manifest())) == parsed
    assert GenerationJob.model_validate(parsed.to_manifest()).to_manifest() == parsed.to_manifest()


@settings(max_examples=60, deadline=None)
@given(models)
def test_any_model_survives_the_way_to_a_manifest_and_back(manifest: Manifest) -> None:
    parsed = ModelDeployment.model_validate(manifest)
    assert ModelDeployment.model_validate_json(json.dumps(parsed.to_manifest())) == parsed


def test_a_manifest_made_in_python_says_what_it_is() -> None:
    spec = GenerationJobSpec.model_validate(job()["spec"])
    made = GenerationJob(metadata={"name": "mugs"}, spec=spec).to_manifest()
    assert made == job()
    assert "kind" not in spec.to_manifest()


def test_null_is_the_same_as_unset() -> None:
    parsed = GenerationJobSpec.model_validate(job(parameters={"steps": None, "width": None})["spec"])
    assert parsed.parameters.steps == 20
    assert parsed.to_manifest()["parameters"] == {}


def test_cpu_may_be_a_number() -> None:
    assert ModelDeployment.model_validate(model(resources={"cpu": 2})).spec.resources.cpu == "2"


def test_items_are_prompts_times_matrix_times_seeds() -> None:
    spec = GenerationJobSpec.model_validate(
        job(
            prompts=[{"text": "a"}, {"text": "b"}],
            matrix={"x": ["1", "2", "3"], "y": ["1", "2"]},
            parameters={"seeds": [1, 2, 3, 4]},
        )["spec"]
    )
    assert spec.item_count() == 2 * 6 * 4


def test_a_job_without_prompts_makes_one_item_for_each_seed() -> None:
    spec = {"task": "latent-to-image", "backends": [{"modelDeployment": "gan"}], "parameters": {"seeds": [1, 2]}}
    assert GenerationJobSpec.model_validate(spec).item_count() == 2


def test_every_task_is_known_to_the_tables() -> None:
    assert set(TAKES) == set(Task)
    assert set().union(*FAMILIES.values(), *ADDED.values()) == OWN
    assert {family for family, _ in ADDED} <= set(FAMILIES)


def test_every_family_can_be_named_and_nothing_else() -> None:
    for family in FAMILIES:
        parsed = ModelDeployment.model_validate(model(model={"source": "pvc://models/a", "family": family}))
        assert parsed.spec.known_tasks() == FAMILIES[family]
    with pytest.raises(ValidationError):
        ModelDeployment.model_validate(model(model={"source": "pvc://models/a", "family": "Dance"}))


@pytest.mark.parametrize(
    ("source", "kinds", "known"),
    [
        ("builtin://miniature", [], FAMILIES["StableDiffusion"]),
        ("builtin://miniature", ["LoRA"], FAMILIES["StableDiffusion"]),
        (
            "builtin://miniature",
            ["ControlNet"],
            FAMILIES["StableDiffusion"] | {Task.SEGMENTATION_TO_IMAGE, Task.CONTROL_TO_IMAGE},
        ),
        ("builtin://miniature/generator-gan", [], {Task.LATENT_TO_IMAGE, Task.LATENT_TO_VIDEO}),
        ("builtin://miniature/generator-vae", [], {Task.LATENT_TO_IMAGE, Task.LATENT_TO_VIDEO}),
        ("pvc://models/sd", ["Motion"], None),
    ],
)
def test_what_a_model_can_do_is_known_from_its_source_and_adapters(
    source: str, kinds: list[str], known: set[Task] | None
) -> None:
    adapters = [{"name": kind.lower(), "kind": kind, "source": "pvc://adapters/a"} for kind in kinds]
    assert (
        ModelDeployment.model_validate(model(model={"source": source}, adapters=adapters)).spec.known_tasks() == known
    )


@pytest.mark.parametrize("error", ERRORS.values(), ids=list(ERRORS))
def test_every_error_survives_the_wire(error: type[EaselError]) -> None:
    raised = error("it broke", where="spec.task", found="x", fix="Mend it")
    again = raised.to_report().to_error()
    assert type(again) is error
    assert str(again) == str(raised) == "spec.task: it broke (found: x). Mend it"
    assert error.exit_code in ExitCode


def test_a_job_and_its_model_in_one_file_are_right() -> None:
    text = json.dumps(model()) + "\n---\n" + json.dumps(job())
    found = validate_text(text, for_cluster=True)
    assert found.problems == ()
    assert [each.metadata.name for each in (*found.models, *found.jobs)] == ["studio-mini", "mugs"]
