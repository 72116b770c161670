"""The query for a model's demand, answered by Prometheus' own engine over series that are played to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from easel_api.scaling import Scaling
from easel_operator.core.scaling.query import demand_query

STUDIO = 'namespace="art",deployment="studio"'
QUERY = demand_query(Scaling(max_replicas=4, target_backlog_seconds=60), "art", "studio")


def answer(promtool: Path, tmp_path: Path, series: dict[str, str], expected: list[float], after: str = "10m") -> None:
    """Fails unless Prometheus gives these values for the series so long after their start."""
    case: dict[str, Any] = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": QUERY,
                        "eval_time": after,
                        "exp_samples": [{"labels": "{}", "value": value} for value in expected],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(case))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def backlog(labels: str = STUDIO) -> str:
    return f"easel_backlog_gpu_seconds{{{labels}}}"


def requested(labels: str = STUDIO) -> str:
    return f"easel_requested_gpu_seconds_total{{{labels}}}"


def test_backlog_and_what_comes_in_during_the_target(promtool: Path, tmp_path: Path) -> None:
    # 30 GPU-seconds every 15 s are two a second, which keep two replicas busy: 120 in a minute.
    answer(promtool, tmp_path, {backlog(): "90x100", requested(): "0+30x100"}, [90 + 120], after="15m")


def test_a_burst_that_is_over_counts_for_nothing_and_one_that_goes_on_does(promtool: Path, tmp_path: Path) -> None:
    answer(promtool, tmp_path, {backlog(): "90x40", requested(): "0x4 600x36"}, [90], after="9m")
    answer(promtool, tmp_path, {backlog(): "90x80", requested(): "0x60 0+30x20"}, [90 + 60 * 210 / 600], after="17m")


def test_work_that_is_done_counts_for_nothing(promtool: Path, tmp_path: Path) -> None:
    answer(promtool, tmp_path, {backlog(): "90x20 0x40", requested(): "0+30x20 600x40"}, [0], after="8m")


def test_a_series_that_was_seen_once_hides_no_backlog(promtool: Path, tmp_path: Path) -> None:
    answer(promtool, tmp_path, {backlog(): "90", requested(): "30"}, [90], after="0s")


def test_other_models_are_left_out(promtool: Path, tmp_path: Path) -> None:
    other = 'namespace="art",deployment="other"'
    elsewhere = 'namespace="music",deployment="studio"'
    series = {backlog(): "90x100", backlog(other): "7x100", backlog(elsewhere): "8x100", requested(): "0x100"}
    answer(promtool, tmp_path, series, [90])


def test_two_leaders_count_once(promtool: Path, tmp_path: Path) -> None:
    series = {
        backlog(f'{STUDIO},pod="a"'): "90x100",
        backlog(f'{STUDIO},pod="b"'): "84x100",
        requested(f'{STUDIO},pod="a"'): "0x100",
        requested(f'{STUDIO},pod="b"'): "0x100",
    }
    answer(promtool, tmp_path, series, [90])


def test_an_operator_that_starts_anew_asks_for_nothing_twice(promtool: Path, tmp_path: Path) -> None:
    series = {
        backlog(f'{STUDIO},pod="a"'): "90x20 stale",
        requested(f'{STUDIO},pod="a"'): "500x20 stale",
        backlog(f'{STUDIO},pod="b"'): "_x22 90x60",
        requested(f'{STUDIO},pod="b"'): "_x22 0x60",
    }
    answer(promtool, tmp_path, series, [90])


def test_no_data_is_no_answer(promtool: Path, tmp_path: Path) -> None:
    answer(promtool, tmp_path, {requested(): "0+30x100"}, [])
    answer(promtool, tmp_path, {backlog(): "90x4 stale"}, [])
