"""Every record is what it should be and every alert fires when it should and not otherwise, by Prometheus' own promtool."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from easel_installed.chart import CHART, Helm, Manifest

RULES = CHART / "files/alerts.yaml"
CASES = Path(__file__).parent / "alerts_cases.yaml"
GROUPS = yaml.safe_load(RULES.read_text())
ALL = [rule for group in GROUPS["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in ALL if "record" in rule}

NOTHING, ALWAYS = "vector(0) > 1", "vector(1)"


def promtool_says(promtool: Path, folder: Path, groups: Manifest, cases: str) -> subprocess.CompletedProcess[str]:
    """The finished run of cases, in which RULES stands for the file of the rules."""
    rules, tests = folder / "rules.yaml", folder / "cases.yaml"
    rules.write_text(yaml.safe_dump(groups))
    tests.write_text(cases.replace("RULES", str(rules)))
    return subprocess.run([promtool, "test", "rules", str(tests)], capture_output=True, text=True)


def cases_of(kind: str, wanted: str, name: str) -> str:
    """The cases that expect something of one rule, and what they expect of it alone."""
    cases: Manifest = yaml.safe_load(CASES.read_text())
    cases["tests"] = [
        {part: value for part, value in case.items() if not part.endswith("_test")}
        | {kind: [each for each in case.get(kind, ()) if each[wanted] == name]}
        for case in cases["tests"]
        if any(each[wanted] == name for each in case.get(kind, ()))
    ]
    return yaml.safe_dump(cases)


def with_expression(name: str, change: Callable[[str], str]) -> Manifest:
    """The rules, of which one has another expression."""
    groups: Manifest = copy.deepcopy(GROUPS)
    for group in groups["groups"]:
        for rule in group["rules"]:
            if name in (rule.get("alert"), rule.get("record")):
                rule["expr"] = change(rule["expr"])
    return groups


def spec_of_the_rule_object(helm: Helm, **values: Any) -> Manifest:
    given = {"namespaces": ["art", "music"], "monitoring": values}
    documents: list[Any] = helm.render("easel-system", given, apis=("monitoring.coreos.com/v1/PrometheusRule",))
    (rule,) = [document for document in documents if document["kind"] == "PrometheusRule"]
    return dict(rule["spec"])


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_does_as_its_cases_say(promtool: Path, tmp_path: Path) -> None:
    done = promtool_says(promtool, tmp_path, GROUPS, CASES.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    expected: dict[str, set[bool]] = {alert: set() for alert in ALERTS}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for rule in case.get("alert_rule_test", ()):
            expected[rule["alertname"]].add(bool(rule["exp_alerts"]))
    assert expected == {alert: {True, False} for alert in ALERTS}


@pytest.mark.parametrize("expression", [NOTHING, ALWAYS])
@pytest.mark.parametrize("alert", ALERTS)
def test_the_cases_notice_an_alert_that_never_or_always_fires(
    promtool: Path, tmp_path: Path, alert: str, expression: str
) -> None:
    cases = cases_of("alert_rule_test", "alertname", alert)
    done = promtool_says(promtool, tmp_path, with_expression(alert, lambda _: expression), cases)
    assert alert in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("record", RECORDS)
def test_the_cases_notice_a_record_of_another_number(promtool: Path, tmp_path: Path, record: str) -> None:
    groups = with_expression(record, lambda expression: f"({expression}) * 2 + 1")
    done = promtool_says(promtool, tmp_path, groups, cases_of("promql_expr_test", "expr", record))
    assert record in done.stdout + done.stderr
    assert done.returncode != 0


def test_rules_ask_for_series_that_exist(series: frozenset[str], asked: Callable[[str], set[str]]) -> None:
    names = {name for rule in ALL for name in asked(rule["expr"])}
    assert len(names) >= 20
    assert names <= series


def test_a_record_is_named_by_its_labels_its_metric_and_what_is_done(series: frozenset[str]) -> None:
    for name, rule in RECORDS.items():
        level, metric, _ = re.fullmatch(r"([a-z_]+):([a-z_]+):([a-z0-9_]+)", name).groups()
        assert {metric, f"{metric}_total"} & series, name
        labels = re.search(r" by \(([a-z_, ]+)\)", rule["expr"])
        left = labels[1].replace(", ", "_").replace("easel_dev_model_deployment", "model") if labels else "cluster"
        assert level == left, name


def test_every_record_is_used_by_an_alert_and_by_the_dashboard(asked: Callable[[str], set[str]]) -> None:
    alerts = {name for rule in ALERTS.values() for name in asked(rule["expr"])}
    panels = json.loads((CHART / "files/dashboard.json").read_text())["panels"]
    shown = {name for panel in panels for target in panel.get("targets", ()) for name in asked(target["expr"])}
    assert set(RECORDS) <= alerts & shown


def test_the_rule_object_holds_the_rules(helm: Helm) -> None:
    assert spec_of_the_rule_object(helm) == GROUPS
    assert spec_of_the_rule_object(helm, spend={"gpuHoursPerDay": None}) == GROUPS


SPENDING = """
rule_files: [RULES]
evaluation_interval: 5m
tests:
- interval: 5m
  input_series:
  - {series: 'easel_requested_gpu_seconds_total{namespace="art",deployment="studio"}', values: 0+150x300}
  alert_rule_test:
  - eval_time: 24h
    alertname: EaselNamespaceSpends
    exp_alerts: ALERTS
"""
"""Twelve GPU-hours a day."""


@pytest.mark.parametrize(("hours", "fires"), [(11.9, True), (12.1, False), (1000000, False)])
def test_the_limit_on_spend_is_the_charts_value(
    helm: Helm, promtool: Path, tmp_path: Path, hours: float, *, fires: bool
) -> None:
    spec = spec_of_the_rule_object(helm, spend={"gpuHoursPerDay": hours})
    assert [group for group in spec["groups"] if group["name"] != "easel-limits"] == GROUPS["groups"]
    told = {
        "exp_labels": {"severity": "warning", "namespace": "art"},
        "exp_annotations": {
            "summary": "art asked for 12.0 GPU-hours in the last day",
            "description": ALERTS["EaselNamespaceSpends"]["annotations"]["description"],
        },
    }
    cases = SPENDING.replace("ALERTS", json.dumps([told] if fires else []))
    done = promtool_says(promtool, tmp_path, spec, cases)
    assert done.returncode == 0, done.stdout + done.stderr
