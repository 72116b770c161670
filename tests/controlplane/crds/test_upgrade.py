"""A release's objects under the present CRDs, on a real API server; tests/released/README.md says what is kept of a release."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from easel_cluster import processes, tools
from easel_cluster.apionly import temporary_api_server
from easel_cluster.kubectl import Kubectl

from easel_api.errors import EnvironmentFault

pytestmark = pytest.mark.apiserver

Manifest = dict[str, Any]

ROOT = Path(__file__).parents[3]
RELEASES = sorted(path for path in (ROOT / "tests/released").iterdir() if path.is_dir())
NAMESPACE = "art"


class Upgraded:
    """A namespace whose objects were made under a release's CRDs, which the present ones have replaced since."""

    def __init__(self, kubectl: Kubectl, release: Path) -> None:
        self.kubectl = kubectl
        self.manifests: list[Manifest] = list(yaml.safe_load_all((release / "objects.yaml").read_text()))
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        self._install(release / "crds", f"as of {release.name}.")
        for manifest in self.manifests:
            self.apply(manifest)
            self.report(manifest, manifest.get("status", {}))
        self.before = self.stored()
        self._install(ROOT / "crds", "as of now.")
        self.after = self.stored()

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self.kubectl("--namespace", NAMESPACE, *arguments, stdin=stdin)

    def apply(self, manifest: Manifest) -> None:
        """Apply an object as a person or a GitOps tool does."""
        self("apply", "--server-side", "--validate=strict", "-f", "-", stdin=json.dumps(without_status(manifest)))

    def report(self, manifest: Manifest, status: Manifest) -> None:
        """Write a status as the operator does."""
        about = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "status": status}
        body = about | {"metadata": {"name": manifest["metadata"]["name"]}}
        how = ("--server-side", "--subresource=status", "--field-manager=easel-operator", "--validate=strict")
        self("apply", *how, "-f", "-", stdin=json.dumps(body))

    def stored(self) -> dict[str, Manifest]:
        """Every object as the API server tells it, by kind and name."""
        listed = json.loads(self("get", "modeldeployments,generationjobs", "-o", "json"))["items"]
        return {key(each): each for each in listed}

    def _install(self, folder: Path, mark: str) -> None:
        """Apply the CRDs as helm does, and wait until the API server goes by them: it tells their descriptions then."""
        marks = []
        for path in sorted(folder.glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            marks.append(f"{crd['spec']['names']['kind']} {mark}")
            for version in crd["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"]["description"] += f" {marks[-1]}"
            self.kubectl.apply(crd)
            self.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}", "--timeout=90s")
        assert processes.wait_for(lambda: all(each in self._told() for each in marks), 60), f"not within 60 s: {marks}"

    def _told(self) -> str:
        return self.kubectl.run("get", "--raw", "/openapi/v3/apis/easel.dev/v1alpha1").stdout


def key(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def without_status(manifest: Manifest) -> Manifest:
    return {part: value for part, value in manifest.items() if part != "status"}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: path.name)
def upgraded(
    request: pytest.FixtureRequest, progress: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    """On a server of our own: on the shared one are the present CRDs, and other tests' objects."""
    try:
        tools.ensure(tools.API_TOOLS, progress)
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build a Kubernetes API server: {fault}")
    with temporary_api_server(tmp_path_factory.mktemp("api") / "state", progress) as server:
        yield Upgraded(server.kubectl, request.param)


def test_every_object_is_told_as_before_and_none_was_written(upgraded: Upgraded) -> None:
    assert len(upgraded.before) == len(upgraded.manifests)
    for manifest in upgraded.manifests:
        stored = upgraded.before[key(manifest)]
        assert {field: stored["spec"][field] for field in manifest["spec"]} == manifest["spec"]
        assert stored.get("status", {}) == manifest.get("status", {})
    assert upgraded.after == upgraded.before


def test_the_same_object_applied_again_changes_nothing(upgraded: Upgraded) -> None:
    before = upgraded.stored()
    for manifest in upgraded.manifests:
        upgraded.apply(manifest)
    assert upgraded.stored() == before


def test_an_old_manifest_makes_a_new_object(upgraded: Upgraded) -> None:
    # An API server lets values that it would refuse by now stay in an object that has them: only a new one tells.
    for manifest in upgraded.manifests:
        fresh = copy.deepcopy(without_status(manifest))
        fresh["metadata"]["name"] += "-anew"
        said = upgraded("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(fresh))
        assert "created (server dry run)" in said


def test_every_status_can_be_written_and_keeps_every_field(upgraded: Upgraded) -> None:
    for manifest in upgraded.manifests:
        status = manifest.get("status", {}) | {"observedGeneration": 7}
        upgraded.report(manifest, status)
        assert upgraded.stored()[key(manifest)]["status"] == status


def test_a_changed_spec_is_taken(upgraded: Upgraded) -> None:
    changes = {"ModelDeployment": {"rollout": {"strategy": "Drain"}}, "GenerationJob": {"cancel": True}}
    for manifest in upgraded.manifests:
        changed = manifest | {"spec": manifest["spec"] | changes[manifest["kind"]]}
        upgraded.apply(changed)
        assert upgraded.stored()[key(manifest)]["spec"].items() >= changes[manifest["kind"]].items()
