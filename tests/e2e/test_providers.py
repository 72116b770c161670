"""A provider beside the team's own model, in a real cluster: who makes what, what it costs, and that nothing is paid for twice."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from easel_cluster.namespaces import HOST_ADDRESS
from easel_installed import manifests
from easel_installed.killing import kill
from easel_installed.site import RUNTIME, Site
from easel_installed.waiting import until

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, bedrock
from easel_emulators.openai_images import KEY, Images, images
from easel_emulators.pictures import Miniature

from easel_inference.backends.aws import CONNECT_SECONDS

pytestmark = pytest.mark.cluster

CORE = "stability.stable-image-core-v1:1"
CENTS = 4
PROVIDER, SECOND, CLASS = "bedrock-west", "openai", "studio"
ITEMS, BOUGHT = 64, 8


@pytest.fixture(scope="module")
def aws(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedrock]:
    """Amazon Bedrock as pods reach it, with an account of ours there."""
    with bedrock(tmp_path_factory.mktemp("bedrock"), HOST_ADDRESS, Miniature()) as service:
        keys = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "ca.crt": service.authority.read_text(),
        }
        site.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws"}, "stringData": keys},
            easel(
                "Provider",
                PROVIDER,
                family="BedrockInvoke",
                region=REGION,
                endpoint=service.url,
                credentials={"secretRef": {"name": "aws"}},
                offers=[{"model": CORE}],
                spend={"perDay": "50"},
            ),
        )
        site.wait("providers.easel.dev", PROVIDER, "Ready", seconds=60)
        yield service
    for kind, name in (("providers.easel.dev", PROVIDER), ("secret", "aws"), ("generationclasses.easel.dev", CLASS)):
        site.delete(kind, name)


@pytest.fixture(scope="module")
def openai(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """OpenAI as pods reach it, with an account of ours there."""
    with images(tmp_path_factory.mktemp("openai"), HOST_ADDRESS, Miniature()) as service:
        site.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": SECOND},
                "stringData": {"API_KEY": KEY, "ca.crt": service.authority.read_text()},
            },
            easel(
                "Provider",
                SECOND,
                family="OpenAIImages",
                endpoint=service.url,
                credentials={"secretRef": {"name": SECOND}},
                offers=[{"model": "gpt-image-2"}],
            ),
        )
        site.wait("providers.easel.dev", SECOND, "Ready", seconds=60)
        yield service
    for kind in ("providers.easel.dev", "secret"):
        site.delete(kind, SECOND)


def easel(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "easel.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def class_of(site: Site, *backends: dict[str, Any], **spec: Any) -> None:
    site.kubectl.apply(easel("GenerationClass", CLASS, backends=list(backends), **spec))


def class_job(site: Site, name: str, **spec: Any) -> dict[str, Any]:
    made = manifests.job(name, "", site.store, **spec)
    del made["spec"]["backends"]
    made["spec"] |= {"generationClassName": CLASS, "onUnsupported": "Adapt"}
    return made


def made_so_far(site: Site, folder: str) -> list[str]:
    return [key for key in site.bucket.keys(folder) if key.endswith(".png")]


def spent_cents(site: Site, provider: str = PROVIDER) -> float:
    spend = site.get("providers.easel.dev", provider).get("status", {}).get("spend", {})
    return float(spend.get("day", {}).get("amount", 0)) * 100


def test_a_job_is_made_by_a_provider_and_shows_what_was_asked(site: Site, aws: Bedrock, tmp_path: Path) -> None:
    from easel_inference.miniature.judge import judge_files

    class_of(site, {"provider": {"name": PROVIDER}})
    paid, spent = len(aws.paid), spent_cents(site)
    site.apply(class_job(site, "bought", count=8))
    status = site.wait_for_end("bought", seconds=240)["status"]
    assert status["phase"] == "Complete", status
    assert status["backend"]["selectedReason"] == "Routed"
    assert (status["cost"]["estimated"], status["cost"]["spent"]) == ("0.32", "0.32")
    assert len(aws.paid) - paid == 8
    until("the ledger", lambda: round(spent_cents(site) - spent) == 8 * CENTS, seconds=30)
    folder = site.folder("bought")
    prompts = {item["delivered"]["key"]: item["prompt"] for item in site.bucket.manifest(folder)["items"]}
    files = {}
    for key, data in site.bucket.pictures(folder).items():
        path = tmp_path / key.rpartition("/")[2]
        path.write_bytes(data)
        files[path] = prompts[key]
    agreement = judge_files(list(files), list(files.values()))
    assert len(agreement.asked) == 8
    assert agreement.share("product", "colour") >= 0.75, list(zip(agreement.asked, agreement.seen, strict=True))
    log = site.kubectl("logs", "-n", site.namespace, "-l", "easel.dev/generation-job=bought", "--tail=-1")
    assert SECRET_KEY not in log
    assert "mug" not in log, "a prompt is a person's own"


def test_a_model_that_is_killed_hands_its_items_to_one_provider_and_the_next(
    site: Site, model: str, aws: Bedrock, openai: Images
) -> None:
    """And takes the next job again: all 64 items are delivered, each once. The first provider's quota ends on the way."""
    class_of(
        site,
        {"modelDeployment": {"name": model}},
        {"provider": {"name": PROVIDER}},
        {"provider": {"name": SECOND}},
        fallback={"when": ["GPUUnavailable", "BackendFailure"]},
    )
    paid, spent, billed = len(aws.paid), spent_cents(site), openai.billed
    calls = len(aws.calls)
    aws.next.extend(["picture"] * BOUGHT + ["no credit"] * ITEMS)
    site.apply(class_job(site, "failed-over", count=ITEMS, steps=16, first_seed=31000))
    folder = site.folder("failed-over")
    until("the first items", lambda: len(made_so_far(site, folder)) >= 8, seconds=120, period=0.05)
    (runtime,) = site.pods(RUNTIME, model=model)
    began = time.monotonic()
    kill(site.kubectl, runtime)
    until("the first item to go elsewhere", lambda: len(aws.calls) > calls, seconds=60, period=0.01)
    delay = time.monotonic() - began
    assert len(made_so_far(site, folder)) <= 48, "too fast: the job must still be in its middle"
    status = site.wait_for_end("failed-over", seconds=400)["status"]
    aws.next.clear()
    assert status["phase"] == "Complete", status
    items = site.bucket.manifest(folder)["items"]
    made = [item["backend"].partition("/")[0] for item in items]
    print(
        f"{made.count(PROVIDER)} and {made.count(SECOND)} of {ITEMS} were bought, the first {delay:.2f} s behind the kill"
    )
    assert len(items) == len(site.bucket.pictures(folder)) == ITEMS
    assert made.count(model) >= 8
    assert made.count(PROVIDER) == BOUGHT
    assert made.count(SECOND) == ITEMS - made.count(model) - BOUGHT > 0
    assert len(aws.paid) - paid == BOUGHT, "no call for nothing"
    assert len(openai.paid) == made.count(SECOND)
    assert {each["name"].partition("/")[0]: each["items"] for each in status["backends"]} == Counter(made)
    bought = next(each for each in status["backends"] if each["name"].startswith(PROVIDER))
    assert bought["selectedReason"] == "Fallback"
    assert f"{model}: " in bought["message"]
    until("the ledger", lambda: round(spent_cents(site) - spent) == BOUGHT * CENTS, seconds=30)
    until("the other ledger", lambda: spent_cents(site, SECOND) == float(openai.billed - billed) * 100, seconds=30)
    assert delay < CONNECT_SECONDS

    site.wait_for_model(model)
    paid = len(aws.paid)
    site.apply(class_job(site, "back-again", count=8, first_seed=32000))
    assert site.wait_for_end("back-again", seconds=240)["status"]["phase"] == "Complete"
    assert {item["backend"] for item in site.bucket.manifest(site.folder("back-again"))["items"]} == {model}
    assert len(aws.paid) == paid


def test_what_is_wrong_with_a_secret_is_told_before_any_call(site: Site, aws: Bedrock) -> None:
    class_of(site, {"provider": {"name": PROVIDER}})
    before = len(aws.calls)
    broken = {"AWS_SECRET_ACCESS_KEY": None}
    secret = site.get("secret", "aws")["data"]
    change = json.dumps({"data": broken})
    site.kubectl("patch", "secret", "aws", "-n", site.namespace, "--type=merge", "-p", change)
    try:
        site.apply(class_job(site, "without-a-key", count=8))
        failure = site.wait_for_end("without-a-key", seconds=120)["status"]["lastFailure"]
        assert failure["reason"] == "AuthConfig"
        assert "the Secret's key AWS_SECRET_ACCESS_KEY is missing" in failure["message"]
        assert len(aws.calls) == before
    finally:
        site.kubectl("patch", "secret", "aws", "-n", site.namespace, "--type=merge", "-p", json.dumps({"data": secret}))
