"""A model that is scaled by demand: real Triton pods on a real node, a real Prometheus beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from easel_cluster.prometheus import PrometheusProcess
from easel_installed import manifests, scaled
from easel_installed.counting import Counting
from easel_installed.site import Site, condition
from easel_installed.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

MADE = "easel_engine_generations_total{outcome=succeeded}"


@pytest.fixture
def sleeper(site: Site, served: str, prometheus: PrometheusProcess) -> Iterator[str]:
    """A model that was loaded once and sleeps; the others stand aside, for the machine is small."""
    del prometheus
    site.kubectl("scale", scaled.KIND, served, "--replicas=0", "-n", site.namespace)
    scaled.apply(site)
    yield scaled.NAME
    site.delete(scaled.KIND, scaled.NAME)
    site.kubectl("scale", scaled.KIND, served, "--replicas=1", "-n", site.namespace)


def test_zero_one_three_zero(site: Site, sleeper: str) -> None:
    with Counting(site.kubectl, site.namespace) as counting:
        site.apply(manifests.job("burst", sleeper, site.store, count=240, steps=8, first_seed=5000))
        until("the first replica", lambda: scaled.pods(site), seconds=10)
        until("three replicas", lambda: len(scaled.pods(site)) == 3, seconds=120)
        assert scaled.reason(site, "AutoscalingActive") == "DemandKnown"
        ended = site.wait_for_end("burst", seconds=400)
    assert ended["status"]["phase"] == "Complete"
    assert ended["status"]["items"]["succeeded"] == 240
    shares = {pod: count for pod, count in counting.by_pod(MADE).items() if pod.startswith(scaled.NAME) and count}
    assert len(shares) == 3, shares
    assert min(shares.values()) >= 8, f"a replica that came later did too little: {shares}"
    assert sum(shares.values()) == 240, f"an item was made twice: {shares}"
    scaled.await_sleep(site)


def test_a_job_is_made_while_prometheus_is_down(site: Site, sleeper: str, prometheus: PrometheusProcess) -> None:
    prometheus.stop()
    site.apply(manifests.job("blind", sleeper, site.store, count=8, steps=8, first_seed=7000))
    waiting = until("the job to say why it waits", lambda: condition(site.job("blind"), "Ready", "message"), seconds=10)
    assert sleeper in waiting
    assert site.wait_for_end("blind", seconds=240)["status"]["phase"] == "Complete"
    until(
        "blindness to be told", lambda: scaled.reason(site, "AutoscalingActive") == "PrometheusUnreachable", seconds=120
    )
    assert len(scaled.pods(site)) == 1
    prometheus.start()
    scaled.await_sleep(site)
