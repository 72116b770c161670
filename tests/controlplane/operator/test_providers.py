"""Providers and jobs of a class: the operator, a real API server with its controllers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from operating.clock import Clock
from operating.place import Place
from operating.process import OperatorProcess, until
from operating.rights import grant

if TYPE_CHECKING:
    from easel_cluster.apionly import ApiServer

    from conftest import Start

pytestmark = pytest.mark.apiserver

CORE = "stability.stable-image-core-v1:1"
CANVAS = "amazon.nova-canvas-v1:0"
SECRET = {"secretRef": {"name": "aws"}}


def provider(place: Place, name: str, **spec: Any) -> None:
    body = {
        "family": "BedrockInvoke",
        "region": "us-west-2",
        "credentials": SECRET,
        "offers": [{"model": CORE}],
    } | spec
    place.kubectl.apply(
        {"apiVersion": "easel.dev/v1alpha1", "kind": "Provider", "metadata": place.named(name), "spec": body}
    )


def generation_class(place: Place, name: str, *backends: dict[str, Any], **spec: Any) -> str:
    """A class with the namespace in its name, since classes are of the whole cluster."""
    name = f"{name}-{place.namespace}"
    body = {"backends": list(backends)} | spec
    place.kubectl.apply(
        {"apiVersion": "easel.dev/v1alpha1", "kind": "GenerationClass", "metadata": {"name": name}, "spec": body}
    )
    return name


def class_job(place: Place, name: str, class_name: str, **spec: Any) -> None:
    body = {
        "task": "text-to-image",
        "generationClassName": class_name,
        "prompts": [{"text": "a red mug"}],
        "output": {"store": {"s3": {"bucket": "art", "endpoint": "http://s3.invalid"}}},
    } | spec
    place.kubectl.apply(
        {"apiVersion": "easel.dev/v1alpha1", "kind": "GenerationJob", "metadata": place.named(name), "spec": body}
    )


def test_a_provider_says_what_of_it_can_be_used(working: Place) -> None:
    provider(working, "good")
    working.await_condition("prov", "good", "Ready", "True", "Configured")
    working.await_condition("prov", "good", "OffersServed", "True", "Served")
    status: Any = (working.get("prov", "good") or {})["status"]
    assert status["offers"] == [{"model": CORE, "state": "Active"}]


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"offers": [{"model": CANVAS}]}, "ModelRetired", f"{CANVAS} is no longer served"),
        ({"region": "eu-central-1"}, "InvalidInput", f"spec.region: {CORE} is served in us-west-2"),
        (
            {"offers": [{"model": "no-such-model", "tasks": ["text-to-image"]}]},
            "InvalidInput",
            "the catalogue knows no no-such-model of BedrockInvoke; this family asks for the catalogue's models alone",
        ),
    ],
    ids=["retired", "region", "unknown"],
)
def test_a_provider_that_can_never_work_stalls_with_the_field(
    working: Place, spec: dict[str, Any], reason: str, says: str
) -> None:
    provider(working, "bad", **spec)
    told = working.await_condition("prov", "bad", "Stalled", "True", reason)
    assert says in told["message"]
    assert working.condition("prov", "bad", "Ready")["status"] == "False"


def test_an_offer_that_is_gone_is_told_while_others_serve(working: Place) -> None:
    provider(working, "half", offers=[{"model": CORE}, {"model": CANVAS}])
    working.await_condition("prov", "half", "Ready", "True", "Configured")
    told = working.await_condition("prov", "half", "OffersServed", "False", "ModelRetired")
    assert CANVAS in told["message"]


def test_an_offer_that_nobody_knows_is_told_while_others_serve(working: Place) -> None:
    provider(working, "mistyped", offers=[{"model": CORE}, {"model": "no-such-model"}])
    working.await_condition("prov", "mistyped", "Ready", "True", "Configured")
    told = working.await_condition("prov", "mistyped", "OffersServed", "False", "InvalidInput")
    assert "spec.offers: the catalogue knows no no-such-model of BedrockInvoke" in told["message"]
    class_job(working, "beside", generation_class(working, "mistyped", {"provider": {"name": "mistyped"}}))
    until(lambda: working.get("job", "beside"), "the batch Job", 60)


def test_a_job_of_a_class_waits_for_it_and_gets_a_worker_with_the_accounts(working: Place) -> None:
    provider(working, "west")
    working.await_condition("prov", "west", "Ready", "True", "Configured")
    class_job(working, "mugs", f"late-{working.namespace}")
    working.await_condition("gen", "mugs", "Reconciling", "True", "ClassNotFound")

    generation_class(working, "late", {"modelDeployment": {"name": "absent"}}, {"provider": {"name": "west"}})
    job: Any = until(lambda: working.get("job", "mugs"), "the batch Job", 60)
    pod = job["spec"]["template"]["spec"]
    told = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
    assert json.loads(told["EASEL_CLASS"])["backends"][1] == {"provider": {"name": "west"}}
    assert told["EASEL_ENDPOINT"] == "", "there is no such model"
    (volume,) = [each for each in pod["volumes"] if each["name"] == "provider-0"]
    assert volume["secret"]["secretName"] == "aws"
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "provider-0"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/easel/providers/west", True)
    backend = until(lambda: (working.get("gen", "mugs") or {})["status"].get("backend"), "the choice")
    assert backend["selectedReason"] == "Routed"


def test_the_own_model_of_a_class_is_woken_though_a_provider_could(working: Place) -> None:
    working.model("studio", scaling={"maxReplicas": 1, "idleSeconds": 600})
    provider(working, "west")
    working.await_condition("prov", "west", "Ready", "True", "Configured")
    name = generation_class(working, "both", {"modelDeployment": {"name": "studio"}}, {"provider": {"name": "west"}})
    class_job(working, "woken", name)
    job: Any = until(lambda: working.get("job", "woken"), "the batch Job", 60)
    told = {each["name"]: each.get("value", "") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert told["EASEL_ENDPOINT"] == f"studio.{working.namespace}.svc:8001"
    assert (working.get("deployment", "studio") or {})["spec"]["replicas"] == 1


def test_a_job_of_a_class_without_a_usable_backend_says_why(working: Place) -> None:
    name = generation_class(working, "nobody", {"provider": {"name": "nowhere"}})
    class_job(working, "waits", name)
    told = working.await_condition("gen", "waits", "Reconciling", "True", "ProviderNotReady")
    says = (
        f"GenerationClass {name}: spec.backends[0].provider: there is no Provider nowhere in this namespace; create it"
    )
    assert says in told["message"]
    provider(working, "nowhere")
    until(lambda: working.get("job", "waits"), "the batch Job", 60)


def test_the_account_of_a_job_that_is_gone_is_closed(working: Place) -> None:
    """What it had reserved and never settled may have been paid."""
    provider(working, "closing")
    working.await_condition("prov", "closing", "Ready", "True", "Configured")
    name = generation_class(working, "closing", {"provider": {"name": "closing"}})
    class_job(working, "gone", name)
    uid = (working.get("gen", "gone") or {})["metadata"]["uid"]
    until(lambda: working.get("job", "gone"), "the batch Job", 60)
    account = {"holder": uid, "job": f"{working.namespace}/gone", "reserved": "0.16", "paid": "0.04"}
    today = until(lambda: working.get("prov", "closing"), "it")["metadata"]["creationTimestamp"][:10]
    window = {"name": today, "amount": "0.04"}
    spend = {"accounts": [account], "day": window, "month": window | {"name": today[:7]}}
    working.patch_status("prov", "closing", {"spend": spend})

    def ledger() -> Any:
        return (working.get("prov", "closing") or {})["status"]["spend"]

    assert ledger()["accounts"] == [account]
    working("delete", "gen", "gone")
    until(lambda: not ledger().get("accounts"), "the account is closed", 60)
    assert (ledger()["day"]["amount"], ledger()["month"]["amount"]) == ("0.2", "0.2")


def test_a_job_whose_time_is_up_keeps_its_account_until_its_worker_has_ended(working: Place) -> None:
    """It has failed at once, so that the worker knows; what that still settles must find the account."""
    provider(working, "timing")
    working.await_condition("prov", "timing", "Ready", "True", "Configured")
    name = generation_class(working, "timing", {"provider": {"name": "timing"}})
    class_job(working, "timed", name, deadlineSeconds=4)
    pod = working.await_pod("easel.dev/generation-job=timed")
    working.patch("pod", pod, {"metadata": {"finalizers": ["easel.dev/still-there"]}})
    working.run_pod(pod, "worker", ready=True)
    uid = (working.get("gen", "timed") or {})["metadata"]["uid"]
    account = {"holder": uid, "job": f"{working.namespace}/timed", "reserved": "0.16", "paid": "0"}
    working.patch_status("prov", "timing", {"spend": {"accounts": [account]}})
    working.await_condition("gen", "timed", "Failed", "True", "DeadlineExceeded")
    conditions = {each["type"] for each in (working.get("job", "timed") or {})["status"]["conditions"]}
    assert conditions == {"FailureTarget"}, "its pod is not gone"
    working.patch("prov", "timing", {"spec": {"spend": {"perDay": "20"}}})

    def status() -> Any:
        return (working.get("prov", "timing") or {})["status"]

    until(lambda: status()["observedGeneration"] == 2, "the Provider was looked at again")
    assert status()["spend"]["accounts"] == [account]
    working.end_pod(pod, "worker", 143)
    until(lambda: not status()["spend"].get("accounts"), "the account is closed", 60)
    assert status()["spend"]["day"]["amount"] == "0.16"
    working.patch("pod", pod, {"metadata": {"finalizers": None}})


def gauges(operator: OperatorProcess) -> dict[str, float]:
    """What the operator says of Providers: by metric, provider and window."""
    lines = [line.rpartition(" ") for line in operator.metrics().splitlines() if line.startswith("easel_provider_")]
    return {
        name.removeprefix("easel_provider_").replace(f'namespace="{place}",', ""): float(value)
        for name, _, value in lines
        for place in operator.configuration["namespaces"]
    }


def windows(moment: datetime, day: str, month: str) -> dict[str, Any]:
    named = ((f"{moment:%Y-%m-%d}", day), (f"{moment:%Y-%m}", month))
    return dict(zip(("day", "month"), ({"name": name, "amount": amount} for name, amount in named), strict=True))


def test_metrics_tell_what_a_provider_was_paid_and_of_one_that_is_gone_nothing(place: Place, start: Start) -> None:
    operator = start(place).ready().leads()
    provider(place, "west", spend={"perDay": "20"})
    provider(place, "east")
    for name in ("west", "east"):
        place.await_condition("prov", name, "Ready", "True", "Configured")
    class_job(place, "works", generation_class(place, "paying", {"provider": {"name": "west"}}))
    until(lambda: place.get("job", "works"), "the batch Job", 60)
    uid = (place.get("gen", "works") or {})["metadata"]["uid"]
    account = {"holder": uid, "job": f"{place.namespace}/works", "reserved": "0.1", "paid": "0.2"}
    spend = windows(datetime.now(UTC), "4.2", "37.5") | {"accounts": [account]}
    place.patch_status("prov", "west", {"spend": spend})
    told = {
        'spend_dollars{provider="west",window="day"}': 4.2,
        'spend_dollars{provider="west",window="month"}': 37.5,
        'spend_limit_dollars{provider="west",window="day"}': 20.0,
        'reserved_dollars{provider="west"}': 0.1,
        'least_price_dollars{provider="west"}': 0.04,
        'jobs{provider="west"}': 1.0,
    }
    idle = {
        'spend_dollars{provider="east",window="day"}': 0.0,
        'spend_dollars{provider="east",window="month"}': 0.0,
        'reserved_dollars{provider="east"}': 0.0,
        'least_price_dollars{provider="east"}': 0.04,
        'jobs{provider="east"}': 0.0,
    }
    until(lambda: gauges(operator) == told | idle, "what the ledger says")
    place.patch("prov", "west", {"spec": {"spend": {"perDay": None, "perMonth": "30"}}})
    until(lambda: 'spend_limit_dollars{provider="west",window="month"}' in gauges(operator), "the new limit")
    assert 'spend_limit_dollars{provider="west",window="day"}' not in gauges(operator)
    place("delete", "prov", "west")
    until(lambda: gauges(operator) == idle, "nothing of one that is gone")


def test_what_was_paid_today_is_nothing_at_midnight(
    place: Place, start: Start, progress: Callable[[str], None], tmp_path: Path
) -> None:
    clock = Clock(tmp_path, progress)
    operator = start(place, environment=clock.environment).ready().leads()
    provider(place, "west")
    place.await_condition("prov", "west", "Ready", "True", "Configured")
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    place.patch_status("prov", "west", {"spend": windows(now, "4.2", "37.5")})
    today, month = 'spend_dollars{provider="west",window="day"}', 'spend_dollars{provider="west",window="month"}'
    until(lambda: gauges(operator).get(today) == 4.2, "what was paid today")
    clock.jump(midnight - now - timedelta(seconds=5))
    place.patch("prov", "west", {"metadata": {"labels": {"looked-at": "before-midnight"}}})
    until(lambda: gauges(operator).get(today) == 0.0, "a new day")
    assert gauges(operator)[month] == (37.5 if midnight.day > 1 else 0.0)


SHARED = "easel-provider-west"


@pytest.fixture
def shared(server: ApiServer, start: Start, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """A namespace with Providers, one with jobs, and an operator of both that shares Providers and may do what it declares."""
    platform, art = (Place(server.kubectl, f"{name}-{uuid.uuid4().hex[:8]}").make() for name in ("platform", "art"))
    operator: OperatorProcess = start(
        platform,
        namespaces=[platform.namespace, art.namespace],
        providersAcrossNamespaces=True,
        kubeconfig=grant(platform, server.kubeconfig, tmp_path, art),
    )
    operator.ready().leads()
    yield platform, art
    said = operator.log.read_text()
    assert "may not do this" not in said, said
    assert "a defect of the operator" not in said, said


def may(place: Place, worker_of: Place, *what: str) -> bool:
    """Whether the workers of a namespace may do this in a place."""
    account = f"system:serviceaccount:{worker_of.namespace}:easel-worker"
    asked = place.kubectl.run("auth", "can-i", *what, "-n", place.namespace, "--as", account)
    return bool(asked.stdout.strip() == "yes")


def test_a_job_is_given_a_provider_of_another_namespace_that_selects_its_own(shared: tuple[Place, Place]) -> None:
    platform, art = shared
    provider(platform, "west", namespaceSelector={"matchLabels": {"team": "art"}})
    platform.await_condition("prov", "west", "Ready", "True", "Configured")
    name = generation_class(art, "shared", {"provider": {"name": "west", "namespace": platform.namespace}})
    class_job(art, "mugs", name)
    told = art.await_condition("gen", "mugs", "Reconciling", "True", "ProviderNotReady")
    says = f"Provider west.{platform.namespace}: its namespaceSelector does not select namespace {art.namespace}"
    assert says in told["message"]
    assert platform.get("role", SHARED) is None
    assert not may(platform, art, "get", "providers/west")

    art.kubectl("label", "namespace", art.namespace, "team=art")
    job: Any = until(lambda: art.get("job", "mugs"), "the batch Job")
    pod = job["spec"]["template"]["spec"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "provider-0"]
    assert mount["mountPath"] == f"/etc/easel/providers/west.{platform.namespace}"
    binding: Any = platform.get("rolebinding", SHARED)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "easel-worker", "namespace": art.namespace}]
    assert [owner["kind"] for owner in binding["metadata"]["ownerReferences"]] == ["Provider"]
    assert may(platform, art, "get", "providers/west")
    assert may(platform, art, "patch", "providers/west", "--subresource=status")
    for more in (("patch", "providers/west"), ("get", "providers/east"), ("list", "providers"), ("get", "secrets/aws")):
        assert not may(platform, art, *more), more


def test_what_lets_others_use_a_provider_is_put_back_and_goes_with_the_selector(shared: tuple[Place, Place]) -> None:
    platform, art = shared
    provider(platform, "west", namespaceSelector={})
    first: Any = until(lambda: platform.get("rolebinding", SHARED), "the RoleBinding")
    platform("delete", "role", SHARED)
    until(lambda: platform.get("role", SHARED), "the Role is put back")
    platform("delete", "rolebinding", SHARED)
    again: Any = until(lambda: platform.get("rolebinding", SHARED), "the RoleBinding is put back")
    assert again["metadata"]["uid"] != first["metadata"]["uid"]

    def says() -> str:
        return str(platform.condition("prov", "west", "Ready").get("message", ""))

    until(lambda: says().endswith("also by 1 other namespace"), "who may use it is told")
    art.kubectl("label", "namespace", art.namespace, "closed=yes")
    only_open = {"matchExpressions": [{"key": "closed", "operator": "DoesNotExist"}]}
    platform.patch("prov", "west", {"spec": {"namespaceSelector": only_open}})
    until(lambda: platform.get("rolebinding", SHARED) is None, "it goes with the last that was selected")
    art.kubectl("label", "namespace", art.namespace, "closed-")
    until(lambda: platform.get("rolebinding", SHARED), "it comes back")
    platform.patch("prov", "west", {"spec": {"namespaceSelector": None}})
    until(lambda: not platform.get("rolebinding", SHARED) and not platform.get("role", SHARED), "both are gone")


def test_the_account_of_a_job_of_another_namespace_is_closed_when_it_is_gone(shared: tuple[Place, Place]) -> None:
    platform, art = shared
    provider(platform, "west", namespaceSelector={})
    name = generation_class(art, "closing", {"provider": {"name": "west", "namespace": platform.namespace}})
    uids = {}
    for each in ("gone", "stays"):
        class_job(art, each, name)
        until(lambda job=each: art.get("job", job), "the batch Job", 60)
        uids[each] = (art.get("gen", each) or {})["metadata"]["uid"]
    accounts = [
        {"holder": uid, "job": f"{art.namespace}/{each}", "reserved": "0.16", "paid": "0"} for each, uid in uids.items()
    ]
    platform.patch_status("prov", "west", {"spend": {"accounts": accounts}})
    art("delete", "gen", "gone")

    def ledger() -> Any:
        return (platform.get("prov", "west") or {})["status"]["spend"]

    until(lambda: [each["holder"] for each in ledger()["accounts"]] == [uids["stays"]], "the account is closed", 60)
    (row,) = ledger()["namespaces"]
    assert (row["name"], row["month"]["amount"], ledger()["month"]["amount"]) == (art.namespace, "0.16", "0.16")
