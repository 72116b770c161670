"""The chart, what the operator renders and the examples, by kubeconform: every field is one that its kind has.

The schemas that kubeconform would fetch are made here: from what a real API server publishes, from our CRDs and from KEDA's.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from easel_cluster import keda, tools
from easel_cluster.apionly import ApiServer
from easel_cluster.layout import REPOSITORY

from easel_api.errors import EnvironmentFault

pytestmark = pytest.mark.apiserver

Schema = dict[str, Any]

VALID, SKIPPED = "statusValid", "statusSkipped"

NOT_HERE = "the Prometheus operator's CRDs are in none of the modules that we pin"
UNCHECKED = {
    "monitoring.coreos.com/v1/PodMonitor": NOT_HERE,
    "monitoring.coreos.com/v1/ServiceMonitor": NOT_HERE,
    "monitoring.coreos.com/v1/PrometheusRule": f"{NOT_HERE}; promtool reads its rules in test_alerts.py",
}
"""Kinds without a schema, and why."""

WRONG = {
    "a misspelt field of a container": (
        "the chart",
        "readOnlyRootFilesystem:",
        "readOnlyRootFileSystem:",
        "FileSystem' not allowed",
    ),
    "a misspelt field of a CRD": ("the chart", "listKind:", "listKinds:", "'listKinds' not allowed"),
    "a misspelt field of KEDA's": (
        "scaler-keda",
        "pollingInterval:",
        "poolingInterval:",
        "'poolingInterval' not allowed",
    ),
    "a misspelt field of ours": ("mugs", "guidanceScale:", "guidanceScales:", "'guidanceScales' not allowed"),
    "a misspelt field at the top": ("job-s3", "\nspec:", "\nspecs:", "'specs' not allowed"),
    "a misspelt kind": (
        "the chart",
        "kind: NetworkPolicy",
        "kind: NetworkPolice",
        "could not find schema for NetworkPolice",
    ),
    "a text in place of a number": ("the chart", "replicas: 1", "replicas: one", "got string, want integer"),
    "a field that is there twice": ("job-s3", "backoffLimit: 6", "backoffLimit: 6\n  backoffLimit: 6", "already set"),
}
"""Where it is, what is right, what is put in its place, and what is said of that."""

TEMPLATE = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"
"""Where kubeconform looks for a kind; its core group is called by its version."""


def file_of(api_version: str, kind: str) -> str:
    """The name that `TEMPLATE` makes for a kind."""
    parts = api_version.split("/")
    return f"{parts[0]}_{parts[-1]}_{kind.lower()}.json"


def closed(schema: Schema) -> Schema:
    """The same schema, by which no object has a field that is not described."""
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = closed(schema[key])
    # allOf and its like hold references and conditions, which describe no object alone.
    return made


def published(server: ApiServer) -> Iterator[tuple[str, Schema]]:
    """Files of all kinds that the server tells of: a document for each version of a group, and where in it a kind is."""
    groups = json.loads(server.kubectl("get", "--raw", "/openapi/v3"))["paths"]
    for path, found in groups.items():
        if not (named := re.fullmatch(r"apis?/((?:(?P<group>[^/]+)/)?(?P<version>v\d\w*))", path)):
            continue
        api_version, group, version = named[1], named["group"] or "", named["version"]
        told = server.kubectl("get", "--raw", found["serverRelativeURL"])
        described = json.loads(told.replace("#/components/schemas/", "#/definitions/"))["components"]["schemas"]
        document = f"{api_version.replace('/', '_')}.json"
        yield document, {"definitions": {name: closed(schema) for name, schema in described.items()}}
        for name, schema in described.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                if (kind["group"], kind["version"]) == (group, version):
                    yield file_of(api_version, kind["kind"]), {"$ref": f"{document}#/definitions/{name}"}


def defined(path: Path) -> Iterator[tuple[str, Schema]]:
    """Files of the kinds that a file of CRDs defines."""
    common = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": "v1.json#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
    }
    for crd in yaml.safe_load_all(path.read_text()):
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            whole = schema | {"properties": schema["properties"] | common}
            yield file_of(f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]), closed(whole)


@pytest.fixture(scope="module")
def schemas(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all schemas."""
    folder = tmp_path_factory.mktemp("schemas")
    crds = [*(REPOSITORY / "crds").glob("*.yaml")]
    crds += (tools.source_of("keda", keda.MODULE) / "config/crd/bases").glob("keda.sh_*.yaml")
    for name, schema in (*published(api_server), *(file for path in crds for file in defined(path))):
        (folder / name).write_text(json.dumps(schema))
    return folder


Kubeconform = Callable[[str], list[dict[str, str]]]


@pytest.fixture(scope="module")
def kubeconform(schemas: Path, progress: Callable[[str], None]) -> Kubeconform:
    """What it says of each object."""
    try:
        program = tools.ensure(["kubeconform"], progress)["kubeconform"]
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build kubeconform: {fault}")

    def read(manifests: str) -> list[dict[str, str]]:
        flags = ["-strict", "-verbose", "-output", "json", "-schema-location", str(schemas / TEMPLATE)]
        done = subprocess.run(
            [program, *flags, "-skip", ",".join(UNCHECKED)],
            input=manifests,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return list(json.loads(done.stdout)["resources"])

    return read


@pytest.fixture(scope="module")
def texts(manifests: dict[str, str]) -> dict[str, str]:
    """What the other linters read, and objects of our own kinds."""
    return manifests | {path.stem: path.read_text() for path in (REPOSITORY / "examples").rglob("*.yaml")}


def test_every_field_is_known(kubeconform: Kubeconform, texts: dict[str, str], progress: Callable[[str], None]) -> None:
    said = kubeconform("\n---\n".join(texts.values()))
    assert [each for each in said if each["status"] not in (VALID, SKIPPED)] == []
    assert len(said) == sum(bool(each) for text in texts.values() for each in yaml.safe_load_all(text))
    skipped = {f"{each['version']}/{each['kind']}" for each in said if each["status"] == SKIPPED}
    for kind in sorted(skipped):
        progress(f"not checked: {kind}: {UNCHECKED[kind]}")
    assert UNCHECKED.keys() - skipped == set(), "explained, and not found any more"


@pytest.mark.parametrize(("where", "right", "wrong", "why"), WRONG.values(), ids=WRONG.keys())
def test_it_would_be_found(
    kubeconform: Kubeconform, texts: dict[str, str], where: str, right: str, wrong: str, why: str
) -> None:
    assert right in texts[where]
    (found,) = (each for each in kubeconform(texts[where].replace(right, wrong, 1)) if each["status"] != VALID)
    assert why in found["msg"]
