"""`easel explain`: a table of who would make a job, and what it would cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from easel_inference.cli import main

Explained = Callable[..., tuple[int, str]]
"""From files to the exit code and what is printed."""
ROOT = Path(__file__).parents[3]
CLASS, MODEL = (str(ROOT / "examples/cluster" / name) for name in ("class.yaml", "model.yaml"))


@pytest.fixture
def explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Explained:
    """What the command says of files."""
    monkeypatch.setenv("COLUMNS", "160")

    def explain(*files: str) -> tuple[int, str]:
        code = main(["explain", *files])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return explain


def test_the_own_model_first_and_what_a_provider_would_cost(explained: Explained) -> None:
    code, said = explained(CLASS, MODEL)
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert ["1", "studio-mini", "own", "own", "as", "asked"] in lines
    assert ["2", "bedrock-west/stability.stable-image-core-v1:1", "$0.04", "$0.16", "steps:", "left", "out"] in lines
    assert "studio-mini makes all 4." in said
    assert "Where Providers make items, they get $1 at most: enough for all 4." in said
    assert "studio-mini is passed over while no replica of it serves." in said


def test_without_its_model_the_provider_makes_as_many_as_the_budget_allows(
    explained: Explained, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.yaml"
    poor.write_text(Path(CLASS).read_text().replace('max: "1.00"', 'max: "0.10"'))
    code, said = explained(str(poor))
    assert code == 0
    assert "studio-mini" in said
    assert "there is no such ModelDeployment" in said
    assert "bedrock-west/stability.stable-image-core-v1:1 makes 2 of 4." in said
    assert "The budget of $0.1 is not enough for the other 2." in said


def test_a_job_that_nobody_can_make_says_why_of_each(explained: Explained, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(Path(CLASS).read_text().replace("onUnsupported: Adapt", "onUnsupported: Reject"))
    code, said = explained(str(strict))
    assert code == 1
    assert "steps: knows no such parameter" in said
    assert "Nobody can make it" in said


def test_a_class_that_is_not_in_the_files_is_named(
    explained: Explained, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    alone = tmp_path / "job.yaml"
    alone.write_text(Path(CLASS).read_text().rpartition("---")[2])
    code, said = explained(str(alone))
    assert code == 2
    assert "class-mugs: spec.generationClassName" in said
    assert "(found: studio)" in said
    assert main(["run", str(alone)]) == 2
    assert said == capsys.readouterr().err, "the same words from both"
    code, said = explained(MODEL)
    assert code == 2
    assert "there is no GenerationJob with a generationClassName" in said


SHARED = """
apiVersion: easel.dev/v1alpha1
kind: Provider
metadata: {name: bedrock-west, namespace: platform}
spec:
  family: BedrockInvoke
  region: us-west-2
  credentials: {workloadIdentity: {}}
  offers: [{model: "stability.stable-image-ultra-v1:1"}]
---
"""


def test_a_provider_of_another_namespace_has_its_full_name_beside_one_of_the_same_name(
    explained: Explained, tmp_path: Path
) -> None:
    file, both = (
        tmp_path / "shared.yaml",
        "{provider: {name: bedrock-west}}\n  - {provider: {name: bedrock-west, namespace: platform}}",
    )
    text = Path(CLASS).read_text().replace("{provider: {name: bedrock-west}}", both)
    text = text.replace("metadata: {name: class-mugs}", "metadata: {name: class-mugs, namespace: art}")
    for selector, refused in (("", True), ("  namespaceSelector: {matchLabels: {team: art}}\n", False)):
        file.write_text(SHARED.replace("---\n", f"{selector}---\n") + text)
        code, said = explained(str(file), MODEL)
        assert code == 0
        assert "bedrock-west/stability.stable-image-ultra-v1:1" in said
        assert ("its namespaceSelector does not select namespace art" in said) is refused
        assert ("bedrock-west.platform/stability.stable-image-ultra-v1:1" in said) is not refused
        assert ("that is for the cluster to say" in said) is not refused


CORE, ULTRA = "bedrock-west/stability.stable-image-core-v1:1", "bedrock-west/stability.stable-image-ultra-v1:1"
BACKENDS = """  - {modelDeployment: {name: studio-mini}}
  - {provider: {name: bedrock-west}}
"""
FALLBACK = "  fallback: {when: [GPUUnavailable, BackendFailure]}\n"


def a_class(
    folder: Path, backends: str, fallback: str = FALLBACK, policy: str = "Ordered", budget: str = "1.00"
) -> str:
    """The example with other backends."""
    text = Path(CLASS).read_text()
    for there, instead in (
        (BACKENDS, backends),
        (FALLBACK, fallback),
        ("policy: Ordered", f"policy: {policy}"),
        ('max: "1.00"', f'max: "{budget}"'),
    ):
        assert there in text
        text = text.replace(there, instead)
    file = folder / "class.yaml"
    file.write_text(text)
    return str(file)


def test_items_go_to_the_first_that_the_rest_of_the_budget_pays(explained: Explained, tmp_path: Path) -> None:
    models = ", ".join(f'"{name.partition("/")[2]}"' for name in (ULTRA, CORE))
    dear_first = f"  - {{provider: {{name: bedrock-west}}, models: [{models}]}}\n"
    both = f"{dear_first}  - {{modelDeployment: {{name: studio-mini}}}}\n"
    _, said = explained(a_class(tmp_path, both, budget="0.10"), MODEL)
    assert f"{CORE} makes 2 of 4, studio-mini the other 2." in said
    assert f"The budget of $0.1 does not pay for one item of {ULTRA}." in said
    _, said = explained(a_class(tmp_path, dear_first, budget="0.20"), MODEL)
    assert f"{ULTRA} makes 1 of 4, {CORE} 1." in said
    assert "The budget of $0.2 is not enough for the other 2." in said
    _, said = explained(a_class(tmp_path, dear_first, budget="0.01"), MODEL)
    assert "Nobody makes any of it: the budget of $0.01 is not enough for one item." in said


def test_weights_and_measurement_say_who_makes_what_and_no_order(explained: Explained, tmp_path: Path) -> None:
    weighted = BACKENDS.replace("mini}}", "mini}, weight: 90}").replace("west}}", "west}, weight: 10}")
    _, said = explained(a_class(tmp_path, weighted), MODEL)
    assert f"Items are drawn by weight: studio-mini 90, {CORE} 5, {ULTRA} 5." in said
    assert "makes all" not in said
    _, said = explained(a_class(tmp_path, BACKENDS, policy="Fastest"), MODEL)
    assert "the one that is done first by measurement makes those that begin behind that." in said
    assert "makes all" not in said


def test_a_provider_is_passed_over_whatever_the_fallback_says(explained: Explained, tmp_path: Path) -> None:
    clouds = "  - {provider: {name: bedrock-west}}\n"
    _, said = explained(a_class(tmp_path, clouds, fallback=""), MODEL)
    assert "A Provider is passed over at once while it rests after faults" in said
    assert "given to no other for that: the class's fallback has no BackendFailure" in said
    _, said = explained(a_class(tmp_path, BACKENDS, fallback=""), MODEL)
    assert "studio-mini is never passed over. Each item waits for it, whatever it takes." in said


def test_a_job_is_given_one_of_several_own_models(explained: Explained, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(Path(MODEL).read_text().replace("studio-mini", "studio-two"))
    backends = f"{BACKENDS}  - {{modelDeployment: {{name: studio-two}}}}\n"
    _, said = explained(a_class(tmp_path, backends), MODEL, str(second))
    assert "The job is given one own model: the first of studio-mini, studio-two that can serve when it starts." in said
    lines = [line.split() for line in said.splitlines()]
    assert ["studio-two", "own", "own", "in", "place", "of", "studio-mini"] in lines


CLIPS = """
apiVersion: easel.dev/v1alpha1
kind: Provider
metadata: {name: studio-ml}
spec:
  family: AzureMLScore
  endpoint: https://clips.westeurope.inference.ml.azure.com
  credentials: {secretRef: {name: azure}}
  offers:
  - {model: clips, tasks: [text-to-video], honours: [fps, frames], LENGTHS prices: [{amount: "0.05", per: Second}]}
  videoIndexer:
    account: /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/art/providers/Microsoft.VideoIndexer/accounts/art
    perMinute: "0.15"
---
apiVersion: easel.dev/v1alpha1
kind: GenerationClass
metadata: {name: clips}
spec: {backends: [{provider: {name: studio-ml}}], allow: {unknownPrice: UNKNOWN}}
---
apiVersion: easel.dev/v1alpha1
kind: GenerationJob
metadata: {name: clips}
spec:
  task: text-to-video
  generationClassName: clips
  onUnsupported: Adapt
  prompts: [{text: "a mug that turns"}]
  parameters: {fps: 8, frames: 32, seeds: [1, 2]}
  output: {store: {s3: {bucket: art, prefix: demo/, credentialsSecretRef: {name: art-bucket}}}}
"""


def test_clips_that_are_looked_at_have_both_prices_in_one_sum(explained: Explained, tmp_path: Path) -> None:
    file = tmp_path / "clips.yaml"
    file.write_text(CLIPS.replace("LENGTHS", "seconds: [4],").replace("UNKNOWN", "false"))
    _, said = explained(str(file))
    assert "studio-ml has its clips looked at, for $0.15 a minute on top of that." in said
    assert "studio-ml/clips: $0.01 for a clip of 4 s; with its own price $0.21 each, $0.42 for all." in said
    file.write_text(f"{file.read_text()}  budget: {{max: '0.41'}}\n")
    _, said = explained(str(file))
    assert "$0.42 for all, more than the budget of $0.41." in said
    file.write_text(CLIPS.replace("LENGTHS", "").replace("UNKNOWN", "true"))
    _, said = explained(str(file))
    assert "studio-ml/clips: how long its clips are is not known before, nor what that is for all." in said


def test_a_provider_that_asks_for_nothing_is_not_an_own_model(explained: Explained, tmp_path: Path) -> None:
    file = tmp_path / "free.yaml"
    free = '{model: stability.stable-image-core-v1:1, prices: [{amount: "0", per: Image}]}'
    file.write_text(Path(CLASS).read_text().replace("{model: stability.stable-image-core-v1:1}", free))
    _, said = explained(str(file), MODEL)
    assert ["2", CORE, "$0", "$0", "steps:", "left", "out"] in [line.split() for line in said.splitlines()]
