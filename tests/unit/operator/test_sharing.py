"""Which Providers of other namespaces a job may use, as the operator sees it; a real API server sees the rest."""

from __future__ import annotations

from typing import Any

import pytest
from operator_views import configuration

from easel_inference.catalog.merging import offer_of
from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.core.actions import Action
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.observed import Probe, Problem, Routes, UsableProvider
from easel_operator.core.resources import (
    GENERATION_CLASSES,
    GENERATION_JOBS,
    NAMESPACES,
    PODS,
    PROVIDERS,
    ROLE_BINDINGS,
    Key,
    Reference,
    Resource,
)
from easel_operator.shell.cache import Cache
from easel_operator.shell.demands import Demands
from easel_operator.shell.observing import Observer
from easel_operator.shell.probing import Prober

Raw = dict[str, Any]
CORE = "stability.stable-image-core-v1:1"
METRICS = PrometheusMetrics()
JOB = Key(GENERATION_JOBS.kind, "art", "mugs")
SPEC: Raw = {
    "task": "text-to-image",
    "generationClassName": "studio",
    "prompts": [{"text": "a red mug"}],
    "output": {"store": {"s3": {"bucket": "art"}}},
}


class Nobody:
    """No runtime answers."""

    async def model(self, address: str) -> Probe:
        return None

    async def load(self, address: str) -> int | None:
        return None


class World:
    """What the watches have seen, and the one class that there is."""

    def __init__(self, *namespaces: str, shares: bool = True, home: str | None = "platform") -> None:
        self.cache, settings = Cache(), configuration(namespaces=namespaces, providers_across_namespaces=shares)
        backend = {"provider": {"name": "west"} | ({"namespace": home} if home else {})}
        self.there = {Reference(GENERATION_CLASSES, "", "studio"): {"spec": {"backends": [backend]}}}
        self.observer = Observer(
            self.cache,
            Demands(METRICS),
            AdmissionQueue(settings.admission),
            Prober(Nobody()),
            self,
            lambda _: (),
            offer_of,
            settings,
        )
        for each in namespaces:
            self.see(NAMESPACES, "", each, labels={"team": each})

    def see(
        self, resource: Resource, namespace: str, name: str, labels: dict[str, str] | None = None, **more: Any
    ) -> Raw:
        place = {"namespace": namespace} if namespace else {}
        raw = {"metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels or {}, **place}, **more}
        self.cache.put(resource, raw)
        return raw

    def backends(self, *backends: Raw) -> None:
        """Of the class, in place of the one Provider."""
        self.there[Reference(GENERATION_CLASSES, "", "studio")] = {"spec": {"backends": list(backends)}}

    def provider(self, namespace: str = "platform", **spec: Any) -> Raw:
        ready = {"type": "Ready", "status": "True", "reason": "Configured", "lastTransitionTime": "t"}
        body = {
            "family": "BedrockInvoke",
            "region": "us-west-2",
            "credentials": {"secretRef": {"name": "aws"}},
            "offers": [{"model": CORE}],
        }
        return self.see(PROVIDERS, namespace, "west", spec=body | spec, status={"conditions": [ready]})

    def bound(self, *namespaces: str) -> Raw:
        subjects = [{"kind": "ServiceAccount", "name": "easel-worker", "namespace": each} for each in namespaces]
        labels = {"easel.dev/provider": "west"}
        return self.see(ROLE_BINDINGS, "platform", "easel-provider-west", labels, subjects=subjects)

    async def routes(self) -> Routes:
        found = (await self.observer.job(JOB, {"metadata": {}, "spec": SPEC})).routes
        assert isinstance(found, Routes)
        return found

    async def get(self, reference: Reference) -> Raw | None:
        return self.there.get(reference)

    async def perform(self, action: Action) -> None:
        raise AssertionError("nobody writes here")

    async def versions(self, resource: Resource, namespace: str, selector: str) -> dict[str, str]:
        raise AssertionError("nobody audits here")

    async def serves(self, resource: Resource) -> bool:
        return True


UNSELECTED = "its namespaceSelector does not select namespace art; let it, or name another Provider"
BY_TEAM = {"matchLabels": {"team": "art"}}


async def test_a_provider_of_another_namespace_is_used_by_its_full_name_once_the_rights_are_there() -> None:
    world = World("art", "platform")
    world.provider(namespaceSelector=BY_TEAM)
    assert (await world.routes()).unusable == (
        "spec.backends[0].provider: Provider west.platform: the workers of namespace art have no rights to it yet",
    )
    world.bound("art")
    assert (await world.routes()).providers == (UsableProvider("west.platform", "aws"),)


async def test_one_of_the_own_namespace_keeps_its_name_however_it_is_named() -> None:
    for home in (None, "art"):
        world = World("art", "platform", home=home)
        world.provider("art")
        assert (await world.routes()).providers == (UsableProvider("west", "aws"),)


@pytest.mark.parametrize(
    ("world", "spec", "says"),
    [
        (World("art", "platform"), {}, UNSELECTED),
        (
            World("art", "platform"),
            {"namespaceSelector": {"matchLabels": {"team": "lab"}}},
            UNSELECTED,
        ),
        (
            World("art"),
            {"namespaceSelector": {}},
            "the operator does not watch namespace platform; name a Provider of one that it watches",
        ),
        (
            World("art", "platform", shares=False),
            {"namespaceSelector": {}},
            "the platform shares no Providers among namespaces (providers.acrossNamespaces); name one of namespace art",
        ),
    ],
    ids=["none", "another", "unwatched", "off"],
)
async def test_one_that_is_not_for_this_namespace_says_why(world: World, spec: Raw, says: str) -> None:
    world.provider(**spec)
    world.bound("art")
    assert (await world.routes()).unusable == (f"spec.backends[0].provider: Provider west.platform: {says}",)


async def test_one_that_is_not_there_is_named_in_full() -> None:
    assert (await World("art", "platform").routes()).unusable == (
        "spec.backends[0].provider: there is no Provider west.platform; create it, or name another",
    )


IDLE = "us.stability.stable-image-erase-object-v1:0"
FILLS = "us.stability.stable-image-inpaint-v1:0"


@pytest.mark.parametrize(
    ("offers", "models", "says"),
    [
        ([CORE], ["core"], f"models: Provider west offers no core; name what it offers for text-to-image: {CORE}"),
        (
            [CORE, FILLS],
            ["core", FILLS],
            f"models: Provider west offers no core; name what it offers for text-to-image: {CORE}",
        ),
        ([FILLS], ["core"], f"models: Provider west offers no core; name what it offers: {FILLS}"),
        ([CORE, IDLE], [IDLE], f"models: {IDLE} of Provider west can do no text-to-image; name what can: {CORE}"),
        (
            [IDLE],
            [],
            "provider: no offer of Provider west can do text-to-image; add one to its spec.offers that can, or name another Provider",
        ),
    ],
    ids=["typo", "typo-beside", "typo-and-task", "task", "none"],
)
async def test_models_that_a_class_cannot_have_are_told_by_their_field(
    offers: list[str], models: list[str], says: str
) -> None:
    world = World("art", home=None)
    world.provider("art", offers=[{"model": each} for each in offers])
    world.backends({"modelDeployment": {"name": "studio"}}, {"provider": {"name": "west"}, "models": models})
    assert (await world.routes()).unusable == (f"spec.backends[1].{says}",)


async def test_a_provider_is_used_for_the_models_that_a_class_names_rightly() -> None:
    world = World("art", home=None)
    world.provider("art")
    west = {"name": "west"}
    world.backends(
        {"provider": west, "models": ["core"]}, {"provider": west}, {"provider": west, "models": [CORE, "x"]}
    )
    found = await world.routes()
    assert found.providers == (UsableProvider("west", "aws"),)
    assert [each.partition(":")[0] for each in found.unusable] == ["spec.backends[0].models"]


async def test_a_class_that_cannot_be_read_is_named() -> None:
    world = World("art")
    world.backends()
    found = (await world.observer.job(JOB, {"metadata": {}, "spec": SPEC})).routes
    assert isinstance(found, Problem)
    assert found.message.startswith("GenerationClass studio: spec.backends")


async def test_what_is_said_of_many_models_is_short() -> None:
    world = World("art", home=None)
    named = [f"{each:0120}" for each in range(40)]
    world.provider("art", family="SageMaker", offers=[{"model": each, "tasks": ["upscale"]} for each in named[:20]])
    world.backends({"provider": {"name": "west"}, "models": named[20:36]})
    (told,) = (await world.routes()).unusable
    assert len(told) < 600
    assert told.endswith("(and 19 more)")


async def test_those_who_may_use_it_are_the_watched_namespaces_that_its_selector_selects() -> None:
    key = Key(PROVIDERS.kind, "platform", "west")
    for selector, users in (({}, ("art", "lab")), (BY_TEAM, ("art",)), (None, ())):
        world = World("art", "lab", "platform")
        raw = world.provider(**({} if selector is None else {"namespaceSelector": selector}))
        assert (await world.observer.provider(key, raw)).users == users


async def test_jobs_of_every_watched_namespace_keep_their_accounts_open() -> None:
    world = World("art", "platform")
    spec = {"generationClassName": "studio"}
    world.see(GENERATION_JOBS, "art", "works", spec=spec)
    world.see(GENERATION_JOBS, "art", "over", spec=spec, status={"completionTime": "t"})
    accounts = [{"holder": holder, "job": f"{place}/{holder}"} for holder, place in (("works", "art"), ("over", "art"))]
    accounts += [{"holder": "gone", "job": "art/gone"}, {"holder": "unseen", "job": "elsewhere/unseen"}]
    raw = world.provider() | {"status": {"spend": {"accounts": accounts}}}
    found = await world.observer.provider(Key(PROVIDERS.kind, "platform", "west"), raw)
    assert found.underway == {"works", "unseen"}


def test_changes_are_told_to_whom_they_are_about() -> None:
    world, job = World("art", "platform"), Key(GENERATION_JOBS.kind, "art", "mugs")
    west = Key(PROVIDERS.kind, "platform", "west")
    world.see(GENERATION_JOBS, "art", "mugs", spec=SPEC)
    opened = world.provider(namespaceSelector=BY_TEAM)
    assert set(world.cache.affected(PROVIDERS, opened)) == {west, job}
    assert set(world.cache.affected(ROLE_BINDINGS, world.bound("art"))) == {west, job}
    told = world.see(NAMESPACES, "", "art", {"team": "art"})
    assert set(world.cache.affected(NAMESPACES, told)) == {west, job}
    closed = world.provider(spend={"perDay": "1"})
    assert set(world.cache.affected(PROVIDERS, closed)) == {west}
    over = world.see(GENERATION_JOBS, "art", "mugs", spec=SPEC, status={"completionTime": "t"})
    assert set(world.cache.affected(GENERATION_JOBS, over)) == {job}, "it has no account there"
    account = {"holder": "mugs", "job": "art/mugs"}
    world.see(PROVIDERS, "platform", "west", status={"spend": {"accounts": [account]}})
    assert set(world.cache.affected(GENERATION_JOBS, over)) == {job, west}
    pod = world.see(PODS, "art", "mugs-x1", {"easel.dev/generation-job": "mugs"})
    assert set(world.cache.affected(PODS, pod)) == {job, west}, "its last worker may have ended"
    world.see(GENERATION_JOBS, "art", "mugs", spec=SPEC)
    assert set(world.cache.affected(PODS, pod)) == {job}
