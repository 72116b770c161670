"""What the chart renders, and what it refuses to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from easel_installed.chart import CHART, Helm, Manifest

from easel_operator.core.configuration import Configuration

GOLDEN = Path(__file__).parents[1] / "golden" / "chart"

MONITORS = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"))

DEFAULTS: Manifest = {"crds": {"install": False}}
EVERYTHING: Manifest = {
    "crds": {"install": False},
    "namespaces": ["studio", "art"],
    "image": {"digest": f"sha256:{'1' * 64}"},
    "imagePullSecrets": ["registry"],
    "operator": {
        "replicas": 2,
        "podAnnotations": {"team": "platform"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
    },
    "worker": {"serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/easel"}},
    "providers": {"acrossNamespaces": True},
    "runtimeProfiles": {
        "h100": {
            "image": {"repository": "registry.example/easel/runtime", "tag": "1.2.3"},
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "runtimeClassName": "nvidia",
            "env": [{"name": "EASEL_THREADS", "value": "4"}],
        }
    },
    "monitoring": {"labels": {"release": "prometheus"}, "spend": {"gpuHoursPerDay": 100}},
}


class Readable(yaml.SafeDumper):
    """Texts of several lines stay as they were written, so that a diff can be read."""


def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, block)


def golden(name: str, documents: list[Manifest]) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.dump_all(documents, Dumper=Readable, sort_keys=True, width=120)
    if os.environ.get("EASEL_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: read `make golden`'s diff before committing it"


def test_golden_of_the_defaults(helm: Helm) -> None:
    golden("defaults", helm.render("easel-system", DEFAULTS))


def test_golden_of_everything_set(helm: Helm) -> None:
    golden("everything", helm.render("easel-system", EVERYTHING, apis=MONITORS))


@pytest.mark.parametrize("values", [DEFAULTS, EVERYTHING, DEFAULTS | {"worker": {"resources": {"limits": {"cpu": 1}}}}])
def test_the_operator_understands_its_configuration(helm: Helm, values: Manifest) -> None:
    (config,) = [doc for doc in helm.render("easel-system", values) if "operator.yaml" in doc.get("data", {})]
    configuration = Configuration.model_validate(yaml.safe_load(config["data"]["operator.yaml"]))
    assert configuration.namespaces == tuple(sorted(values.get("namespaces", ["easel-system"])))
    assert configuration.lease_namespace == "easel-system"
    assert set(configuration.runtime_profiles) >= {"default"}
    assert configuration.operator_pod_selector.namespace_labels == {"kubernetes.io/metadata.name": "easel-system"}


def test_lint_finds_nothing(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.lint()
    assert "0 chart(s) failed" in helm.lint(EVERYTHING)


def test_every_default_is_described_by_the_schema(helm: Helm) -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    undescribed = [path for path, node in described(schema) if not node.get("description")]
    assert undescribed == []


def described(node: Manifest, path: str = "") -> list[tuple[str, Manifest]]:
    found = [] if path.endswith(("/items", "/*")) else [(path, node)]
    children = dict(node.get("properties", {}))
    if isinstance(node.get("additionalProperties"), dict):
        children["*"] = node["additionalProperties"]
    if "items" in node:
        children["items"] = node["items"]
    for name, child in children.items():
        if name not in ("cpu", "memory", "ephemeral-storage", "tolerationSeconds"):
            found += described(child, f"{path}/{name}")
    return found


REFUSED = {
    "a misspelt value": ({"operator": {"replica": 2}}, "/operator", "'replica' not allowed"),
    "a wrong type": ({"operator": {"replicas": "two"}}, "/operator/replicas", "want integer"),
    "a replica count without meaning": ({"operator": {"replicas": -1}}, "/operator/replicas", "minimum"),
    "an unknown section": ({"gateway": {"enabled": True}}, "", "'gateway' not allowed"),
    "a namespace that cannot be": ({"namespaces": ["Art_Dept"]}, "/namespaces/0", "does not match"),
    "an image without a name": ({"image": {"repository": ""}}, "/image/repository", "does not match"),
    "a digest that is none": ({"image": {"digest": "sha256:abc"}}, "/image/digest", "does not match"),
    "an amount that is none": ({"worker": {"resources": {"limits": {"memory": "lots"}}}}, "/limits/memory", "lots"),
    "a profile without an image": ({"runtimeProfiles": {"h100": {}}}, "/runtimeProfiles/h100", "image"),
    "an unknown pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", "must be one of"),
    "a limit that nobody keeps": (
        {"monitoring": {"spend": {"gpuHoursPerDay": 0}}},
        "/gpuHoursPerDay",
        "exclusiveMinimum",
    ),
}


@pytest.mark.parametrize(("values", "where", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_values_are_refused_by_name(helm: Helm, values: Manifest, where: str, why: str) -> None:
    done = helm.run("template", "easel", str(CHART), values=values)
    assert done.returncode != 0
    assert f"{where}'" in done.stderr
    assert why in done.stderr


def test_monitors_appear_only_where_the_cluster_knows_them(helm: Helm) -> None:
    def kinds(**how: object) -> set[str]:
        return {document["kind"] for document in helm.render("easel-system", DEFAULTS, **how)}  # type: ignore[arg-type]  # keywords by name

    assert kinds(apis=MONITORS) - kinds() == {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def test_a_changed_configuration_starts_new_pods(helm: Helm) -> None:
    def checksum(values: Manifest) -> str:
        (deployment,) = [doc for doc in helm.render("easel-system", values) if doc["kind"] == "Deployment"]
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["easel.dev/config-checksum"])

    assert checksum(DEFAULTS) == checksum(DEFAULTS)
    assert checksum(DEFAULTS) != checksum(DEFAULTS | {"namespaces": ["art"]})


def test_crds_are_kept_on_uninstall(helm: Helm) -> None:
    crds = [doc for doc in helm.render("easel-system") if doc["kind"] == "CustomResourceDefinition"]
    assert {crd["spec"]["names"]["kind"] for crd in crds} == {
        "ModelDeployment",
        "GenerationJob",
        "Provider",
        "GenerationClass",
    }
    assert {crd["metadata"]["annotations"]["helm.sh/resource-policy"] for crd in crds} == {"keep"}


def test_a_release_of_any_name_gives_valid_names(helm: Helm) -> None:
    long = "a" * 53
    text = helm("template", long, str(CHART), "--namespace", "art", values=DEFAULTS)
    names = [doc["metadata"]["name"] for doc in yaml.safe_load_all(text) if doc]
    assert max(map(len, names)) <= 63
    assert not [name for name in names if name.endswith("-") or "--" in name]
