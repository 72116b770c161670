"""A model's pods go in the middle of a job, as they do every day: nothing is lost, and nothing is made twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from easel_cluster.namespaces import NODE_NAME
from easel_installed import manifests
from easel_installed.counting import Counting
from easel_installed.site import RUNTIME, Site
from easel_installed.waiting import until

from easel_inference import miniature
from easel_inference.engine.folders import digest_of

pytestmark = pytest.mark.cluster

KIND = "modeldeployments.easel.dev"
ITEMS = 64
MADE = "easel_engine_generations_total{outcome=succeeded}"


def names(site: Site, model: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in site.pods(RUNTIME, model=model)}


def disturbed(site: Site, model: str, name: str, seed: int, disturb: Callable[[], None]) -> None:
    """A job of 64 items whose model is disturbed in its middle; each item is made once and stored."""
    with Counting(site.kubectl, site.namespace) as counting:
        counting.wait_for_first_reading()
        earlier = counting.total(MADE)
        site.apply(manifests.job(name, model, site.store, count=ITEMS, steps=16, first_seed=seed))
        until("the first items", lambda: counting.total(MADE) - earlier >= 4, seconds=120, period=0.05)
        disturb()
        assert counting.total(MADE) - earlier < ITEMS, "too fast: the job must still be in its middle"
        ended = site.wait_for_end(name, seconds=300)
        assert ended["status"]["phase"] == "Complete", ended["status"]
        assert len(set(site.bucket.pictures(site.folder(name)).values())) == ITEMS
        counting.settle()
        assert counting.total(MADE) - earlier == ITEMS


def test_a_drained_node_loses_nothing_and_makes_nothing_twice(site: Site, model: str) -> None:
    before = names(site, model)

    def drain() -> None:
        selector = f"--pod-selector=easel.dev/model-deployment={model}"
        try:
            site.kubectl("drain", NODE_NAME, selector, "--delete-emptydir-data", "--timeout=120s", timeout=150)
        finally:
            site.kubectl("uncordon", NODE_NAME)

    disturbed(site, model, "drained", 21000, drain)
    assert not names(site, model) & before


def test_a_rollout_loses_nothing_and_makes_nothing_twice(site: Site, model: str) -> None:
    before = names(site, model)

    def roll_out() -> None:
        change(site, model, {"engine": {"maxConcurrentRequests": 12}})
        until("the new replica", lambda: names(site, model) - before, seconds=60)

    disturbed(site, model, "rolled-out", 22000, roll_out)
    assert not names(site, model) & before


def test_a_scale_down_loses_nothing_and_makes_nothing_twice(site: Site, model: str) -> None:
    site.kubectl("scale", KIND, model, "--replicas=2", "-n", site.namespace)
    until("two replicas", lambda: len(names(site, model)) == 2 and ready(site, model) == 2, seconds=240)

    def scale_down() -> None:
        site.kubectl("scale", KIND, model, "--replicas=1", "-n", site.namespace)
        until("one replica", lambda: len(names(site, model)) == 1, seconds=60)

    disturbed(site, model, "scaled-down", 23000, scale_down)


def change(site: Site, model: str, spec: dict[str, Any]) -> None:
    site.kubectl("patch", KIND, model, "-n", site.namespace, "--type=merge", "-p", json.dumps({"spec": spec}))


def ready(site: Site, model: str) -> int:
    return int(site.get(KIND, model).get("status", {}).get("replicas", {}).get("ready", 0))


def test_a_revision_that_cannot_be_loaded_never_takes_down_the_one_that_serves(site: Site, model: str) -> None:
    change(site, model, {"rollout": {"strategy": "Surge"}})
    before = names(site, model)

    def spoil() -> None:
        change(site, model, {"model": {"digest": "sha256:" + "0" * 64}})
        until("the new replica", lambda: names(site, model) - before, seconds=60)

    disturbed(site, model, "beside-a-failure", 24000, spoil)
    until("the refusal", lambda: status(site, model).get("lastFailure"), seconds=120)
    said = {each["type"]: (each["status"], each["reason"]) for each in status(site, model)["conditions"]}
    assert said["Ready"] == ("True", "Serving")
    assert said["ModelLoaded"] == ("False", "InvalidInput")
    assert said["Stalled"] == ("True", "InvalidInput")
    assert "spec.model.digest" in status(site, model)["lastFailure"]["message"]
    assert before < names(site, model)
    digest = digest_of(miniature.WEIGHTS / "base")
    assert status(site, model)["previous"] == {"digest": digest, "replicas": 1}

    change(site, model, {"model": {"digest": None}})
    until("the failure to be over", lambda: "lastFailure" not in status(site, model), seconds=120)
    until("the failed replica to go", lambda: names(site, model) == before, seconds=120)
    change(site, model, {"rollout": {"strategy": "Drain"}})


def test_of_two_replicas_a_revision_that_cannot_be_loaded_takes_one(site: Site, model: str) -> None:
    """`Drain` has no second GPU to try it on; the other replica goes on."""
    change(site, model, {"replicas": 2})
    until("two replicas", lambda: len(names(site, model)) == 2 and ready(site, model) == 2, seconds=240)
    before = names(site, model)

    def spoil() -> None:
        change(site, model, {"model": {"digest": "sha256:" + "0" * 64}})
        until("the new replica", lambda: names(site, model) - before, seconds=120)

    disturbed(site, model, "on-the-other-one", 25000, spoil)
    until("the refusal", lambda: status(site, model).get("lastFailure"), seconds=120)
    assert len(names(site, model) & before) == 1
    said = {each["type"]: (each["status"], each["reason"]) for each in status(site, model)["conditions"]}
    assert said["Ready"] == ("True", "Serving")
    assert said["Stalled"] == ("True", "InvalidInput")
    assert status(site, model)["previous"]["replicas"] == 1

    change(site, model, {"model": {"digest": None}, "replicas": 1})
    until("the failure to be over", lambda: "lastFailure" not in status(site, model), seconds=120)
    until("one replica", lambda: len(names(site, model)) == 1 and ready(site, model) == 1, seconds=120)


def status(site: Site, model: str) -> dict[str, Any]:
    return dict(site.get(KIND, model).get("status", {}))
