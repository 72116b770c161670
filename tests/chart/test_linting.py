"""What kube-score finds unwise in the chart and in what the operator renders: nothing, but for what is explained here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from easel_cluster import tools
from easel_installed.chart import Helm

from easel_api.errors import EnvironmentFault

EXPLAINED = {
    "container-resources": "no CPU limit: it would throttle a container while the node idles; requests and memory limits are set",
    "container-image-pull-policy": "IfNotPresent: images are named by version or digest, so that a pull would bring the same bytes",
    "container-ephemeral-storage-request-and-limit": "root file systems are read-only, and each emptyDir has a size limit of its own",
    "container-security-context-user-group-id": "helm's test and the operator take the user of their image, 65532, of which kube-score knows "
    "nothing; Pod Security `restricted` has it be no root",
    "pod-networkpolicy": "a worker or a test opens no port, and where a worker's bucket is only its job knows",
    "deployment-replicas": "one operator by default; operator.replicas gives it a stand-by, and a model's replicas are its owner's to say",
    "horizontalpodautoscaler-replicas": "the least number of replicas is the model's owner's to say, down to one",
    "horizontalpodautoscaler-has-target": "its Deployment is in another of the files that are read here",
    "deployment-has-host-podantiaffinity": "GPUs spread replicas by themselves; a platform adds rules by its runtime profile",
}
"""Check of kube-score by id, and why it does not hold here."""


def found(program: Path, manifests: str) -> set[str]:
    """Checks that some object does not pass."""
    told = subprocess.run(
        [str(program), "score", "-", "--output-format", "json"],
        input=manifests,
        capture_output=True,
        text=True,
        check=False,
    )
    objects = json.loads(told.stdout)
    assert told.returncode in (0, 1), told.stderr
    return {
        check["check"]["id"]
        for each in objects or ()
        for check in each["checks"]
        if not check["skipped"] and check["grade"] < 10
    }


@pytest.fixture(scope="module")
def kube_score(progress: Callable[[str], None]) -> Path:
    try:
        return tools.ensure(["kube-score"], progress)["kube-score"]
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build kube-score: {fault}")


def test_nothing_is_unwise_but_what_is_explained(kube_score: Path, manifests: dict[str, str]) -> None:
    told = set[str]().union(*(found(kube_score, text) for text in manifests.values()))
    assert told - EXPLAINED.keys() == set()
    assert EXPLAINED.keys() - told == set(), "explained, and not found any more"


def test_it_would_be_found(kube_score: Path, helm: Helm) -> None:
    rendered = helm.render("easel-system", {"namespaces": ["art"]})
    (operator,) = (document for document in rendered if document["kind"] == "Deployment")
    operator["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert found(kube_score, yaml.safe_dump(operator)) - EXPLAINED.keys()
