"""Any pod may die in the middle: the job ends complete, and nothing that was finished is made again."""

from __future__ import annotations

from typing import Any

import pytest
from easel_installed import manifests
from easel_installed.counting import Counting
from easel_installed.killing import kill
from easel_installed.site import OPERATOR, RUNTIME, SYSTEM, WORKER, Site
from easel_installed.waiting import until

pytestmark = pytest.mark.cluster

ITEMS = 64
MADE = "easel_engine_generations_total{outcome=succeeded}"


def start(site: Site, model: str, name: str, first_seed: int) -> None:
    """A job of 64 items. Each test has seeds of its own: the engine gives known results again without making them."""
    site.apply(manifests.job(name, model, site.store, count=ITEMS, first_seed=first_seed))


def stored(site: Site, name: str) -> dict[str, Any]:
    """What was delivered for each item whose object is in the bucket, as the manifest has it.

    The manifest names an item before its object is stored, and marks it as verified some time after.
    """
    keys = set(site.bucket.keys(site.folder(name)))
    items = site.bucket.manifest(site.folder(name)).get("items", [])
    return {item["id"]: item["delivered"] for item in items if item.get("delivered", {}).get("key") in keys}


def in_the_middle(site: Site, name: str) -> dict[str, Any]:
    """Wait until some of the job is finished and much is not; what is finished."""

    def some() -> dict[str, Any]:
        finished = stored(site, name)
        return finished if len(finished) >= 8 else {}

    finished = until(f"the first items of {name}", some, seconds=120, period=0.05)
    assert len(finished) <= 48, "too fast: the job must still be in its middle to be killed there"
    return finished


def check(site: Site, name: str, before: dict[str, Any]) -> None:
    """Complete, with exactly 64 distinct objects; what was finished before is untouched."""
    job = site.wait_for_end(name, seconds=240)
    assert job["status"]["phase"] == "Complete", job["status"]
    assert job["status"]["done"] == f"{ITEMS}/{ITEMS}"
    pictures = site.bucket.pictures(site.folder(name))
    assert len(pictures) == len(set(pictures.values())) == ITEMS
    assert site.bucket.keys(site.folder(name)) == sorted([*pictures, f"{site.folder(name)}manifest.json"])
    after = stored(site, name)
    assert {item_id: after[item_id] for item_id in before} == before


def test_a_killed_worker_makes_nothing_twice(site: Site, model: str, counting: Counting) -> None:
    earlier = counting.total(MADE)
    start(site, model, "killed-worker", first_seed=1000)
    before = in_the_middle(site, "killed-worker")
    (worker,) = site.pods(WORKER, job="killed-worker")
    kill(site.kubectl, worker)
    check(site, "killed-worker", before)
    counting.settle()
    assert counting.total(MADE) - earlier == ITEMS


def test_a_killed_operator_is_not_missed(site: Site, model: str, counting: Counting) -> None:
    earlier = counting.total(MADE)
    start(site, model, "killed-operator", first_seed=2000)
    before = in_the_middle(site, "killed-operator")
    (operator,) = site.pods(OPERATOR, namespace=SYSTEM)
    (worker,) = site.pods(WORKER, job="killed-operator")
    kill(site.kubectl, operator)
    check(site, "killed-operator", before)
    counting.settle()
    assert counting.total(MADE) - earlier == ITEMS
    # The worker never noticed.
    assert site.bucket.manifest(site.folder("killed-operator"))
    assert worker["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in site.all_pods(WORKER, job="killed-operator")}


def test_a_killed_model_makes_only_unfinished_items_again(site: Site, model: str, counting: Counting) -> None:
    earlier = counting.total(MADE)
    start(site, model, "killed-model", first_seed=3000)
    in_the_middle(site, "killed-model")
    (runtime,) = site.pods(RUNTIME, model=model)

    def nothing_on_the_way() -> dict[str, Any]:
        """What an engine finished and could not hand over before it died is lost with it, so kill it when all is handed over."""
        finished = stored(site, "killed-model")
        return finished if counting.total(MADE) - earlier == len(finished) else {}

    before = until("a moment with nothing on the way", nothing_on_the_way, seconds=60, period=0.02)
    assert len(before) < ITEMS
    kill(site.kubectl, runtime)
    check(site, "killed-model", before)
    counting.settle()
    assert counting.total(MADE) - earlier == ITEMS
    assert len(counting.readings) >= 2, "both lives of the engine were counted"
