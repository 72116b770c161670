"""What the operator makes of Prometheus' answers: the real one's, and those of something else at its address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from easel_cluster import processes
from easel_cluster.prometheus import PrometheusProcess
from operating.lying import Liar, http

from easel_operator.adapters import prometheus as adapter
from easel_operator.adapters.prometheus import HttpPrometheus
from easel_operator.core.scaling.policy import Blind


def demand(url: str, query: str = "vector(1)") -> float | Blind:
    async def ask() -> float | Blind:
        client = HttpPrometheus(url)
        try:
            return await client.demand(query)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def real(prometheus_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    (port,) = processes.free_ports(1)
    process = PrometheusProcess(prometheus_program, tmp_path_factory.mktemp("prometheus"), port).start()
    yield process
    process.stop()


@pytest.mark.parametrize("query", ["vector(2.5)", "2.5", "sum(vector(2) + 0.5)"])
def test_one_number_is_the_demand(real: PrometheusProcess, query: str) -> None:
    assert demand(real.url, query) == 2.5
    assert demand(f"{real.url}/", query) == 2.5


@pytest.mark.parametrize(
    ("query", "reason", "says"),
    [
        ("there_is_no_such_series", "NoData", "is the operator scraped"),
        ('label_replace(vector(1), "a", "b", "", "") or vector(2)', "AmbiguousData", "more than one element"),
        ("vector(0) / vector(0)", "InvalidAnswer", "NaN"),
        ("vector(1) / vector(0)", "InvalidAnswer", "+Inf"),
        ("vector(-1)", "InvalidAnswer", "-1"),
        ("sum(", "InvalidQuery", "parse error"),
        ("up[5m]", "InvalidQuery", "matrix"),
        ('"text"', "InvalidQuery", "string"),
    ],
)
def test_any_other_answer_is_a_reason(real: PrometheusProcess, query: str, reason: str, says: str) -> None:
    found = demand(real.url, query)
    assert isinstance(found, Blind)
    assert found.reason == reason
    assert says in found.message


def test_nobody_there() -> None:
    (port,) = processes.free_ports(1)
    found = demand(f"http://127.0.0.1:{port}")
    assert found == Blind("PrometheusUnreachable", f"http://127.0.0.1:{port}: Connection refused")


def test_no_such_host() -> None:
    found = demand("http://prometheus.invalid:9090")
    assert isinstance(found, Blind)
    assert found.reason == "PrometheusUnreachable"


def test_no_url() -> None:
    found = demand("")
    assert isinstance(found, Blind)
    assert found.reason == "PrometheusNotConfigured"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http("500 Internal Server Error", ""), "PrometheusUnreachable"),
        (http("503 Service Unavailable", "<html>starting</html>"), "PrometheusUnreachable"),
        (http("422 x", {"status": "error", "errorType": "execution", "error": "too many samples"}), "PrometheusFails"),
        (http("200 OK", "<html>a login page</html>"), "InvalidAnswer"),
        (http("302 Found\r\nLocation: http://127.0.0.1:1/", ""), "InvalidAnswer"),
        (http("200 OK", {"status": "success"}), "InvalidAnswer"),
        (http("200 OK", []), "InvalidAnswer"),
        (http("200 OK", {"status": "success", "data": {"resultType": "vector", "result": [{}]}}), "InvalidAnswer"),
        (
            http("200 OK", {"status": "success", "data": {"resultType": "scalar", "result": [0, "many"]}}),
            "InvalidAnswer",
        ),
        (b"nonsense", "PrometheusUnreachable"),
        (b"", "PrometheusUnreachable"),
    ],
)
def test_something_else_at_its_address(answer: bytes, reason: str) -> None:
    with Liar(answer) as liar:
        found = demand(liar.url)
    assert isinstance(found, Blind)
    assert found.reason == reason, found


def test_a_slow_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "SECONDS", 0.3)
    with Liar(http("200 OK", "{}"), seconds=2) as liar:
        found = demand(liar.url)
    assert isinstance(found, Blind)
    assert found.reason == "PrometheusUnreachable"
    assert "no answer" in found.message


def test_a_status_never_tells_a_changing_message() -> None:
    """A message that changed with each poll would be a write with each poll."""
    with Liar(b"") as liar:
        assert demand(liar.url) == demand(liar.url)
