"""The pods of a release's models stay under the present operator; tests/released/README.md says what is kept of a release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_views import configuration, environment, model_view

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_operator.core.configuration import RuntimeProfile
from easel_operator.core.decision import Environment
from easel_operator.core.model.decide import children
from easel_operator.core.observed import Problem
from easel_operator.core.resources import DEPLOYMENTS

RELEASES = sorted(path for path in (Path(__file__).parents[2] / "released").iterdir() if path.is_dir())

PROFILES = {
    "default": RuntimeProfile(image="docker.io/easel/runtime@sha256:" + "1" * 64),
    "h100": RuntimeProfile(
        image="docker.io/easel/runtime@sha256:" + "2" * 64,
        node_selector={"pool": "gpu"},
        tolerations=({"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},),
        runtime_class_name="nvidia",
        env=({"name": "EASEL_THREADS", "value": "8"},),
    ),
}
"""Of the platform, which keeps its images and placement while it upgrades."""

EXPLAINED: dict[str, dict[str, str]] = {}
"""By release: each model whose pods an upgrade replaces, and why."""

of_each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)


def rendered(release: Path) -> dict[str, Any]:
    """The Deployment of every model by its name."""
    settings = configuration(runtime_profiles=PROFILES)
    found: dict[str, Any] = {}
    for manifest in yaml.safe_load_all((release / "objects.yaml").read_text()):
        if manifest["kind"] != "ModelDeployment":
            continue
        view = model_view(ModelDeploymentSpec.model_validate(manifest["spec"]))
        assert not isinstance(view.spec, Problem)
        profile = PROFILES[view.spec.runtime_profile]
        made = children(view, view.spec, profile, Environment(environment().now, settings), 1)
        (found[manifest["metadata"]["name"]],) = (each.body for each in made if each.resource == DEPLOYMENTS)
    return found


@of_each_release
def test_the_pods_of_every_model_stay_but_for_what_is_explained(release: Path) -> None:
    path = release / "deployments.yaml"
    if os.environ.get("EASEL_RELEASE") == release.name and not path.exists():
        path.write_text(yaml.safe_dump(rendered(release), sort_keys=True, width=120))
    present, released = rendered(release), yaml.safe_load(path.read_text())
    assert released
    replaced = {name for name in released if present[name]["spec"]["template"] != released[name]["spec"]["template"]}
    assert replaced == set(EXPLAINED.get(release.name, {}))


@of_each_release
def test_no_deployment_gets_another_selector(release: Path) -> None:
    # Kubernetes refuses it: such a model could not be changed any more.
    present, released = rendered(release), yaml.safe_load((release / "deployments.yaml").read_text())
    for name, deployment in released.items():
        assert present[name]["spec"]["selector"] == deployment["spec"]["selector"]


def test_explanations_are_of_releases() -> None:
    assert set(EXPLAINED) <= {release.name for release in RELEASES}
