"""Jobs of a class whose providers cost money: a real API server for the ledger, a real S3 server, and an emulator of Bedrock."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_pods import NAMESPACE, Pods

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, Fault, bedrock
from easel_emulators.stability import KEY, stability

pytestmark = [pytest.mark.apiserver, pytest.mark.triton, pytest.mark.engine, pytest.mark.s3]

CORE = "stability.stable-image-core-v1:1"
CENTS = 4
"""What a picture of it costs, by the catalogue."""
CLOUD = {"provider": {"name": "bedrock-west"}}
OWN = {"modelDeployment": {"name": "studio-mini"}}


class Routed:
    """Jobs of a class, and what has become of the money."""

    def __init__(self, pods: Pods, aws: Bedrock) -> None:
        self.pods, self.aws = pods, aws
        secrets = pods.folder / "providers/bedrock-west"
        secrets.mkdir(parents=True)
        for name, value in (
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("ca.crt", aws.authority.read_text()),
        ):
            (secrets / name).write_text(value)
        self.secrets = secrets

    def provider(self, name: str = "bedrock-west", **spec: Any) -> None:
        fields = {
            "family": "BedrockInvoke",
            "region": REGION,
            "endpoint": self.aws.url,
            "credentials": {"secretRef": {"name": "aws"}},
            "offers": [{"model": CORE}],
        } | spec
        manifest = {
            "apiVersion": "easel.dev/v1alpha1",
            "kind": "Provider",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {field: value for field, value in fields.items() if value is not None},
        }
        self.pods.kubectl.apply(manifest)

    def job(self, name: str, items: int = 3, **spec: Any) -> dict[str, Any]:
        seeds = {"parameters": {"steps": 2, "seeds": list(range(1, items + 1))}}
        return self.pods.job(
            name, **({"backends": None, "generationClassName": "studio", "onUnsupported": "Adapt"} | seeds | spec)
        )

    def environment(self, *backends: dict[str, Any], **spec: Any) -> dict[str, str]:
        return {
            "EASEL_CLASS": json.dumps({"backends": list(backends or (CLOUD,))} | spec),
            "EASEL_PROVIDERS_DIR": str(self.pods.folder / "providers"),
            "EASEL_ENDPOINT": "",
        }

    def run(self, job: dict[str, Any], *backends: dict[str, Any], **spec: Any) -> tuple[int, str]:
        return self.pods.run(job, **self.environment(*backends, **spec))

    @property
    def ledger(self) -> dict[str, Any]:
        found = self.pods.kubectl("get", "provider", "bedrock-west", "-n", NAMESPACE, "-o", "json")
        return dict(json.loads(found).get("status", {}).get("spend", {}))

    def spent_cents(self) -> float:
        return float(self.ledger["day"]["amount"]) * 100

    def reserved(self) -> list[str]:
        return [account["reserved"] for account in self.ledger.get("accounts", []) if float(account["reserved"])]

    def manifest(self, name: str) -> list[dict[str, Any]]:
        return list(json.loads(self.pods.bucket.bytes_of(f"{name}/manifest.json"))["items"])


@pytest.fixture
def routed(pods: Pods, tmp_path: Path) -> Iterator[Routed]:
    with bedrock(tmp_path) as aws:
        made = Routed(pods, aws)
        made.provider()
        yield made
    pods.kubectl("delete", "providers", "--all", "-n", NAMESPACE)


def test_a_job_is_made_by_a_provider_and_paid_to_the_cent(routed: Routed) -> None:
    job = routed.job("bought")
    code, log = routed.run(job)
    assert code == 0, log
    assert len(routed.aws.paid) == 3
    assert routed.spent_cents() == 3 * CENTS
    assert routed.ledger["month"]["amount"] == routed.ledger["day"]["amount"] == "0.12"
    (account,) = routed.ledger["accounts"]
    assert (account["job"], account["paid"], account["reserved"]) == (f"{NAMESPACE}/bought", "0.12", "0")
    status = routed.pods.status("bought")
    assert status["done"] == "3/3"
    assert status["cost"] == {"estimated": "0.12", "spent": "0.12", "currency": "USD"}
    assert status["backends"] == [
        {"name": f"bedrock-west/{CORE}", "items": 3, "selectedReason": "Ordered", "message": ""}
    ]
    for item in routed.manifest("bought"):
        assert (item["state"], item["backend"], item["cost"]) == ("Succeeded", f"bedrock-west/{CORE}", "0.04")
        assert [each["field"] for each in item["adapted"]] == ["steps"]
        assert item["delivered"]["key"] in routed.pods.bucket.objects()


def test_a_field_that_no_provider_honours_is_refused_before_any_call(routed: Routed) -> None:
    code, log = routed.run(routed.job("strict", onUnsupported=None))
    assert code != 0
    assert "steps: knows no such parameter" in log
    assert routed.aws.calls == []


def test_a_budget_is_never_exceeded(routed: Routed) -> None:
    job = routed.job("poor", items=6, budget={"max": "0.10"}, failurePolicy="KeepPartial", maxAttempts=1)
    _, log = routed.run(job)
    assert len(routed.aws.paid) == 2, log
    assert routed.spent_cents() == 2 * CENTS
    status = routed.pods.status("poor")
    assert "spec.budget" in status["lastFailure"]["message"]
    assert status["cost"] == {"estimated": "0.24", "spent": "0.08", "currency": "USD"}
    failed = [item for item in routed.manifest("poor") if item["state"] == "Failed"]
    assert len(failed) == 4
    assert all("left of the budget" in item["passedOver"][f"bedrock-west/{CORE}"] for item in failed)


def test_workers_together_never_spend_more_than_a_provider_may(routed: Routed) -> None:
    routed.provider(spend={"perDay": "0.41"})
    more = {"failurePolicy": "KeepPartial", "maxAttempts": 1}
    jobs = [routed.job(f"greedy-{number}", items=24, **more) for number in range(3)]
    workers = [routed.pods.start(job, **routed.environment()) for job in jobs]
    logs = [worker.communicate(timeout=120)[1] for worker in workers]
    assert not any("Traceback" in log for log in logs), logs
    assert len(routed.aws.paid) == 10, "of 72 items: room for ten"
    assert routed.spent_cents() == 10 * CENTS
    assert routed.reserved() == []


def test_of_a_thousand_items_as_many_are_paid_as_there_is_money_for(routed: Routed) -> None:
    """Ten workers at once, sixteen items each in flight: room for a hundred, and a hundred are made."""
    routed.provider(spend={"perDay": "4.03"}, limits={"maxConcurrent": 16})
    more = {"failurePolicy": "KeepPartial", "maxAttempts": 1}
    jobs = [routed.job(f"crowd-{number}", items=100, **more) for number in range(10)]
    workers = [routed.pods.start(job, **routed.environment()) for job in jobs]
    logs = [worker.communicate(timeout=300)[1] for worker in workers]
    assert not any("Traceback" in log for log in logs), logs
    assert len(routed.aws.paid) == 100
    assert routed.spent_cents() == 100 * CENTS
    assert routed.reserved() == []
    items = [item for number in range(10) for item in routed.manifest(f"crowd-{number}")]
    assert sum(item["state"] == "Succeeded" for item in items) == 100
    assert {item["error"]["reason"] for item in items if item["state"] == "Failed"} == {"BudgetSpent"}


def test_a_thousand_items_of_one_job_pay_its_budget_and_no_more(routed: Routed) -> None:
    more = {"failurePolicy": "KeepPartial", "maxAttempts": 1, "budget": {"max": "4.03"}}
    _, log = routed.run(routed.job("grand", items=1000, **more))
    assert len(routed.aws.paid) == 100, log
    assert routed.spent_cents() == 100 * CENTS


def test_a_killed_worker_never_has_an_item_paid_for_twice(routed: Routed, eventually: Callable[..., None]) -> None:
    job = routed.job("killed", items=6, failurePolicy="KeepPartial")
    routed.aws.gate.clear()
    worker = routed.pods.start(job, **routed.environment())
    eventually(lambda: len(routed.aws.calls) == 6, "all are asked for")
    worker.kill()
    worker.wait()
    routed.aws.gate.set()
    eventually(lambda: len(routed.aws.paid) == 6, "all are made and billed, for nobody")
    code, log = routed.run(job)
    assert code == 1, log
    assert len(routed.aws.calls) == 6, "none was asked for again"
    assert {item["error"]["reason"] for item in routed.manifest("killed")} == {"AmbiguousSubmit"}
    status = routed.pods.status("killed")
    assert status["cost"] == {"estimated": "0.24", "spent": "0.24", "currency": "USD"}
    assert [(each["name"], each["items"]) for each in status["backends"]] == [(f"bedrock-west/{CORE}", 0)]
    assert routed.spent_cents() == 6 * CENTS
    assert routed.reserved() == []


def test_an_item_goes_to_a_provider_while_no_replica_serves_and_back(routed: Routed, serving: Any) -> None:
    job = routed.job("failing-over", items=4)
    status = {"status": {"backend": {"modelDeployment": "studio-mini", "selectedReason": "Routed"}}}
    routed.pods.kubectl(
        "patch",
        "gen",
        "failing-over",
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps(status),
    )
    nobody = routed.environment(OWN, CLOUD, fallback={"when": ["GPUUnavailable"]}) | {"EASEL_ENDPOINT": "127.0.0.1:9"}
    code, log = routed.pods.run(job, **nobody)
    assert code == 0, log
    items = routed.manifest("failing-over")
    assert {item["backend"] for item in items} == {f"bedrock-west/{CORE}"}
    assert "studio-mini" in items[0]["passedOver"]
    assert {item["selectedReason"] for item in items} == {"Fallback"}
    (told,) = routed.pods.status("failing-over")["backends"]
    assert (told["items"], told["selectedReason"]) == (4, "Fallback")
    assert told["message"] == "studio-mini: it has no replica, and none is on its way"
    before = len(routed.aws.paid)

    again = routed.job("back-again", items=4)
    routed.pods.kubectl(
        "patch", "gen", "back-again", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    there = routed.environment(OWN, CLOUD, fallback={"when": ["GPUUnavailable"]}) | {"EASEL_ENDPOINT": serving.endpoint}
    code, log = routed.pods.run(again, **there)
    assert code == 0, log
    assert {item["backend"] for item in routed.manifest("back-again")} == {"studio-mini"}
    assert len(routed.aws.paid) == before


@pytest.mark.parametrize(
    ("then", "reason", "paid"),
    [
        (Fault("ThrottlingException"), None, 1),
        ("blocked as 200", "ContentBlocked", 0),
        ("reset", "AmbiguousSubmit", 1),
        ("empty", "BilledBadOutput", 1),
        ("cut", "BilledBadOutput", 1),
        (Fault("AccessDeniedException"), "AuthConfig", 0),
        (Fault("InternalServerException"), None, 1),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else str(value),
)
def test_whatever_goes_wrong_an_item_is_paid_for_once_at_most(
    routed: Routed, then: Any, reason: str | None, paid: int
) -> None:
    routed.aws.next.append(then)
    code, log = routed.run(routed.job("unlucky", items=1))
    assert (code == 0) == (reason is None), log
    assert len(routed.aws.paid) == paid
    assert (routed.spent_cents() if routed.ledger.get("day") else 0) == paid * CENTS
    assert routed.reserved() == []
    if reason:
        assert routed.pods.status("unlucky")["lastFailure"]["reason"] == reason


@pytest.mark.parametrize(
    ("key", "value", "says"), [("AWS_SECRET_ACCESS_KEY", None, "missing"), ("AWS_ACCESS_KEY_ID", "a b", "malformed")]
)
def test_a_key_that_is_missing_or_malformed_is_named_and_not_shown(
    routed: Routed, key: str, value: str | None, says: str
) -> None:
    if value is None:
        (routed.secrets / key).unlink()
    else:
        (routed.secrets / key).write_text(value)
    code, log = routed.run(routed.job("keyless"))
    assert code == 3
    assert f"spec.credentials.secretRef: the Secret's key {key} is {says}" in log
    assert SECRET_KEY not in log
    assert routed.aws.calls == []


def test_a_job_whose_account_was_closed_spends_no_more(routed: Routed, eventually: Callable[..., None]) -> None:
    """The operator takes it for over, and all that it had reserved for paid."""
    job = routed.job("closed", items=40, failurePolicy="KeepPartial", maxAttempts=1)
    routed.aws.gate.clear()
    worker = routed.pods.start(job, **routed.environment())
    eventually(lambda: len(routed.aws.calls) == 8, "as many as are allowed at once")
    routed.pods.kubectl(
        "patch", "provider", "bedrock-west", "-n", NAMESPACE, "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": {"spend": {"accounts": []}}}),
    )  # fmt: skip
    routed.aws.gate.set()
    _, log = worker.communicate(timeout=120)
    assert "Traceback" not in log
    assert len(routed.aws.paid) <= 16, "what was reserved when it was closed"
    assert {item["error"]["reason"] for item in routed.manifest("closed") if "error" in item} == {"BudgetSpent"}


def test_a_ledger_that_is_gone_at_the_end_fails_no_job(routed: Routed, eventually: Callable[..., None]) -> None:
    job = routed.job("unsettled", items=2)
    routed.aws.gate.clear()
    worker = routed.pods.start(job, **routed.environment())
    eventually(lambda: len(routed.aws.calls) == 2, "both are asked for")
    routed.pods.kubectl("delete", "provider", "bedrock-west", "-n", NAMESPACE)
    routed.aws.gate.set()
    _, log = worker.communicate(timeout=120)
    assert worker.returncode == 0, log
    assert "the job's account was not settled" in log
    assert routed.pods.status("unsettled")["done"] == "2/2"


def test_what_a_policy_blocked_is_not_asked_for_again_by_the_next_worker(routed: Routed) -> None:
    routed.aws.next.append("blocked as 200")
    job = routed.job("blocked", items=1)
    for _ in range(2):
        code, log = routed.run(job)
        assert code == 1, log
        assert "ContentBlocked" in log
    assert len(routed.aws.calls) == 1


def test_the_next_provider_takes_what_the_first_one_cannot(routed: Routed, tmp_path: Path) -> None:
    """Two families in one class: each call is paid at its own price, by its own account."""
    with stability(tmp_path / "direct") as direct:
        secrets = routed.pods.folder / "providers/direct"
        secrets.mkdir()
        (secrets / "API_KEY").write_text(KEY)
        (secrets / "ca.crt").write_text(direct.authority.read_text())
        routed.provider(
            "direct",
            family="StabilityV2Beta",
            region=None,
            endpoint=direct.url,
            credentials={"secretRef": {"name": "stability"}},
            offers=[{"model": "core"}],
        )
        routed.aws.next.extend([Fault("ServiceQuotaExceededException")] * 4)
        job = routed.job("two-families", items=4)
        code, log = routed.run(job, CLOUD, {"provider": {"name": "direct"}}, fallback={"when": ["BackendFailure"]})
        assert code == 0, log
        assert (len(routed.aws.paid), len(direct.paid)) == (0, 4)
        assert {(item["backend"], item["cost"]) for item in routed.manifest("two-families")} == {
            ("direct/core", "0.03")
        }
        assert routed.pods.status("two-families")["cost"]["spent"] == "0.12"
        found = json.loads(routed.pods.kubectl("get", "provider", "direct", "-n", NAMESPACE, "-o", "json"))
        assert found["status"]["spend"]["day"]["amount"] == "0.12"
        assert "day" not in routed.ledger
        assert KEY not in log


def test_what_one_worker_was_told_all_workers_heed(routed: Routed, eventually: Callable[..., None]) -> None:
    """A provider asks the first job to wait; the second one makes no call before that is over."""
    seconds = 15
    routed.aws.next.append(Fault("ThrottlingException", **{"Retry-After": str(seconds)}))
    first = routed.pods.start(routed.job("told", items=1), **routed.environment())
    eventually(lambda: len(routed.aws.calls) == 1, "the first call")
    began = time.monotonic()

    def rests() -> list[dict[str, str]]:
        found = routed.pods.kubectl("get", "provider", "bedrock-west", "-n", NAMESPACE, "-o", "json")
        return list(json.loads(found).get("status", {}).get("rests", []))

    eventually(lambda: [(each["model"], each["reason"]) for each in rests()] == [(CORE, "Throttled")], "it is told")
    eventually(lambda: routed.pods.status("told").get("waitingFor"), "its status says why it waits")
    assert routed.pods.status("told")["waitingFor"].startswith(f"bedrock-west/{CORE}: ")
    second = routed.pods.start(routed.job("hears", items=1), **routed.environment())
    eventually(lambda: len(routed.aws.calls) > 1, "another call")
    assert time.monotonic() - began > seconds - 1.5
    for worker in (first, second):
        _, log = worker.communicate(timeout=60)
        assert worker.returncode == 0, log
    assert len(routed.aws.paid) == 2


def test_a_job_that_has_failed_buys_nothing_more(routed: Routed) -> None:
    """Fifteen items wait for their turn when the first one fails for good."""
    routed.provider(limits={"maxConcurrent": 1})
    routed.aws.next.append("blocked as 200")
    code, log = routed.run(routed.job("failed-early", items=40))
    assert code == 1, log
    assert len(routed.aws.calls) <= 2
    assert routed.reserved() == []


def test_a_job_of_the_same_name_pays_no_bill_of_the_one_before(routed: Routed) -> None:
    """As when a tool makes it anew: what is there is adopted, and was paid."""
    job = routed.job("twice", items=3)
    assert routed.run(job)[0] == 0
    assert routed.spent_cents() == 3 * CENTS
    routed.pods.kubectl("delete", "generationjob", "twice", "-n", NAMESPACE)
    code, log = routed.run(routed.job("twice", items=3))
    assert code == 0, log
    assert len(routed.aws.paid) == 3
    assert routed.spent_cents() == 3 * CENTS
    assert routed.pods.status("twice")["cost"] == {"estimated": "0", "currency": "USD"}
