"""The CRDs in the repository are what the models say."""

import shutil
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from easel_api import generationclass, generationjob, modeldeployment, provider
from easel_api.base import MAX_NAME, PATTERN_WORDS, ApiModel, KindInfo, ObjectMeta
from easel_api.crdgen import __main__ as crdgen
from easel_api.crdgen.render import custom_resource_definition, to_yaml
from easel_api.schema import Schema, Unlowerable, described_spec

KINDS = [
    (modeldeployment.ModelDeployment, modeldeployment.KIND),
    (generationjob.GenerationJob, generationjob.KIND),
    (provider.Provider, provider.KIND),
    (generationclass.GenerationClass, generationclass.KIND),
]


def test_golden_crds_match_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--check"]) == 0, capsys.readouterr().out


def test_drift_is_shown_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "crds"
    shutil.copytree(crdgen.FOLDERS[0], folder, ignore=shutil.ignore_patterns("easel_api"))
    file = folder / "easel.dev_generationjobs.yaml"
    file.write_text(file.read_text().replace("shortNames:\n    - gen\n", "shortNames:\n    - job\n"))
    (folder / "easel.dev_gone.yaml").write_text("gone: true\n")
    assert crdgen.main(["--check"], (folder,)) == 1
    shown = capsys.readouterr().out
    assert "-    - job" in shown
    assert "+    - gen" in shown
    assert "-gone: true" in shown


def test_writing_is_idempotent_and_removes_kinds_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "easel.dev_gone.yaml").write_text("gone: true\n")
    assert crdgen.main([], (tmp_path,)) == 0
    assert crdgen.main(["--check"], (tmp_path,)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "easel.dev_generationclasses.yaml",
        "easel.dev_generationjobs.yaml",
        "easel.dev_modeldeployments.yaml",
        "easel.dev_providers.yaml",
    ]


@pytest.mark.parametrize(
    "text", ["y", "n", "Y", "yes", "no", "on", "null", "1e3", "0x1f", "1_000", "2024-01-01", "007"]
)
def test_text_that_go_reads_otherwise_is_quoted(text: str) -> None:
    written = to_yaml({text: text})
    assert written.splitlines()[1].count(text) == 2
    assert written.splitlines()[1].count('"') + written.splitlines()[1].count("'") == 4
    assert yaml.safe_load(written) == {text: text}


def test_nothing_that_an_api_server_refuses_is_left() -> None:
    refused = {"$ref", "anyOf", "const", "title", "uniqueItems", "prefixItems", "discriminator", "patternProperties"}
    for model, info in KINDS:
        assert (
            refused & set(_keywords(custom_resource_definition(model, info)["spec"]["versions"][0]["schema"])) == set()
        )


def test_only_the_scale_subresource_has_a_default() -> None:
    for model, info in KINDS:
        schema = custom_resource_definition(model, info)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        expected = [] if info.scale is None else ["spec.replicas"]
        assert [path for path, child in _walk(schema["properties"]["spec"], "spec") if "default" in child] == expected


@pytest.mark.parametrize(("model", "info"), KINDS)
def test_every_field_of_a_spec_is_described(model: type[ApiModel], info: KindInfo) -> None:
    silent = [path for path, child in _walk(described_spec(model), info.kind) if not child.get("description")]
    assert [path for path in silent if not path.endswith(("[]", ".*"))] == []


@pytest.mark.parametrize(("model", "info"), KINDS)
def test_a_description_tells_range_and_default(model: type[ApiModel], info: KindInfo) -> None:
    for path, child in _walk(described_spec(model), info.kind):
        if child.get("type") in {"integer", "number"} and not path.endswith(("[]", ".*")):
            text = child["description"]
            assert str(child["maximum"]).removesuffix(".0") in text, path
            if "default" in child:
                assert "Default" in text, path


def test_every_pattern_has_words() -> None:
    patterns = {
        child["pattern"] for model, _ in KINDS for _, child in _walk(described_spec(model), "") if "pattern" in child
    }
    assert patterns - set(PATTERN_WORDS) == set()


def test_a_spec_field_without_bounds_stops_the_generator() -> None:
    class LooseSpec(ApiModel):
        """Loose."""

        text: Annotated[str, Field(description="Anything.")]

    class LooseStatus(ApiModel):
        """Nothing."""

    class Loose(ApiModel):
        """Loose."""

        metadata: ObjectMeta
        spec: LooseSpec
        status: LooseStatus = LooseStatus()

    info = KindInfo("Loose", "looses", "loose", (), ())
    with pytest.raises(Unlowerable, match=r"spec\.text: no maxLength"):
        custom_resource_definition(Loose, info)


def test_names_leave_room_for_what_pods_append() -> None:
    # Deployment: name, -, ten of the template's hash, -, five at random. Job: name, -, five at random.
    assert MAX_NAME + 1 + 10 <= 63


def _walk(schema: Schema, path: str) -> list[tuple[str, Schema]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += _walk(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            found += _walk(schema[key], path + mark)
    for child in schema.get("patternProperties", {}).values():
        found += _walk(child, f"{path}.*")
    return found


def _keywords(schema: Schema) -> list[str]:
    found = list(schema)
    for key, child in schema.items():
        if key == "properties":
            found += [word for each in child.values() for word in _keywords(each)]
        elif isinstance(child, dict):
            found += _keywords(child)
    return found
