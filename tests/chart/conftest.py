"""The chart under test, by the real helm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from easel_cluster import debian, tools
from easel_installed.chart import CHART, Helm
from prometheus_client import generate_latest

from easel_api.errors import EnvironmentFault
from easel_operator.adapters.metrics import PrometheusMetrics

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def helm(progress: Callable[[str], None]) -> Helm:
    try:
        return Helm(tools.ensure(["helm"], progress)["helm"])
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build helm: {fault}")


@pytest.fixture(scope="session")
def promtool(progress: Callable[[str], None]) -> Path:
    try:
        return debian.unpacked("prometheus", "promtool", progress)
    except EnvironmentFault as fault:
        pytest.skip(f"no promtool: {fault}")


@pytest.fixture(scope="session")
def manifests(helm: Helm) -> dict[str, str]:
    """What linters read, by where it is from: the chart, with all that it can have too, and what the operator renders."""
    chart = helm("template", "easel", str(CHART), "--namespace", "easel-system", values={"namespaces": ["art"]})
    golden = [GOLDEN / "chart/everything.yaml", *sorted((GOLDEN / "operator").glob("*.yaml"))]
    return {"the chart": chart} | {path.stem: path.read_text() for path in golden}


@pytest.fixture(scope="session")
def series() -> frozenset[str]:
    """Names of the series that there are: the operator's, the engine's, and those that the chart records."""
    operators = generate_latest(PrometheusMetrics().registry).decode()
    engines = (CHART.parents[1] / "inference/easel_inference/serving/model.py").read_text()
    recorded = (CHART / "files/alerts.yaml").read_text() + (CHART / "templates/monitoring.yaml").read_text()
    histograms = re.findall(r'"(easel_engine_[a-z_]+)", "[^"]*", pb_utils.MetricFamily.HISTOGRAM', engines)
    return frozenset(
        re.findall(r"^# TYPE (\S+) ", operators, re.MULTILINE)
        + re.findall(r'"(easel_engine_[a-z_]+)"', engines)
        + [f"{name}_{part}" for name in histograms for part in ("sum", "count", "bucket")]
        + re.findall(r"\brecord: (\S+)", recorded)
    )


@pytest.fixture(scope="session")
def asked() -> Callable[[str], set[str]]:
    """The series that a PromQL expression asks for; `easel_dev_model_deployment` is a label."""
    name = re.compile(r"(?:[a-z_]+:)?\beasel_[a-z_]+(?::[a-z0-9_]+)?")
    return lambda query: set(name.findall(query)) - {"easel_dev_model_deployment"}
