"""The golden files of the children, posted to a real API server in a namespace that enforces Pod Security `restricted`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from operating.place import Place

pytestmark = pytest.mark.apiserver

GOLDEN = Path(__file__).parents[2] / "golden" / "operator"
FILES = sorted(path for path in GOLDEN.glob("*.yaml") if path.stem != "scaler-keda")
"""KEDA's kind is served where KEDA is: tests/e2e/test_keda.py."""
WITH_PODS = [path for path in FILES if not path.stem.startswith(("scaler", "provider"))]


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def pod_of(document: dict[str, Any], place: Place) -> dict[str, Any]:
    """The pod that a controller would make of it."""
    template = document["spec"]["template"]
    metadata = place.named("pod") | {"labels": template["metadata"]["labels"]}
    # Runtime classes are the platform's to make.
    spec = {key: value for key, value in template["spec"].items() if key != "runtimeClassName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_there_are_golden_files() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_child_is_accepted_as_it_is(place: Place, path: Path) -> None:
    for document in documents(path):
        document["metadata"]["namespace"] = place.namespace
        said = place("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(document))
        assert "created (server dry run)" in said


@pytest.mark.parametrize("path", WITH_PODS, ids=lambda path: path.stem)
def test_every_pod_passes_pod_security_restricted(place: Place, path: Path) -> None:
    pods = [pod_of(document, place) for document in documents(path) if "template" in document["spec"]]
    assert pods
    for pod in pods:
        place("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_a_pod_with_less_security_would_be_refused(place: Place) -> None:
    pod = pod_of(documents(GOLDEN / "model-cpu.yaml")[-1], place)
    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    refused = place.kubectl.run("-n", place.namespace, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert refused.returncode != 0
    assert "restricted" in refused.stderr
