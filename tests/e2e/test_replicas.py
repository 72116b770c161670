"""A model with several replicas: a job uses all of them."""

from __future__ import annotations

import pytest
from easel_installed import manifests
from easel_installed.counting import Counting
from easel_installed.site import RUNTIME, Site
from easel_installed.waiting import until

pytestmark = pytest.mark.cluster

MADE = "easel_engine_generations_total{outcome=succeeded}"


def test_a_job_spreads_over_both_replicas(site: Site) -> None:
    site.apply(manifests.model("pair", replicas=2))
    try:
        until("two replicas", lambda: ready_replicas(site) == 2, seconds=240)
        pods = {pod["metadata"]["name"] for pod in site.pods(RUNTIME, model="pair")}
        with Counting(site.kubectl, site.namespace) as counting:
            counting.wait_for_first_reading()
            site.apply(manifests.job("shared", "pair", site.store, count=32, first_seed=9000))
            assert site.wait_for_end("shared", seconds=240)["status"]["phase"] == "Complete"
            counting.settle()
        shares = {pod: count for pod, count in counting.by_pod(MADE).items() if pod in pods}
        assert len(shares) == 2
        assert min(shares.values()) > 0
        assert sum(shares.values()) == 32
    finally:
        site.delete("modeldeployments.easel.dev", "pair")


def ready_replicas(site: Site) -> int:
    return int(site.get("modeldeployments.easel.dev", "pair").get("status", {}).get("replicas", {}).get("ready", 0))
