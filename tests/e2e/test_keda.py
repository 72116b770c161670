"""A model that KEDA scales: its operator and adapter, built from its Go module, with real Triton pods and a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from easel_cluster.cluster import Cluster
from easel_cluster.keda import keda
from easel_cluster.prometheus import PrometheusProcess
from easel_installed import manifests, scaled
from easel_installed.site import Site, condition
from easel_installed.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture
def sleeper(
    site: Site,
    served: str,
    cluster: Cluster,
    prometheus: PrometheusProcess,
    keda_programs: dict[str, Path],
    tmp_path: Path,
) -> Iterator[str]:
    """A model that was loaded once and sleeps, by KEDA's doing."""
    del prometheus
    with keda(cluster, keda_programs, tmp_path / "keda"):
        site.kubectl("scale", scaled.KIND, served, "--replicas=0", "-n", site.namespace)
        scaled.apply(site, engine="KEDA")
        yield scaled.NAME
        site.delete(scaled.KIND, scaled.NAME)
        until("the ScaledObject to be gone", lambda: not site.get("scaledobjects.keda.sh", scaled.NAME), seconds=60)
    site.kubectl("scale", scaled.KIND, served, "--replicas=1", "-n", site.namespace)


def owners_of_replicas(site: Site) -> set[str]:
    """Who says how many replicas the Deployment has."""
    text = site.kubectl("get", "deployment", scaled.NAME, "-n", site.namespace, "-o", "json", "--show-managed-fields")
    managed = json.loads(text)["metadata"]["managedFields"]
    return {
        entry["manager"]
        for entry in managed
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) and entry.get("subresource") != "status"
    }


def test_keda_scales_zero_one_three_zero(site: Site, sleeper: str) -> None:
    site.apply(manifests.job("burst-keda", sleeper, site.store, count=240, steps=8, first_seed=15000))
    until("the first replica", lambda: scaled.pods(site), seconds=60)
    until("three replicas", lambda: len(scaled.pods(site)) == 3, seconds=180)
    assert "easel-operator" not in owners_of_replicas(site)
    ended = site.wait_for_end("burst-keda", seconds=400)
    assert ended["status"]["phase"] == "Complete"
    assert ended["status"]["items"]["succeeded"] == 240
    assert scaled.reason(site, "AutoscalingActive") == "DemandKnown"
    scaled.await_sleep(site)


def test_a_job_is_made_by_keda_while_prometheus_is_down(
    site: Site, sleeper: str, prometheus: PrometheusProcess
) -> None:
    prometheus.stop()
    site.apply(manifests.job("blind-keda", sleeper, site.store, count=8, steps=8, first_seed=17000))
    assert site.wait_for_end("blind-keda", seconds=240)["status"]["phase"] == "Complete"
    until(
        "blindness to be told",
        lambda: condition(site.get(scaled.KIND, scaled.NAME), "AutoscalingActive") == "False",
        seconds=150,
    )
    assert len(scaled.pods(site)) == 1
