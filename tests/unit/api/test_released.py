"""The present CRDs are an additive change of every release's; tests/released/README.md says what is kept of a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_additive import breaks
from api_manifests import Manifest

from easel_api.generationjob import GenerationJobStatus
from easel_api.modeldeployment import ModelDeploymentStatus
from easel_api.schema import Schema
from easel_api.validation import validate_text

ROOT = Path(__file__).parents[3]
RELEASES = sorted(path for path in (ROOT / "tests/released").iterdir() if path.is_dir())
STATUSES: dict[str, Any] = {"GenerationJob": GenerationJobStatus, "ModelDeployment": ModelDeploymentStatus}

EXPLAINED: dict[str, dict[str, str]] = {
    "0.1.0-dev": {
        "GenerationJob.spec: a new rule: backends cannot change once the object exists": "the same, of a field that may be absent",
        "GenerationJob.spec: a new rule: name exactly one: backends or generationClassName": "backends had to be given",
        **{
            f"GenerationJob.spec: a new rule: {rule}": "of a field that there was not"
            for rule in (
                "budget cannot change once the object exists",
                "budget is for jobs of a generationClassName, whose providers cost money",
                "generationClassName cannot change once the object exists",
                "onUnsupported cannot change once the object exists",
                "onUnsupported is for jobs of a generationClassName, whose providers honour fewer fields",
            )
        },
        **{
            f"GenerationJob.spec: a new rule: {rule}": "of tasks that there were not; any other job is taken as before"
            for rule in (
                "a task that providers alone do needs a generationClassName",
                "an s3:// input is read with the endpoint and credentials of output.store.s3, which is missing",
                "erase, remove-background and virtual-try-on read no prompts; leave them out",
                "file:// works with `easel run` only; in a cluster use s3:// or pvc://",
                "image-to-image, inpaint, outpaint, upscale, erase, remove-background, replace-background, search-and-replace, "
                "search-and-recolor, style-transfer, virtual-try-on and image-to-video need inputs.image; other tasks take none",
                "inpaint and erase need inputs.mask; other tasks take none",
                "maskColours is for inpaint and erase only",
                "remove-background gives png, which keeps what is transparent",
                "search-and-replace and search-and-recolor need a search in each prompt; other tasks take none",
                "style-to-image and style-transfer need inputs.style; other tasks take none",
                "this task needs prompts",
                "virtual-try-on needs inputs.garment; other tasks take none",
            )
        },
        "ModelDeployment.spec.cache: a new rule: name exactly one cache: persistentVolumeClaim or emptyDir": (
            "the one field that there was had to be given"
        ),
        "ModelDeployment.spec: a new rule: a bucket's model in an emptyDir needs model.s3.credentialsSecretRef: with the pod's "
        "own identity the model's process would have the rights of who fetches it": "of a field that there was not",
        "ModelDeployment.spec: a new rule: a model or adapter at the root of this claim would have the cache in its folder; "
        "move it into a folder": "the same rule, of a claim that may now be absent",
        "ModelDeployment.spec: a new rule: gpuMemory needs gpus of at least 1": "of a field that there was not",
    }
}
"""By release: each break, as the comparison tells it, and why it is one that users can bear."""

of_each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)


def kinds(folder: Path) -> dict[str, Schema]:
    """The CRDs of a folder by kind."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd for crd in found}


def objects(release: Path) -> list[Manifest]:
    return list(yaml.safe_load_all((release / "objects.yaml").read_text()))


def told(release: Path) -> list[str]:
    """What the present CRDs would break."""
    present = kinds(ROOT / "crds")
    return [
        each
        for kind, crd in kinds(release / "crds").items()
        for each in (breaks(crd, present[kind]) if kind in present else [f"{kind}: the kind is gone"])
    ]


def test_there_is_a_release() -> None:
    assert RELEASES


@of_each_release
def test_the_present_crds_are_an_additive_change_but_for_what_is_explained(release: Path) -> None:
    assert sorted(told(release)) == sorted(EXPLAINED.get(release.name, {}))


def test_explanations_are_of_releases() -> None:
    assert set(EXPLAINED) <= {release.name for release in RELEASES}


@of_each_release
def test_the_objects_have_every_field_of_their_release(release: Path) -> None:
    for kind, crd in kinds(release / "crds").items():
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        wanted = {path for part in ("spec", "status") for path in fields(schema["properties"][part], part)}
        there = {
            path
            for manifest in objects(release)
            if manifest["kind"] == kind
            for part in ("spec", "status")
            for path in places(manifest.get(part, {}), schema["properties"][part], part)
        }
        assert wanted - there == set(), kind


@of_each_release
def test_the_objects_are_valid_by_the_present_contract(release: Path) -> None:
    for manifest in objects(release):
        bare = {key: value for key, value in manifest.items() if key != "status"}
        assert validate_text(json.dumps(bare), "objects.yaml", for_cluster=True).problems == ()


@of_each_release
def test_the_present_operator_reads_every_field_of_a_status(release: Path) -> None:
    for manifest in objects(release):
        status = manifest.get("status", {})
        assert STATUSES[manifest["kind"]].model_validate(status).to_manifest() == status


def fields(schema: Schema, path: str) -> list[str]:
    """The path of every field."""
    found = [path]
    for name, child in schema.get("properties", {}).items():
        found += fields(child, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(keyword), dict):
            found += fields(schema[keyword], path + mark)
    return found


def places(value: Any, schema: Schema, path: str) -> list[str]:
    """The path of every field that has a value."""
    found = [path]
    if isinstance(value, list):
        found += [place for each in value for place in places(each, schema["items"], f"{path}[]")]
    elif isinstance(value, dict):
        for name, child in value.items():
            if name in schema.get("properties", {}):
                found += places(child, schema["properties"][name], f"{path}.{name}")
            else:
                found += places(child, schema["additionalProperties"], f"{path}.*")
    return found
