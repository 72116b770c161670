"""Every alert fires when it should and is silent when it should be, by Prometheus' own promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from easel_installed.chart import CHART, Helm
from prometheus_client import generate_latest

from easel_operator.adapters.metrics import PrometheusMetrics

RULES = CHART / "files/alerts.yaml"
CASES = Path(__file__).parent / "alerts_cases.yaml"
GROUPS = yaml.safe_load(RULES.read_text())
ALERTS = {rule["alert"]: rule for group in GROUPS["groups"] for rule in group["rules"]}


def test_every_alert_fires_and_is_silent_as_its_cases_say(promtool: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES.read_text().replace("RULES", str(RULES)))
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(cases)]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    expected: dict[str, set[bool]] = {alert: set() for alert in ALERTS}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for rule in case["alert_rule_test"]:
            expected[rule["alertname"]].add(bool(rule["exp_alerts"]))
    assert expected == {alert: {True, False} for alert in ALERTS}


def test_alerts_ask_for_metrics_that_exist() -> None:
    operators = generate_latest(PrometheusMetrics().registry).decode()
    engines = (CHART.parents[1] / "inference/easel_inference/serving/model.py").read_text()
    asked = {name for rule in ALERTS.values() for name in re.findall(r"\beasel_[a-z_]+(?=\{|\[|\)| )", rule["expr"])}
    asked.discard("easel_dev_model_deployment")
    assert len(asked) >= 8
    missing = {name for name in asked if f"# TYPE {name} " not in operators and f'"{name}"' not in engines}
    assert not missing


def test_the_rule_object_holds_the_alerts(helm: Helm) -> None:
    documents: list[Any] = helm.render("easel-system", {}, apis=("monitoring.coreos.com/v1/PrometheusRule",))
    (rule,) = [document for document in documents if document["kind"] == "PrometheusRule"]
    assert rule["spec"] == GROUPS
