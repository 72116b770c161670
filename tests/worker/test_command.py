"""The command as a person uses it: what it says and how it exits when something is wrong. Nothing here needs a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def easel(*arguments: str, stdin: str | None = None, cwd: Path | None = None, **environment: str) -> Any:
    """The finished command; a traceback is a defect wherever it shows."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EASEL_"))}
    done = subprocess.run(
        [sys.executable, "-m", "easel_inference.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=clean | environment,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def documents(**changes: Any) -> str:
    """A ModelDeployment and a job; `changes` replace fields of the job's spec."""
    model: dict[str, Any] = {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "mini"},
        "spec": {"model": {"source": "builtin://miniature"}},
    }
    spec: dict[str, Any] = {
        "task": "text-to-image",
        "backends": [{"modelDeployment": "mini"}],
        "prompts": [{"text": "a secret mug"}],
        "parameters": {"steps": 2},
    }
    job = model | {"kind": "GenerationJob", "metadata": {"name": "mugs"}, "spec": spec | changes}
    return yaml.safe_dump_all([model, job])


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["validate", "--help"], ["doctor", "--help"]])
def test_help_tells_the_exit_codes(arguments: list[str]) -> None:
    done = easel(*arguments)
    assert done.returncode == 0
    for code in ("0    done", "1    the job failed", "2    the input", "3    this machine", "130  stopped"):
        assert code in done.stdout


def test_no_command_is_wrong_input() -> None:
    assert easel().returncode == 2
    assert easel("paint").returncode == 2


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"stepz": 3}, "spec.stepz", "no such field"),
        ({"parameters": {"steps": "many"}}, "spec.parameters.steps", "whole number"),
        ({"parameters": {"steps": 201}}, "spec.parameters.steps", "at most 200"),
        ({"parameters": {"width": 130}}, "spec.parameters.width", "multiple of 8"),
        ({"parameters": {"width": 100000}}, "spec.parameters.width", "at most 4096"),
        ({"task": "text-to-imag"}, "spec.task", "Did you mean text-to-image?"),
        ({"prompts": []}, "spec.prompts", "needs prompts"),
        ({"prompts": [{"negative": "x"}]}, "spec.prompts[0].text", "is missing"),
        ({"prompts": [{"text": "a secret {{colour}}"}]}, "spec.prompts[0].text", "colour"),
        (
            {
                "matrix": {name: [str(value) for value in range(40)] for name in "ab"},
                "prompts": [{"text": "{{a}}{{b}}"}],
            },
            "spec.matrix",
            "at most 1024 items",
        ),
        ({"task": "inpaint"}, "spec.inputs.image", "need inputs.image"),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_wrong_manifest_is_named_field_by_field(
    command: str, changes: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(documents(**changes))
    options = ["--local"] if command == "validate" else []
    done = easel(command, "job.yaml", *options, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if path in line]
    assert line.startswith("easel: job.yaml:")
    assert words in line
    assert "secret" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["job.yaml"]


def test_all_problems_are_told_at_once() -> None:
    done = easel("validate", "-", stdin=documents(stepz=3, task="paint"))
    assert done.returncode == 2
    assert {"spec.stepz", "spec.task"} <= {line.split(": ")[2] for line in done.stderr.splitlines()}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no manifest"),
        ("just: [a", "not valid YAML"),
        ("hello", "a manifest is a mapping"),
        ("apiVersion: easel.dev/v1alpha1\nkind: GenerationJobb\nmetadata: {name: a}", "Did you mean GenerationJob?"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(content: str, words: str) -> None:
    done = easel("run", "-", stdin=content)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_missing_file_is_named() -> None:
    done = easel("run", "no-such.yaml")
    assert (done.returncode, "no-such.yaml" in done.stderr) == (2, True)


def test_a_job_without_its_model_says_what_to_add() -> None:
    job = list(yaml.safe_load_all(documents()))[1]
    done = easel("run", "-", stdin=yaml.safe_dump(job))
    assert done.returncode == 2
    assert "mugs: spec.backends[0].modelDeployment" in done.stderr
    assert "found: mini" in done.stderr
    assert "examples/modeldeployment.yaml" in done.stderr


def test_a_model_without_a_job_says_so() -> None:
    model = next(iter(yaml.safe_load_all(documents())))
    done = easel("run", "-", stdin=yaml.safe_dump(model))
    assert (done.returncode, "there is no GenerationJob" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "found"), [(b"once upon a time", "a text file of 16 bytes"), (b"\x89PNG\r\n\x1a\nxx", "a damaged PNG")]
)
def test_a_wrong_input_picture_is_told_before_a_model_is_loaded(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "in.png").write_bytes(content)
    text = documents(task="image-to-image", inputs={"image": {"uri": "file://in.png"}})
    (tmp_path / "job.yaml").write_text(text)
    done = easel("run", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "spec.inputs.image: not a picture" in done.stderr
    assert found in done.stderr
    assert "starting Triton" not in done.stdout


def test_results_of_another_job_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("my own notes")
    done = easel("run", "-", "--out", str(tmp_path), stdin=documents())
    assert done.returncode == 2
    assert f"{tmp_path}/manifest.json" in done.stderr
    assert (tmp_path / "manifest.json").read_text() == "my own notes"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = easel("run", "-", "--out", str(tmp_path / "file/out"), stdin=documents())
    assert done.returncode in (2, 3)
    assert str(tmp_path / "file") in done.stderr


def test_s3_without_credentials_says_which_variables_to_set(tmp_path: Path) -> None:
    store = {"s3": {"bucket": "art", "endpoint": "http://127.0.0.1:9"}}
    text = documents(output={"store": store})
    done = easel("run", "-", stdin=text, HOME=str(tmp_path), AWS_EC2_METADATA_DISABLED="true", cwd=tmp_path)
    assert done.returncode == 3
    assert "AWS_ACCESS_KEY_ID" in done.stderr


def test_no_tritonserver_is_told_with_what_to_install(tmp_path: Path) -> None:
    done = easel("run", "-", "--out", str(tmp_path), stdin=documents(), EASEL_TRITONSERVER="/no/such/server")
    assert done.returncode == 3
    assert "/no/such/server" in done.stderr


def test_validate_says_what_is_right() -> None:
    done = easel("validate", "--local", str(ROOT / "examples/mugs.yaml"))
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["ModelDeployment studio-mini: ok", "GenerationJob mugs: ok"]


def test_validate_asks_what_a_cluster_asks_and_hints_at_local_runs() -> None:
    done = easel("validate", str(ROOT / "examples/mugs.yaml"))
    assert done.returncode == 2
    assert "output.store" in done.stderr
    assert "--local" in done.stderr


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
def test_every_example_is_valid(example: str) -> None:
    done = easel("validate", "--local", str(ROOT / "examples" / example))
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m easel_inference.cli doctor | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_defect_is_told_without_a_traceback_and_with_one_on_request(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import easel_inference.cli.doctor as d\ndef bug(): raise ZeroDivisionError('x')\nd.CHECKS = (bug,)\n"
    )
    done = easel("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "a defect in easel itself: ZeroDivisionError" in done.stderr
    command = [sys.executable, "-m", "easel_inference.cli", "doctor"]
    loud = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path), "EASEL_DEBUG": "1"}
    )
    assert "Traceback" in loud.stderr
