"""`easel explain`: a table of who would make a job, and what it would cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from easel_inference.cli import main

ROOT = Path(__file__).parents[3]
CLASS, MODEL = (str(ROOT / "examples/cluster" / name) for name in ("class.yaml", "model.yaml"))


def explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *files: str) -> tuple[int, str]:
    monkeypatch.setenv("COLUMNS", "160")
    code = main(["explain", *files])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_own_model_first_and_what_a_provider_would_cost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = explained(capsys, monkeypatch, CLASS, MODEL)
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert ["1", "studio-mini", "own", "own", "as", "asked"] in lines
    assert ["2", "bedrock-west/stability.stable-image-core-v1:1", "$0.04", "$0.16", "steps:", "left", "out"] in lines
    assert "A provider gets $1 at most" in said


def test_without_its_model_the_provider_makes_as_many_as_the_budget_allows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.yaml"
    poor.write_text(Path(CLASS).read_text().replace('max: "1.00"', 'max: "0.10"'))
    code, said = explained(capsys, monkeypatch, str(poor))
    assert code == 0
    assert "studio-mini" in said
    assert "there is no such ModelDeployment" in said
    assert "bedrock-west/stability.stable-image-core-v1:1 makes 2 of 4" in said


def test_a_job_that_nobody_can_make_says_why_of_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(Path(CLASS).read_text().replace("onUnsupported: Adapt", "onUnsupported: Reject"))
    code, said = explained(capsys, monkeypatch, str(strict))
    assert code == 1
    assert "steps: knows no such parameter" in said
    assert "Nobody can make it" in said


def test_a_class_that_is_not_in_the_files_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = tmp_path / "job.yaml"
    alone.write_text(Path(CLASS).read_text().rpartition("---")[2])
    code, said = explained(capsys, monkeypatch, str(alone))
    assert code == 2
    assert "class-mugs: spec.generationClassName" in said
    assert "(found: studio)" in said
    assert main(["run", str(alone)]) == 2
    assert said == capsys.readouterr().err, "the same words from both"
    code, said = explained(capsys, monkeypatch, MODEL)
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
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, both = (
        tmp_path / "shared.yaml",
        "{provider: {name: bedrock-west}}\n  - {provider: {name: bedrock-west, namespace: platform}}",
    )
    text = Path(CLASS).read_text().replace("{provider: {name: bedrock-west}}", both)
    text = text.replace("metadata: {name: class-mugs}", "metadata: {name: class-mugs, namespace: art}")
    for selector, refused in (("", True), ("  namespaceSelector: {matchLabels: {team: art}}\n", False)):
        file.write_text(SHARED.replace("---\n", f"{selector}---\n") + text)
        code, said = explained(capsys, monkeypatch, str(file), MODEL)
        assert code == 0
        assert "bedrock-west/stability.stable-image-ultra-v1:1" in said
        assert ("its namespaceSelector does not select namespace art" in said) is refused
        assert ("bedrock-west.platform/stability.stable-image-ultra-v1:1" in said) is not refused
        assert ("that is for the cluster to say" in said) is not refused
