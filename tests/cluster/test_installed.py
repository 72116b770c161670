"""The tools of the end-to-end tests, where they can be wrong without anyone noticing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from easel_installed import counting, killing
from easel_installed.places import image, site_of
from easel_installed.waiting import until

from easel_api.errors import EnvironmentFault, Stalled

PAGE = b"""# HELP easel_engine_generations_total Generations that ended
# TYPE easel_engine_generations_total counter
easel_engine_generations_total{model="easel",version="1",outcome="succeeded"} 12
easel_engine_generations_total{model="easel",version="1",outcome="failed"} 1
# TYPE easel_engine_steps_total counter
easel_engine_steps_total{model="easel",version="1"} 96
# TYPE nv_inference_count counter
nv_inference_count{model="easel",version="1"} 7
"""


@pytest.fixture
def metrics_page() -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_counters_are_read_by_name_and_label(metrics_page: str) -> None:
    assert counting.read(metrics_page) == {
        "easel_engine_generations_total{outcome=succeeded}": 12,
        "easel_engine_generations_total{outcome=failed}": 1,
        "easel_engine_steps_total": 96,
    }


def test_a_page_that_is_gone_is_no_reading() -> None:
    assert counting.read("http://127.0.0.1:9") is None


def test_waiting_ends_at_its_deadline_and_says_for_what() -> None:
    with pytest.raises(Stalled, match="the end of time"):
        until("the end of time", lambda: None, seconds=0.05, period=0.01)


def test_waiting_ends_with_what_was_seen() -> None:
    answers = iter(["", "", "seen"])
    assert until("an answer", lambda: next(answers), seconds=5, period=0) == "seen"


@pytest.mark.parametrize("driver", ["pod1-2", "pod1_2.slice"])
def test_processes_of_a_pod_are_found_by_its_uid(tmp_path: Path, driver: str) -> None:
    for pid, cgroup in (
        ("7", f"/kubepods/burstable/{driver}/abc"),
        ("8", "/kubepods/burstable/pod9-9/abc"),
        ("9", "/user"),
    ):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"4:memory:{cgroup}\n0::{cgroup}\n")
    (tmp_path / "10").mkdir()  # ended between the listing and the look
    assert killing.processes_of("1-2", tmp_path) == [7]


def test_a_cluster_of_ones_own_needs_a_bucket(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="EASEL_S3_ENDPOINT"):
        site_of(tmp_path / "kubeconfig", {})


def test_an_image_reference_keeps_its_registrys_port() -> None:
    assert image("registry.example:5000/easel/operator:1.2") == {
        "repository": "registry.example:5000/easel/operator",
        "tag": "1.2",
    }
