"""Bad manifests: the problem names the field in the manifest's spelling, what was found, and what would be right."""

import json
from pathlib import Path
from typing import Any

import pytest
from api_manifests import Manifest, broken, edited, job, jobs, model
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_api.errors import InvalidInput
from easel_api.generationjob import GenerationJobSpec
from easel_api.validation import Problem, load_documents, spec_problems, validate_text

ROOT = Path(__file__).parents[3]
SECRET = "a zebra named Quentin"


def problems(*manifests: Manifest, for_cluster: bool = True) -> list[Problem]:
    text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
    return list(validate_text(text, "job.yaml", for_cluster=for_cluster).problems)


def searching(words: str) -> Manifest:
    """A job that looks for a part of a picture."""
    made = job(
        task="search-and-replace",
        generationClassName="studio",
        inputs={"image": {"uri": "s3://art/in/mug.png"}},
        prompts=[{"text": "a vase", "search": words}],
    )
    return edited(made, "spec.backends", ...)


BAD: list[tuple[Manifest, str, str]] = [
    (edited(job(), "spec.task", ...), "spec.task", "is missing. Add it: What to make"),
    (edited(job(), "spec.prompts", ...), "spec.prompts", "this task needs prompts"),
    (edited(job(), "spec.prompts", []), "spec.prompts", "this task needs prompts"),
    (job(task="interpolation"), "spec.prompts", "interpolation needs an end in each prompt, or parameters.endSeed"),
    (job(task="interpolation", prompts=[{"text": "a", "end": "{{b}}"}]), "spec.prompts[0].end", "{{b}}). Add spec.matrix.b"),
    (job(parameters={"maskColours": [None]}), "spec.parameters.maskColours[0]", "must be text (found: nothing). Put it in quotes. # and six"),
    (job(parameters={"maskColours": ["#F00"]}), "spec.parameters.maskColours[0]", "# and six lower-case hex digits, in quotes"),
    (job(parameters={"expand": {"left": 10}}), "spec.parameters.expand.left", "must be a multiple of 8 (found: 10). Use 8 or 16"),
    (job(parameters={"scale": 8}), "spec.parameters.scale", "must be at most 4 (found: 8)"),
    (job(quality="draft"), "spec.quality", "must be one of Draft, Standard, Exact (found: draft). Did you mean Draft?"),
    (job(adapters=[{"name": "a"}, {"name": "a"}]), "spec.adapters[1]", "has the same name as entry 0"),
    (job(adapters=[{"weight": 1}]), "spec.adapters[0].name", "is missing"),
    (model(model={"source": "pvc://a/", "family": "FLUX"}), "spec.model.family", "must be one of StableDiffusion, StableDiffusionXL"),
    (edited(job(), "spec.prompts[0].text", ""), "spec.prompts[0].text", "has fewer than 1 characters (found: empty text)"),
    (edited(job(), "spec.prompts[0].text", 7), "spec.prompts[0].text", "must be text (found: a number). Put it in quotes"),
    (edited(job(), "spec.prompts[0]", "a mug"), "spec.prompts[0]", "must be a mapping of fields"),
    (edited(job(), "spec.task", "text-to-vide"), "spec.task", "Did you mean text-to-video?"),
    (edited(job(), "spec.task", "dance"), "spec.task", "must be one of text-to-image, image-to-image, inpaint, outpaint"),
    (edited(job(), "spec.parameters.step", 3), "spec.parameters.step", "no such field. Did you mean steps?"),
    (edited(job(), "spec.parameters.guidance_scale", 3), "spec.parameters.guidance_scale", "Did you mean guidanceScale?"),
    (edited(job(), "spec.zebra", 3), "spec.zebra", "no such field. Fields here: adapters, backends, budget"),
    (edited(job(), "metadata.lables", {}), "metadata.lables", "Did you mean labels?"),
    (edited(job(), "sepc", {}), "sepc", "Did you mean spec?"),
    (edited(job(), "spec.parameters.steps", "20"), "spec.parameters.steps", "must be a whole number"),
    (edited(job(), "spec.parameters.steps", 2.5), "spec.parameters.steps", "must be a whole number (found: 2.5)"),
    (edited(job(), "spec.parameters.steps", True), "spec.parameters.steps", "must be a whole number (found: true)"),
    (edited(job(), "spec.parameters.steps", 0), "spec.parameters.steps", "must be at least 1 (found: 0). Denoising steps. 1 to 200"),
    (edited(job(), "spec.parameters.steps", 201), "spec.parameters.steps", "must be at most 200 (found: 201)"),
    (edited(job(), "spec.parameters.width", 100), "spec.parameters.width", "must be a multiple of 8 (found: 100). Use 96 or 104"),
    (edited(job(), "spec.parameters.width", 30000), "spec.parameters.width", "must be at most 4096 (found: 30000)"),
    (edited(job(), "spec.parameters.seeds", [1, 2, 1]), "spec.parameters.seeds[2]", "stands twice, first as entry 0"),
    (edited(job(), "spec.parameters.seeds", [-1]), "spec.parameters.seeds[0]", "must be at least 0"),
    (edited(job(), "spec.parameters.seeds", [2**32]), "spec.parameters.seeds[0]", "must be at most 4294967295"),
    (edited(job(), "spec.suspend", "yes"), "spec.suspend", "must be true or false"),
    (edited(job(), "spec.matrix", ["red"]), "spec.matrix", "must be a mapping of names to values (found: a list of 1)"),
    (edited(job(), "spec.matrix", {"co-lour": ["red"]}), "spec.matrix.co-lour", "Letters, digits and _, starting with a letter"),
    (searching("the {{what}}"), "spec.prompts[0].search", "{{what}}). Add spec.matrix.what"),
    (searching("the {{what"), "spec.prompts[0].search", "{{ or }} that belongs to no variable"),
    (edited(job(), "spec.matrix", {"colour": ["red"]}), "spec.matrix.colour", "no prompt uses this variable. Write {{colour}}"),
    (
        job(prompts=[{"text": "a {{colour}} mug"}], matrix={"colour": ["red", "red"]}),
        "spec.matrix.colour[1]",
        "stands twice, first as entry 0",
    ),
    (job(prompts=[{"text": "a {{colour}} mug"}]), "spec.prompts[0].text", "{{colour}}). Add spec.matrix.colour"),
    (
        job(prompts=[{"text": "a {{color}} {{colour}} mug"}], matrix={"colour": ["red"]}),
        "spec.prompts[0].text",
        "the matrix has no such variable (found: {{color}}). Did you mean {{colour}}?",
    ),
    (job(prompts=[{"text": "a {{1x}} mug"}]), "spec.prompts[0].text", "{{ or }} that belongs to no variable"),
    (
        job(prompts=[{"text": "{{a}}" * 40}], matrix={"a": ["x" * 256]}),
        "spec.prompts[0].text",
        "more than 8000 characters once its variables are filled in (found: 10240 characters)",
    ),
    (
        job(prompts=[{"text": "{{a}}{{b}}"}], matrix={"a": [*map(str, range(33))], "b": [*map(str, range(32))]}),
        "spec.matrix",
        "a job makes at most 1024 items (found: 1 prompts × 1056 combinations × 1 seeds = 1056). Split the job",
    ),
    (edited(job(), "spec.backends[0].modelDeployment", "Studio"), "spec.backends[0].modelDeployment", "(found: Studio)"),
    (edited(job(), "spec.backends[0]", {}), "spec.backends[0].modelDeployment", "name exactly one backend"),
    (edited(job(), "spec.output.store", ...), "spec.output.store", "a job in a cluster needs output.store"),
    (edited(job(), "spec.output.store.s3.bucket", "A"), "spec.output.store.s3.bucket", "3 to 63 lower-case letters"),
    (edited(job(), "metadata.name", "Mugs"), "metadata.name", "(found: Mugs). Lower-case letters, digits and -"),
    (edited(job(), "metadata.name", "m" * 53), "metadata.name", "more than 52 characters"),
    (edited(job(), "metadata.name", ...), "metadata.name", "is missing"),
    (edited(job(), "metadata.namespace", "Art"), "metadata.namespace", "not the name of a namespace"),
    (edited(job(), "metadata.labels", {"team": "a b"}), "metadata.labels.team", "not the value of a label"),
    (edited(job(), "metadata.labels", {"-team": "a"}), "metadata.labels", "not the name of a label"),
    (edited(job(), "kind", "GenerationJobs"), "kind", "no such kind (found: GenerationJobs). Did you mean GenerationJob?"),
    (edited(job(), "kind", "Gallery"), "kind", "Kinds of easel.dev/v1alpha1: GenerationJob, ModelDeployment, Provider, GenerationClass"),
    (edited(job(), "kind", ...), "kind", "is missing. Add it: GenerationJob, ModelDeployment, Provider, GenerationClass"),
    (edited(job(), "apiVersion", "easel.dev/v1"), "apiVersion", "must be easel.dev/v1alpha1 (found: easel.dev/v1)"),
    (edited(job(), "apiVersion", "easle.dev/v1alpha1"), "apiVersion", "must be easel.dev/v1alpha1"),
    (edited(job(), "apiVersion", ...), "apiVersion", "must be easel.dev/v1alpha1 (found: nothing)"),
    (edited(model(), "metadata.name", "3d"), "metadata.name", "the name of a ModelDeployment starts with a letter"),
    (edited(model(), "spec.model.source", "hf://org/name"), "spec.model.source", "builtin://NAME, pvc://CLAIM/PATH, s3://BUCKET/PREFIX or file://PATH"),
    (edited(model(), "spec.model.source", "pvc://a/../b"), "spec.model.source", "a path must not climb"),
    (edited(model(), "spec.resources.memory", "4GB"), "spec.resources.memory", "(found: 4GB)"),
    (edited(model(), "spec.resources.cpu", 0.5), "spec.resources.cpu", "must be text (found: 0.5). Put it in quotes"),
    (edited(model(), "spec.resources.cpu", 0), "spec.resources.cpu", "does not have the right form (found: 0)"),
    (
        model(adapters=[{"name": "m", "kind": "Motion", "source": "builtin://miniature/motion"}] * 2),
        "spec.adapters[1]",
        "has the same name as entry 0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("manifest", "path", "says"), BAD, ids=[f"{path}-{says[:30]}" for _, path, says in BAD])
def test_a_bad_manifest_gets_a_clear_answer(manifest: Manifest, path: str, says: str) -> None:
    found = problems(manifest)
    assert path in [problem.path for problem in found], list(map(str, found))
    assert any(says in str(problem) for problem in found if problem.path == path), list(map(str, found))


def test_a_problem_reads_as_file_line_path_and_what_to_do() -> None:
    text = (
        "apiVersion: easel.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: m}\nspec:\n  model:\n    source: x\n"
    )
    (problem,) = validate_text(text, "model.yaml", for_cluster=True).problems
    assert (problem.file, problem.line, problem.document, problem.path) == ("model.yaml", 6, 1, "spec.model.source")
    assert str(problem).startswith("model.yaml:6: spec.model.source: does not have the right form (found: x). A stock")
    assert isinstance(problem.to_error(), InvalidInput)


def test_every_problem_of_every_document_is_told() -> None:
    found = problems(edited(job(), "spec.parameters", {"steps": 0, "width": 7}), edited(model(), "spec.replicas", -1))
    assert [(problem.document, problem.path) for problem in found] == [
        (1, "spec.parameters.width"),
        (1, "spec.parameters.steps"),
        (2, "spec.replicas"),
    ]


@pytest.mark.parametrize(
    "manifest",
    [
        edited(job(), "spec.output", ...),
        edited(edited(job(), "spec.task", "image-to-image"), "spec.inputs.image.uri", "file:///tmp/mug.png"),
        edited(model(), "spec.model.source", "file:///models/sd"),
    ],
)
def test_one_machine_may_do_without_what_a_cluster_needs(manifest: Manifest) -> None:
    assert problems(manifest, for_cluster=False) == []
    assert problems(manifest, for_cluster=True) != []


def test_objects_of_other_groups_are_named_and_left_alone() -> None:
    found = validate_text("apiVersion: v1\nkind: Secret\nstringData: {a: b}\n", for_cluster=True)
    assert (found.others, found.problems) == (("Secret",), ())


def test_two_objects_of_one_name_in_a_file() -> None:
    assert [problem.path for problem in problems(job(), job())] == ["metadata.name"]
    assert problems(job(), edited(job(), "metadata.namespace", "other")) == []


def test_a_job_that_none_of_its_models_can_do() -> None:
    video = job(task="text-to-video")
    (problem,) = problems(model(), video)
    assert problem.path == "spec.backends"
    assert "can do text-to-video" in problem.what
    assert "Motion" in problem.fix
    motion = [{"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}]
    assert problems(model(adapters=motion), video) == []
    assert problems(video) == []
    assert problems(model(model={"source": "pvc://models/x"}), video) == []


@pytest.mark.parametrize(
    ("source", "task", "fix"),
    [
        ("builtin://miniature", "latent-to-image", "It needs a model of family Onnx"),
        ("builtin://miniature/generator-gan", "text-to-image", "It needs a model of family StableDiffusion or "),
        ("builtin://miniature", "segmentation-to-image", "It needs an adapter of kind ControlNet"),
        ("builtin://miniature", "image-to-video", "kind Motion or a model of family WanImageToVideo or LTX or Stable"),
    ],
)
def test_what_a_model_lacks_for_a_task_is_named(source: str, task: str, fix: str) -> None:
    found = problems(model(model={"source": source}), job(task=task))
    (problem,) = [problem for problem in found if problem.path == "spec.backends"]
    assert fix in problem.fix


def test_an_adapter_that_no_model_has_is_named() -> None:
    lora = {"name": "watercolour", "kind": "LoRA", "source": "pvc://loras/watercolour"}
    motion = {"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}
    painted = job(adapters=[{"name": "watercolour"}, {"name": "motion"}])
    (problem,) = problems(model(adapters=[lora, motion]), painted)
    assert (problem.path, problem.found) == ("spec.adapters[1].name", "motion")
    (problem,) = problems(model(adapters=[lora]), job(adapters=[{"name": "watercolor"}]))
    assert "Did you mean watercolour?" in str(problem)
    assert problems(painted) == []


def test_a_status_in_the_file_is_ignored() -> None:
    assert problems(job() | {"status": {"whatever": 1}}) == []


def test_files_that_cannot_be_read_are_problems_too(tmp_path: Path) -> None:
    picture, empty = tmp_path / "mug.png", tmp_path / "empty.yaml"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    empty.write_text("# nothing\n---\n")
    found = load_documents([tmp_path / "none.yaml", tmp_path, picture, empty], for_cluster=True).problems
    assert [(Path(problem.file).name, problem.what) for problem in found] == [
        ("none.yaml", "cannot read this file"),
        (tmp_path.name, "cannot read this file"),
        ("mug.png", "not a text in UTF-8"),
        ("empty.yaml", "there is no manifest in it"),
    ]


def test_the_examples_are_right() -> None:
    files = sorted((ROOT / "examples").rglob("*.yaml"))
    assert files
    for file in files:
        found = load_documents([file], for_cluster="cluster" in file.parts)
        assert found.problems == (), list(map(str, found.problems))


def test_the_operator_gets_the_same_answer_from_a_spec() -> None:
    spec = GenerationJobSpec.model_validate(job(prompts=[{"text": "a {{colour}} mug"}])["spec"])
    (problem,) = spec_problems(spec)
    assert str(problem) == (
        "spec.prompts[0].text: the matrix has no such variable (found: {{colour}}). "
        "Add spec.matrix.colour with a list of values"
    )


def with_secret(manifest: Manifest, path: str) -> Manifest:
    return edited(manifest, path, SECRET)


@pytest.mark.parametrize(
    "path",
    [
        "spec.prompts[0].text",
        "spec.prompts[0].negative",
        "spec.prompts[0].end",
        "spec.prompts[0]",
        "spec.prompts",
        "spec.matrix.colour",
        "spec.matrix",
        "spec.task",
        "spec.parameters",
        "spec.output.store.s3.credentialsSecretRef",
        "spec.output.store.s3.endpoint",
        "spec",
        "metadata.labels.x",
        f"spec.{SECRET.replace(' ', '_')} and more",
    ],
)
def test_what_a_person_wrote_is_not_repeated(path: str) -> None:
    manifest = edited(edited(job(), "spec.prompts[0].txt", 1), path, SECRET)
    shown = "\n".join(map(str, problems(manifest)))
    assert shown
    if path != "spec.task":  # a word that names no task is shown, since nobody writes a prompt there
        assert SECRET not in shown
        assert "zebra" not in shown


@settings(max_examples=100, deadline=None)
@given(broken(jobs), st.sampled_from(["text", "negative", "end"]))
def test_a_prompt_never_appears_in_a_problem(manifest: Manifest, field: str) -> None:
    prompts: Any = manifest["spec"].get("prompts")
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], dict):
        prompts[0][field] = f"{SECRET} {{{{none}}}} {{{{"
    assert "Quentin" not in "\n".join(map(str, problems(manifest)))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: data.decode("latin-1")))
def test_any_text_gets_an_answer(text: str) -> None:
    found = validate_text(text, for_cluster=True)
    assert found.problems or found.others
