"""Jobs of two namespaces that pay by a Provider of a third: a real API server with the rights that the operator grants, and an emulator."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_pods import ACCOUNT, NAMESPACE, Pods, objects_of

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from easel_emulators.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, bedrock

from easel_operator.core.configuration import Configuration, RuntimeProfile
from easel_operator.core.observed import Identity
from easel_operator.core.provider.sharing import role, role_binding
from easel_operator.core.resources import PROVIDERS, Key

pytestmark = [pytest.mark.apiserver, pytest.mark.triton, pytest.mark.engine, pytest.mark.s3]

CORE = "stability.stable-image-core-v1:1"
CENTS = 4
HOME, LAB = "worker-platform", "worker-lab"
NAME = f"west.{HOME}"
GREEDY = {"failurePolicy": "KeepPartial", "maxAttempts": 1}


class Shared:
    """A Provider in a namespace of its own, and workers in two others."""

    def __init__(self, pods: Pods, lab: Pods, aws: Bedrock) -> None:
        self.art, self.lab, self.aws = pods, lab, aws
        for each in (pods, lab):
            secrets = each.folder / "providers" / NAME
            secrets.mkdir(parents=True)
            for name, value in (
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("ca.crt", aws.authority.read_text()),
            ):
                (secrets / name).write_text(value)

    def provider(self, **spec: Any) -> None:
        fields = {
            "family": "BedrockInvoke",
            "region": REGION,
            "endpoint": self.aws.url,
            "credentials": {"secretRef": {"name": "aws"}},
            "offers": [{"model": CORE}],
            "namespaceSelector": {},
        } | spec
        metadata = {"name": "west", "namespace": HOME}
        self.art.kubectl.apply(
            {"apiVersion": "easel.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": fields}
        )

    def let_in(self, *namespaces: str) -> None:
        """As the operator does."""
        uid = json.loads(self.art.kubectl("get", "provider", "west", "-n", HOME, "-o", "json"))["metadata"]["uid"]
        owner = Identity(Key(PROVIDERS.kind, HOME, "west"), uid, 1)
        settings = Configuration(
            namespaces=(HOME, *namespaces),
            lease_namespace=HOME,
            worker_image="worker",
            worker_service_account=ACCOUNT,
            runtime_profiles={"default": RuntimeProfile(image="runtime")},
        )
        self.art.kubectl.apply(role(owner).body, role_binding(owner, namespaces, settings).body)

    @property
    def ledger(self) -> dict[str, Any]:
        found = self.art.kubectl("get", "provider", "west", "-n", HOME, "-o", "json")
        return dict(json.loads(found).get("status", {}).get("spend", {}))

    def cents_of(self, namespace: str) -> float:
        rows = {row["name"]: float(row["day"]["amount"]) * 100 for row in self.ledger["namespaces"]}
        return rows[namespace]


def job(pods: Pods, name: str, items: int, **spec: Any) -> dict[str, Any]:
    seeds = {"parameters": {"steps": 2, "seeds": list(range(1, items + 1))}}
    asked = {"backends": None, "generationClassName": "studio", "onUnsupported": "Adapt"}
    return pods.job(name, **(asked | seeds | spec))


def environment(pods: Pods) -> dict[str, str]:
    spec = {"backends": [{"provider": {"name": "west", "namespace": HOME}}]}
    folder = str(pods.folder / "providers")
    return {"EASEL_CLASS": json.dumps(spec), "EASEL_PROVIDERS_DIR": folder, "EASEL_ENDPOINT": ""}


def items_of(pods: Pods, name: str) -> list[dict[str, Any]]:
    return list(json.loads(pods.bucket.bytes_of(f"{name}/manifest.json"))["items"])


@pytest.fixture
def shared(pods: Pods, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Shared]:
    kubectl, folder = pods.kubectl, tmp_path_factory.mktemp("lab")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}, *objects_of(LAB))
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text(kubectl("create", "token", ACCOUNT, "-n", LAB))
    (account / "ca.crt").write_bytes((pods.folder / "account/ca.crt").read_bytes())
    (folder / "credentials").symlink_to(pods.folder / "credentials")
    lab = Pods(kubectl, pods.url, folder, pods.bucket, pods.endpoint, LAB)
    with bedrock(tmp_path) as aws:
        made = Shared(pods, lab, aws)
        made.provider()
        yield made
    for kind in ("providers", "roles", "rolebindings"):
        kubectl("delete", kind, "--all", "-n", HOME)
    kubectl("delete", "generationjobs", "--all", "-n", LAB)


def test_a_worker_of_another_namespace_pays_at_the_providers_ledger(shared: Shared) -> None:
    shared.let_in(NAMESPACE)
    code, log = shared.art.run(job(shared.art, "borrowed", 2), **environment(shared.art))
    assert code == 0, log
    assert len(shared.aws.paid) == 2
    (account,) = shared.ledger["accounts"]
    assert (account["job"], account["paid"], account["reserved"]) == (f"{NAMESPACE}/borrowed", "0.08", "0")
    assert (shared.ledger["day"]["amount"], shared.cents_of(NAMESPACE)) == ("0.08", 2 * CENTS)
    assert [item["backend"] for item in items_of(shared.art, "borrowed")] == [f"{NAME}/{CORE}"] * 2


def test_a_worker_without_rights_to_it_says_so_and_buys_nothing(shared: Shared) -> None:
    shared.let_in(LAB)
    code, log = shared.art.run(job(shared.art, "kept-out", 2), **environment(shared.art))
    assert code != 0
    assert f"the workers of namespace {NAMESPACE} have no rights to it" in log
    assert shared.aws.calls == []


@pytest.mark.parametrize(
    ("of_all", "calls"), [(None, (5, 5, 10)), ("0.29", (2, 2, 7))], ids=["theirs-alone", "that-of-all-too"]
)
def test_two_namespaces_never_spend_more_than_each_of_them_may(
    shared: Shared, of_all: str | None, calls: tuple[int, int, int]
) -> None:
    """Two workers in each at once, of 96 items: room for five of each namespace, and for seven in all where all have a limit."""
    shared.provider(spend={"perNamespace": {"perDay": "0.21"}} | ({"perDay": of_all} if of_all else {}))
    shared.let_in(NAMESPACE, LAB)
    run = f"greedy-{of_all}".replace(".", "-").lower()
    named = [(pods, f"{run}-{pods.namespace}-{number}") for pods in (shared.art, shared.lab) for number in range(2)]
    jobs = [(pods, job(pods, name, 24, **GREEDY)) for pods, name in named]
    workers = [pods.start(made, **environment(pods)) for pods, made in jobs]
    logs = [worker.communicate(timeout=120)[1] for worker in workers]
    assert not any("Traceback" in log for log in logs), logs
    paid = {pods.namespace: 0 for pods, _ in named}
    for pods, name in named:
        paid[pods.namespace] += sum(item["state"] == "Succeeded" for item in items_of(pods, name))
    *least, total = calls
    assert (sum(paid.values()), len(shared.aws.paid)) == (total, total)
    assert all(fewest <= each <= 5 for fewest, each in zip(least, paid.values(), strict=True)), paid
    assert {each: shared.cents_of(each) for each in paid} == {each: count * CENTS for each, count in paid.items()}
    assert not [account for account in shared.ledger["accounts"] if float(account["reserved"])]
