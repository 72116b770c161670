"""A model in a bucket: fetched by a pod of its own into a claim on the node's disk, and served from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_cluster.namespaces import NODE_NAME
from easel_installed import manifests
from easel_installed.site import RUNTIME, Site
from easel_installed.waiting import until

from easel_inference import miniature
from easel_inference.engine.folders import digest_of

pytestmark = pytest.mark.cluster

KIND = "modeldeployments.easel.dev"
BASE = miniature.WEIGHTS / "base"
NAME = "from-a-bucket"
ALONE = "fetches-itself"
OTHER = "sha256:" + "0" * 64


@pytest.fixture
def cache(site: Site, tmp_path: Path) -> Iterator[str]:
    """A claim on a folder of the node, as a platform team gives one: pods themselves may not name such a folder."""
    folder, name = tmp_path / "cache", "model-cache"
    folder.mkdir()
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    size = {"storage": "1Gi"}
    site.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "node-disk",
                "local": {"path": str(folder)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        }
    )
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "node-disk", "resources": {"requests": size}}
    site.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim})
    yield name
    site.delete(KIND, NAME)
    site.delete("pvc", name)
    site.kubectl("delete", "pv", name, "--timeout=60s")


def upload(site: Site, prefix: str) -> None:
    for path in sorted(BASE.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(BASE).as_posix()}"
            site.bucket.client.upload_file(str(path), site.bucket.name, key)


def condition(site: Site, wanted: str, model: str = NAME) -> tuple[str, str]:
    found = site.get(KIND, model).get("status", {}).get("conditions", [])
    return next(((each["status"], each["reason"]) for each in found if each["type"] == wanted), ("", ""))


def names(site: Site) -> set[str]:
    return {pod["metadata"]["name"] for pod in site.pods(RUNTIME, model=NAME)}


def pin(site: Site, digest: str) -> None:
    change = json.dumps({"spec": {"model": {"digest": digest}}})
    site.kubectl("patch", KIND, NAME, "-n", site.namespace, "--type=merge", "-p", change)


def test_a_model_in_a_bucket_is_fetched_checked_and_served(site: Site, served: str, cache: str) -> None:
    upload(site, "models/mini")
    digest = digest_of(BASE)
    s3 = {"endpoint": site.bucket.endpoint, "credentialsSecretRef": {"name": manifests.SECRET}}
    source = {"source": f"s3://{site.bucket.name}/models/mini", "digest": digest, "s3": s3}
    site.apply(manifests.model(NAME, model=source, cache={"persistentVolumeClaim": cache}))
    site.wait_for_model(NAME)
    assert condition(site, "ModelCached") == ("True", "Fetched")
    assert site.get(KIND, NAME)["status"]["model"]["digest"] == digest
    check_that_replicas_have_no_keys(site)

    site.apply(manifests.job("with-it", NAME, site.store, count=8))
    assert site.wait_for_end("with-it", seconds=120)["status"]["phase"] == "Complete"

    before = names(site)
    pin(site, OTHER)
    until("the refusal", lambda: condition(site, "ModelCached") == ("False", "InvalidInput"), seconds=90)
    assert condition(site, "Ready") == ("True", "Serving")
    assert "not the one that was pinned" in site.get(KIND, NAME)["status"]["lastFailure"]["message"]
    assert names(site) == before

    pin(site, digest)
    until("the cache", lambda: condition(site, "ModelCached") == ("True", "Fetched"), seconds=90)
    until("nothing to do", lambda: condition(site, "Reconciling") == condition(site, "Stalled") == ("", ""), seconds=60)
    assert names(site) == before, "the replica is what it was, and stays"


def test_a_replica_without_a_claim_fetches_for_itself(site: Site, served: str) -> None:
    """Admitted by a namespace that enforces `restricted`; what it waits for is told, and mended without a new pod."""
    s3 = {"endpoint": site.bucket.endpoint, "credentialsSecretRef": {"name": manifests.SECRET}}
    source = {"source": f"s3://{site.bucket.name}/later/mini", "digest": digest_of(BASE), "s3": s3}
    site.apply(manifests.model(ALONE, model=source, cache={"emptyDir": {"sizeLimit": "1Gi"}}))
    try:
        until("the reason", lambda: condition(site, "Ready", ALONE) == ("False", "NotFound"), seconds=120)
        (pod,) = site.pods(RUNTIME, model=ALONE)
        upload(site, "later/mini")
        site.wait_for_model(ALONE)
        assert [each["metadata"]["uid"] for each in site.pods(RUNTIME, model=ALONE)] == [pod["metadata"]["uid"]]
        assert site.get(KIND, ALONE)["status"]["model"]["digest"] == digest_of(BASE)
        (runtime,) = pod["spec"]["containers"]
        assert "credentials" not in {mount["name"] for mount in runtime["volumeMounts"]}
        site.apply(manifests.job("alone", ALONE, site.store, count=8))
        assert site.wait_for_end("alone", seconds=120)["status"]["phase"] == "Complete"
    finally:
        site.delete(KIND, ALONE)


def check_that_replicas_have_no_keys(site: Site) -> None:
    (pod,) = site.pods(RUNTIME, model=NAME)
    text: Any = json.dumps(pod["spec"])
    assert manifests.SECRET not in text
    (mount,) = (each for each in pod["spec"]["containers"][0]["volumeMounts"] if each.get("subPath") == "easel-models")
    assert mount["readOnly"]
