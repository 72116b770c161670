"""The CRDs on the session's real API server, and the objects of a namespace of our own there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client, config

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "tests/unit/api/support")]

if TYPE_CHECKING:
    from easel_cluster.apionly import ApiServer

NAMESPACE = "contract"
PLURALS = {
    "GenerationJob": "generationjobs",
    "ModelDeployment": "modeldeployments",
    "Provider": "providers",
    "GenerationClass": "generationclasses",
}


class Objects:
    """Easel's objects on the API server: what it would say of them, and making them for real."""

    def __init__(self, kubeconfig: Path) -> None:
        self._objects = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))

    def _where(self, manifest: dict[str, Any]) -> dict[str, str]:
        kind = manifest["kind"]
        return {"group": "easel.dev", "version": "v1alpha1", "namespace": NAMESPACE, "plural": PLURALS[kind]}

    def on_create(self, manifest: dict[str, Any]) -> str:
        """The refusal's text, or nothing when the server would take it."""
        if manifest["kind"] == "GenerationClass":
            where = {name: value for name, value in self._where(manifest).items() if name != "namespace"}
            return self._refusal(self._objects.create_cluster_custom_object, body=manifest, **where)
        return self._refusal(self._objects.create_namespaced_custom_object, body=manifest, **self._where(manifest))

    def on_change(self, manifest: dict[str, Any]) -> str:
        """The same for replacing an object that exists."""
        where = self._where(manifest) | {"name": manifest["metadata"]["name"]}
        version = self._objects.get_namespaced_custom_object(**where)["metadata"]["resourceVersion"]
        body = manifest | {"metadata": manifest["metadata"] | {"resourceVersion": version}}
        return self._refusal(self._objects.replace_namespaced_custom_object, body=body, **where)

    def keep(self, manifest: dict[str, Any]) -> None:
        """Make the object for real."""
        self._objects.create_namespaced_custom_object(body=manifest, **self._where(manifest))

    def report(self, manifest: dict[str, Any], status: dict[str, Any]) -> None:
        """Write the object's status, as a controller would."""
        where = self._where(manifest) | {"name": manifest["metadata"]["name"]}
        self._objects.patch_namespaced_custom_object_status(body={"status": status}, **where)

    def drop(self, manifest: dict[str, Any]) -> None:
        """Delete it again."""
        self._objects.delete_namespaced_custom_object(name=manifest["metadata"]["name"], **self._where(manifest))

    def _refusal(self, ask: Any, **request: Any) -> str:
        try:
            ask(**request, dry_run="All", field_validation="Strict")
        except client.ApiException as refused:
            if refused.status not in {400, 422}:
                raise
            return str(json.loads(refused.body)["message"])
        return ""


@pytest.fixture(scope="session")
def installed(api_server: ApiServer) -> ApiServer:
    """The API server with Easel's kinds, established."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        api_server.kubectl("apply", "--server-side", "-f", str(file))
    api_server.kubectl(
        "wait", "--for=condition=Established", "crd", *(f"{each}.easel.dev" for each in PLURALS.values())
    )
    api_server.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    deadline = time.monotonic() + 60
    # What is established is told to kubectl a moment later.
    while api_server.kubectl.run("get", "easel", "-n", NAMESPACE).returncode:
        assert time.monotonic() < deadline, "the API server tells nobody of Easel's kinds"
    return api_server


@pytest.fixture(scope="session")
def objects(installed: ApiServer) -> Objects:
    """Easel's objects on the server."""
    return Objects(installed.kubeconfig)
