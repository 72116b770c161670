"""The chart is upgraded while a model serves and a job works: the operator is another, and nothing that runs is touched.

Both configurations are what helm renders. The upgraded chart has another version, and with it another image of the
operator and the workers, and values that no runtime's pod template holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from easel_cluster import tools
from easel_installed.chart import CHART, Helm
from operating.place import Place, Raw
from operating.process import OperatorProcess, until

from easel_api.errors import EnvironmentFault

pytestmark = pytest.mark.apiserver

RUNTIME = "app.kubernetes.io/name=easel-runtime"
WORKER = "app.kubernetes.io/name=easel-worker"
IMAGE = {"repository": "registry.example/easel/runtime", "tag": "1.0"}

VALUES: Raw = {"runtimeProfiles": {"default": {"image": IMAGE}}}
OTHER_VALUES: Raw = {
    "image": {"repository": "registry.example/easel/operator"},
    "worker": {"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}},
    "runtimeProfiles": {"default": {"image": IMAGE}, "spare": {"image": IMAGE, "nodeSelector": {"pool": "spare"}}},
    "admission": {"priorityClasses": {"interactive": 100}, "maxRunningJobs": 50},
    "monitoring": {"interval": "15s", "prometheus": {"podLabels": {"app.kubernetes.io/name": "another-prometheus"}}},
}

Render = Callable[[Place, str, Raw], Raw]


@pytest.fixture
def rendered(progress: Callable[[str], None], tmp_path: Path) -> Render:
    """The operator's configuration as a version of the chart renders it from values."""
    try:
        helm = Helm(tools.ensure(["helm"], progress)["helm"])
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build helm: {fault}")

    def render(place: Place, version: str, values: Raw) -> Raw:
        chart = tmp_path / f"chart-{version}"
        shutil.copytree(CHART, chart)
        about = chart / "Chart.yaml"
        about.write_text(
            yaml.safe_dump(yaml.safe_load(about.read_text()) | {"version": version, "appVersion": version})
        )
        given = values | {"namespaces": [place.namespace], "crds": {"install": False}}
        text = helm("template", "easel", str(chart), "--namespace", place.namespace, values=given)
        (config,) = [
            document
            for document in yaml.safe_load_all(text)
            if document and "operator.yaml" in document.get("data", {})
        ]
        configuration: Raw = yaml.safe_load(config["data"]["operator.yaml"])
        # Ports are chosen by the test: several operators run on this machine.
        return {name: value for name, value in configuration.items() if name not in {"metricsPort", "healthPort"}}

    return render


def running(place: Place) -> dict[str, tuple[str, str]]:
    """Uid and version of everything that runs: whatever writes to one gives it another version."""
    found = {
        "deployment": place.list("deployment"),
        "replicaset": place.list("replicaset"),
        "batch job": place.list("job"),
        "pod": place.list("pod", RUNTIME) + place.list("pod", WORKER),
    }
    return {
        f"{kind} {item['metadata']['name']}": (item["metadata"]["uid"], item["metadata"]["resourceVersion"])
        for kind, items in found.items()
        for item in items
    }


def at_work(place: Place) -> None:
    """A model that serves, and a job whose worker generates."""
    place.model("studio")
    place.serve("studio")
    place.job("mugs")
    place.run_pod(place.await_pod("easel.dev/generation-job=mugs"), "worker", ready=True)
    place.await_condition("gen", "mugs", "Ready", "False", "Generating")
    until(
        lambda: (place.get("deployment", "studio") or {})["status"].get("readyReplicas") == 1, "the replica is counted"
    )
    until(lambda: (place.get("job", "mugs") or {})["status"].get("ready") == 1, "the worker is counted")


def settled(operator: OperatorProcess) -> None:
    """The operator has looked at both kinds and wants nothing more."""
    for kind in ("ModelDeployment", "GenerationJob"):
        line = f'easel_operator_reconciles_total{{kind="{kind}",result="settled"}}'
        until(lambda line=line: operator.metric(line), f"{kind} is settled")


def pod_template(place: Place) -> Raw:
    found: Raw = (place.get("deployment", "studio") or {})["spec"]["template"]
    return found


def test_an_upgrade_touches_nothing_that_runs(place: Place, start: Any, rendered: Render) -> None:
    old = start(place, "old", **rendered(place, "1.0.0", VALUES)).ready().leads()
    at_work(place)
    assert old.stop() == 0
    before, template = running(place), pod_template(place)
    assert {name.partition(" ")[0] for name in before} == {"deployment", "replicaset", "batch", "pod"}

    new = start(place, "new", **rendered(place, "1.1.0", OTHER_VALUES)).ready().leads()
    # What the values do change is changed, so the new operator has looked at this model.
    until(lambda: "another-prometheus" in place("get", "networkpolicy", "studio", "-o", "json"), "the policy follows")
    settled(new)
    assert running(place) == before
    assert pod_template(place) == template

    place.job("later")
    later = until(lambda: place.get("job", "later"), "a job under the new operator")
    (worker,) = later["spec"]["template"]["spec"]["containers"]
    assert worker["image"] == "registry.example/easel/operator:1.1.0"
    assert worker["resources"]["limits"]["memory"] == "1Gi"
    assert {name: there for name, there in running(place).items() if "later" not in name} == before


def test_another_runtime_image_replaces_the_pods_and_no_job(place: Place, start: Any, rendered: Render) -> None:
    # A profile without a tag has the runtime of the chart's version.
    loose = {"runtimeProfiles": {"default": {"image": {"repository": IMAGE["repository"], "tag": ""}}}}
    old = start(place, "old", **rendered(place, "1.0.0", loose)).ready().leads()
    at_work(place)
    assert old.stop() == 0
    before, deployment = running(place), place.get("deployment", "studio") or {}
    (pod,) = place.list("pod", RUNTIME)

    start(place, "new", **rendered(place, "1.1.0", loose)).ready().leads()
    (replacement,) = until(
        lambda: [each for each in place.pods(RUNTIME) if each["metadata"]["uid"] != pod["metadata"]["uid"]], "a new pod"
    )
    assert replacement["spec"]["containers"][0]["image"] == "registry.example/easel/runtime:1.1.0"
    assert replacement["metadata"]["labels"]["pod-template-hash"] != pod["metadata"]["labels"]["pod-template-hash"]
    changed: Raw = place.get("deployment", "studio") or {}
    assert changed["metadata"]["uid"] == deployment["metadata"]["uid"]
    assert changed["metadata"]["generation"] == deployment["metadata"]["generation"] + 1
    assert running(place)["batch job mugs"] == before["batch job mugs"]
