"""The manifests of examples/: every task has one, and each runs with the command that its first line names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from easel_api.tasks import OWN, Task
from easel_api.validation import Documents, load_documents
from easel_inference.cli import main
from easel_inference.jobs.inputs import Sources, load
from easel_inference.jobs.items import expand

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"easel run ((?:examples/\S+\.yaml ?)+)$")


def commands() -> dict[str, list[Path]]:
    """The files of the command in an example's first line, by the example's name."""
    found = {}
    for file in sorted((ROOT / "examples").glob("*.yaml")):
        command = COMMAND.search(file.read_text().splitlines()[0])
        if command:
            found[file.stem] = [ROOT / name for name in command[1].split()]
    return found


COMMANDS = commands()


def documents(name: str) -> Documents:
    return load_documents(COMMANDS[name], for_cluster=False)


EDITS = ROOT / "examples/cluster/edits.yaml"
"""Of the tasks that providers alone do."""


def test_every_task_has_an_example() -> None:
    assert {job.spec.task for name in COMMANDS for job in documents(name).jobs} == OWN
    found = load_documents([EDITS], for_cluster=True)
    assert found.problems == (), list(map(str, found.problems))
    assert {job.spec.task for job in found.jobs} == set(Task) - OWN


def test_each_task_of_providers_has_one_that_makes_it_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(EDITS)]) == 0
    said = capsys.readouterr().out
    assert said.count("as asked") == len(set(Task) - OWN)
    assert "Nobody can make it" not in said


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_of_an_example_names_all_that_it_takes(name: str) -> None:
    assert COMMANDS[name][0] == ROOT / "examples" / f"{name}.yaml"
    found = documents(name)
    assert found.problems == (), list(map(str, found.problems))
    models = {model.metadata.name for model in found.models}
    for job in found.jobs:
        assert {reference.model_deployment for reference in job.spec.backends} <= models
        loaded = load(job.spec, Sources(Path("/nowhere"), ROOT / "examples", lambda *_: None))
        written = job.spec.inputs.model_dump(exclude_none=True) if job.spec.inputs else {}
        assert {part for part, data in loaded.named().items() if data} == set(written)
        assert expand(job.spec)
