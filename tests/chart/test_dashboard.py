"""The Grafana dashboard asks for metrics that exist, in PromQL that Prometheus understands."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from easel_installed.chart import CHART, Helm
from prometheus_client import generate_latest

from easel_operator.adapters.metrics import PrometheusMetrics

DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_query_is_understood(promtool: Path, tmp_path: Path) -> None:
    tests = [{"expr": query.replace("$namespace", ".*"), "eval_time": "1m", "exp_samples": []} for query in QUERIES]
    case = tmp_path / "case.yaml"
    case.write_text(yaml.safe_dump({"tests": [{"interval": "1m", "input_series": [], "promql_expr_test": tests}]}))
    done = subprocess.run([promtool, "test", "rules", str(case)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_queries_ask_for_metrics_that_exist() -> None:
    operators = generate_latest(PrometheusMetrics().registry).decode()
    engines = (CHART.parents[1] / "inference/easel_inference/serving/model.py").read_text()
    asked = {name for query in QUERIES for name in re.findall(r"\beasel_[a-z_]+\b", query)}
    asked.discard("easel_dev_model_deployment")
    assert len(asked) >= 18
    of_a_histogram = {"easel_engine_joined_calls_sum", "easel_engine_joined_calls_count"}
    missing = {
        name for name in asked - of_a_histogram if f"# TYPE {name} " not in operators and f'"{name}"' not in engines
    }
    assert not missing


def test_panels_do_not_overlap_and_have_distinct_ids() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_sidecar_finds_it(helm: Helm) -> None:
    (found,) = [each for each in helm.render("easel-system", {}) if each["metadata"]["name"].endswith("-dashboard")]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["easel.json"]) == DASHBOARD
