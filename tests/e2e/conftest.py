"""Easel on a real node: installed once for the session, used by every test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_cluster.cluster import Cluster
from easel_cluster.namespaces import HOST_ADDRESS
from easel_cluster.prometheus import PrometheusProcess
from easel_installed import manifests
from easel_installed.counting import Counting
from easel_installed.places import PROMETHEUS_PORT, load_images, site_on
from easel_installed.site import SYSTEM, Site

MODEL = "studio-mini"


@pytest.fixture(scope="session")
def site(cluster: Cluster, progress: Callable[[str], None]) -> Site:
    """A namespace in which the checkout's own images run, with nothing in it yet."""
    load_images(cluster, progress)
    made = site_on(cluster, progress)
    made.install()
    made.clear()
    return made


@pytest.fixture(scope="session")
def served(site: Site) -> str:
    """Name of a model that serves; tests that kill it wait for it themselves."""
    site.apply(manifests.model(MODEL, motion=True))
    site.wait_for_model(MODEL)
    return MODEL


@pytest.fixture
def model(site: Site, served: str) -> str:
    """The same, serving again after whatever the test before did to it."""
    site.wait_for_model(served)
    return served


@pytest.fixture
def counting(site: Site, model: str) -> Iterator[Counting]:
    with Counting(site.kubectl, site.namespace) as counts:
        counts.wait_for_first_reading()
        yield counts


@pytest.fixture
def prometheus(site: Site, prometheus_program: Path, tmp_path: Path) -> Iterator[PrometheusProcess]:
    service = json.loads(site.kubectl("get", "service", "easel-operator", "-n", SYSTEM, "-o", "json"))
    target = f"{service['spec']['clusterIP']}:9090"
    process = PrometheusProcess(prometheus_program, tmp_path, PROMETHEUS_PORT, [target], HOST_ADDRESS).start()
    yield process
    process.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test shows what the cluster says, since the cluster is gone when a person reads it."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and site is not None:
        report.sections.append(("what the cluster says", site.diagnosis()))
    return report
