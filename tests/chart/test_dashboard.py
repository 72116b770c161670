"""The Grafana dashboard asks for series that exist, in PromQL that Prometheus understands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from easel_installed.chart import CHART, Helm

DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_query_is_understood(promtool: Path, tmp_path: Path) -> None:
    tests = [{"expr": query.replace("$namespace", ".*"), "eval_time": "1m", "exp_samples": []} for query in QUERIES]
    case = tmp_path / "case.yaml"
    case.write_text(yaml.safe_dump({"tests": [{"interval": "1m", "input_series": [], "promql_expr_test": tests}]}))
    done = subprocess.run([promtool, "test", "rules", str(case)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_queries_ask_for_series_that_exist(series: frozenset[str], asked: Callable[[str], set[str]]) -> None:
    names = {name for query in QUERIES for name in asked(query)}
    assert len(names) >= 24
    assert names <= series


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
