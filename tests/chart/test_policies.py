"""What checkov finds unsafe in the chart and in what the operator renders: nothing, but for what is explained here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest
import yaml
from easel_cluster import tools
from easel_installed.chart import Helm

OPERATOR, TEST = "Deployment.easel-system.easel-operator", "Pod.easel-system.easel-operator-test"
RUNTIME, WORKER, WORKERS_POD = "Deployment.art.studio", "Job.art.mugs", "Pod.art.mugs"

FETCHER, FETCHERS_POD = "Job.art.studio-fetch", "Pod.art.studio-fetch"
EXPLAINED = {
    "CKV_K8S_8": ({TEST}, "liveness: helm's test runs once and ends"),
    "CKV_K8S_9": ({TEST}, "readiness: helm's test serves nobody"),
    "CKV_K8S_11": (
        {OPERATOR, TEST, RUNTIME, WORKER, FETCHER},
        "no CPU limit: it would throttle a container while the node idles; requests and memory limits are set",
    ),
    "CKV_K8S_15": (
        {OPERATOR, TEST, RUNTIME, WORKER},
        "IfNotPresent: images are named by version or digest, so that a pull would bring the same bytes",
    ),
    "CKV_K8S_38": (
        {OPERATOR, WORKER},
        "a token is mounted: they talk to the API server, and no other pod here has one",
    ),
    "CKV_K8S_40": (
        {OPERATOR, TEST},
        "they take the user of their image, 65532; Pod Security `restricted` has it be no root",
    ),
    "CKV_K8S_43": (
        {OPERATOR, TEST, RUNTIME, WORKER},
        "digests are the platform's to set, by image.digest and runtimeProfiles: a chart is written before its images are built",
    ),
    "CKV2_K8S_6": (
        {TEST, WORKERS_POD, FETCHERS_POD},
        "no NetworkPolicy: they open no port, and where a bucket is only the job or the model that names it knows",
    ),
}
"""Check of checkov by id: which objects do not pass it, and why it does not hold for them."""

Checkov = Callable[[dict[str, str]], set[tuple[str, str]]]


def explained() -> set[tuple[str, str]]:
    return {(check, each) for check, (objects, _) in EXPLAINED.items() for each in objects}


@pytest.fixture(scope="module")
def checkov(progress: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Checkov:
    """Checks that are not passed, each with the object."""
    program = tools.installed(tools.CHECKOV, progress) / "checkov"

    def read(manifests: dict[str, str]) -> set[tuple[str, str]]:
        folder = tmp_path_factory.mktemp("manifests")
        for name, text in manifests.items():
            (folder / f"{name.replace(' ', '-')}.yaml").write_text(text)
        flags = ["--framework", "kubernetes", "--output", "json", "--skip-download"]
        # It would ask for a newer version of itself.
        environment = os.environ | {"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true"}
        done = subprocess.run(
            [program, "--directory", str(folder), *flags],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        assert (told["summary"]["parsing_errors"], told["summary"]["skipped"]) == (0, 0)
        # A pod in a template is called by its labels too.
        return {
            (each["check_id"], ".".join(each["resource"].split(".")[:3])) for each in told["results"]["failed_checks"]
        }

    return read


def test_nothing_is_unsafe_but_what_is_explained(checkov: Checkov, manifests: dict[str, str]) -> None:
    told = checkov(manifests)
    assert told - explained() == set()
    assert explained() - told == set(), "explained, and not found any more"


def test_it_would_be_found(checkov: Checkov, helm: Helm) -> None:
    (operator,) = (each for each in helm.render("easel-system") if each["kind"] == "Deployment")
    operator["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert ("CKV_K8S_16", OPERATOR) in checkov({"operator": yaml.safe_dump(operator)}) - explained()
