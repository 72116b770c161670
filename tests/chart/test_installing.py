"""The chart on a real API server: every object is accepted, an upgrade changes nothing, uninstalling keeps users' work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator

import pytest
from easel_cluster.apionly import ApiServer, temporary_api_server
from easel_installed.chart import Helm, Manifest

pytestmark = pytest.mark.apiserver

SYSTEM, ART = "easel-system", "art"
VALUES: Manifest = {"namespaces": [ART], "operator": {"replicas": 2}}
CRDS = tuple(f"{kind}.easel.dev" for kind in ("modeldeployments", "generationjobs", "providers", "generationclasses"))


def restricted(name: str) -> Manifest:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture(scope="module")
def fresh(progress: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of our own, started like the shared one: there other tests may have put the CRDs, which helm then refuses."""
    with temporary_api_server(tmp_path_factory.mktemp("api") / "state", progress) as server:
        yield server


@pytest.fixture(scope="module")
def installed(helm: Helm, fresh: ApiServer) -> Helm:
    fresh.kubectl.apply(restricted(SYSTEM), restricted(ART))
    bound = dataclasses.replace(helm, kubeconfig=fresh.kubeconfig)
    bound.install(SYSTEM, VALUES)
    return bound


def live(fresh: ApiServer, document: Manifest) -> Manifest:
    """The object in the cluster that a rendered document became."""
    group = document["apiVersion"].rpartition("/")[0]
    kind = f"{document['kind']}.{group}" if group else document["kind"]
    namespace = document["metadata"].get("namespace", SYSTEM)
    found = fresh.kubectl("get", kind, document["metadata"]["name"], "-n", namespace, "-o", "json")
    return dict(json.loads(found))


def without_hooks(rendered: list[Manifest]) -> list[Manifest]:
    """What an install creates; `helm test` makes its pod when it is asked."""
    return [each for each in rendered if "helm.sh/hook" not in each["metadata"].get("annotations", {})]


def test_every_object_is_accepted(installed: Helm, fresh: ApiServer) -> None:
    rendered = without_hooks(installed.render(SYSTEM, VALUES))
    assert {"Deployment", "PodDisruptionBudget", "NetworkPolicy", "CustomResourceDefinition"} <= {
        document["kind"] for document in rendered
    }
    for document in rendered:
        assert live(fresh, document)["metadata"]["uid"]


def test_the_crds_are_established(installed: Helm, fresh: ApiServer) -> None:
    waited = fresh.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in CRDS))
    assert waited.count("condition met") == len(CRDS)


def test_every_pod_passes_the_restricted_pod_security_standard(installed: Helm, fresh: ApiServer) -> None:
    rendered = installed.render(SYSTEM, VALUES)
    templates = [doc["spec"]["template"] for doc in rendered if doc["kind"] == "Deployment"]
    templates += [doc for doc in rendered if doc["kind"] == "Pod"]
    assert len(templates) == 2
    for template in templates:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe", "namespace": SYSTEM},
            "spec": template["spec"],
        }
        created = fresh.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        assert "created" in created


def test_pod_security_does_refuse_a_pod_that_is_not_restricted(installed: Helm, fresh: ApiServer) -> None:
    (template,) = [doc["spec"]["template"] for doc in installed.render(SYSTEM, VALUES) if doc["kind"] == "Deployment"]
    del template["spec"]["securityContext"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": SYSTEM},
        "spec": template["spec"],
    }
    refused = fresh.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert refused.returncode != 0
    assert "restricted" in refused.stderr


def test_an_upgrade_to_the_same_changes_nothing(installed: Helm, fresh: ApiServer) -> None:
    rendered = without_hooks(installed.render(SYSTEM, VALUES))
    before = [live(fresh, document)["metadata"]["resourceVersion"] for document in rendered]
    installed.install(SYSTEM, VALUES)
    assert [live(fresh, document)["metadata"]["resourceVersion"] for document in rendered] == before


def test_the_worker_may_report_and_nothing_else(installed: Helm, fresh: ApiServer) -> None:
    worker = f"system:serviceaccount:{ART}:easel-worker"

    def may(verb: str, resource: str, *where: str) -> bool:
        asked = fresh.kubectl.run("auth", "can-i", verb, resource, "--as", worker, *where)
        return asked.stdout.strip() == "yes"

    assert may("patch", "generationjobs.easel.dev/mugs", "--subresource=status", "-n", ART)
    assert may("get", "generationjobs.easel.dev", "-n", ART)
    assert not may("get", "generationjobs.easel.dev", "-n", SYSTEM)
    assert not may("delete", "generationjobs.easel.dev", "-n", ART)
    assert not may("get", "secrets", "-n", ART)


def test_editors_of_a_namespace_may_ask_for_pictures_but_not_serve_models(installed: Helm, fresh: ApiServer) -> None:
    roles = json.loads(fresh.kubectl("get", "clusterroles", "easel-edit", "easel-admin", "-o", "json"))["items"]
    assert [role["rules"][0]["resources"] for role in roles] == [
        ["generationjobs"],
        ["modeldeployments", "modeldeployments/scale", "providers"],
    ]


def test_uninstalling_keeps_the_crds_and_what_users_made(helm: Helm, installed: Helm, fresh: ApiServer) -> None:
    model = {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "kept", "namespace": ART},
        "spec": {"model": {"source": "builtin://miniature"}},
    }
    fresh.kubectl.apply(model)
    installed.uninstall(SYSTEM)
    assert "kept" in fresh.kubectl("get", "modeldeployments.easel.dev", "-n", ART)
    assert "NotFound" in fresh.kubectl.run("get", "deployment", "easel-operator", "-n", SYSTEM).stderr
    # The same release takes its CRDs back, with what they hold.
    installed.install(SYSTEM, VALUES)
    assert "kept" in fresh.kubectl("get", "modeldeployments.easel.dev", "-n", ART)
