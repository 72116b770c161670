"""What a job pays at a Provider, booked with a worker's own rights on a real API server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from worker_pods import NAMESPACE

from easel_api.errors import BudgetSpent
from easel_api.provider import Account
from easel_api.spend import NOTHING
from easel_inference.jobs import purses
from easel_inference.jobs.access import Api, Server
from easel_inference.jobs.purses import ProviderName, Purse

pytestmark = pytest.mark.apiserver

CENT = Decimal("0.01")
TODAY = date(2026, 11, 29)


@pytest.fixture
def purse(api_server: Any, account: Path, in_a_pod: None) -> Iterator[Callable[[str], Purse]]:
    """Makes the purse of a job at a Provider that may be paid ten cents a day."""
    spec = {
        "family": "BedrockInvoke",
        "region": "us-west-2",
        "credentials": {"workloadIdentity": {}},
        "offers": [{"model": "stability.stable-image-core-v1:1"}],
        "spend": {"perDay": "0.10"},
    }
    metadata = {"name": "west", "namespace": NAMESPACE}
    api_server.kubectl.apply(
        {"apiVersion": "easel.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": spec}
    )
    stop = threading.Event()
    api = Api(Server.in_cluster(account), stop)

    def of(job: str) -> Purse:
        holder = Account(holder=job, job=f"{NAMESPACE}/{job}")
        return Purse(api, ProviderName(NAMESPACE, "west"), holder, lambda: TODAY, stop)

    yield of
    api_server.kubectl("delete", "provider", "west", "-n", NAMESPACE)


def spend_of(api_server: Any) -> dict[str, Any]:
    found = json.loads(api_server.kubectl("get", "provider", "west", "-n", NAMESPACE, "-o", "json"))
    return dict(found["status"]["spend"])


def test_a_bill_above_all_that_may_be_spent_is_booked(purse: Callable[[str], Purse], api_server: Any) -> None:
    with purse("dear") as dear:
        dear.take(8 * CENT, 0)
        dear.settle(8 * CENT, 30 * CENT)
        with pytest.raises(BudgetSpent, match=r"0\.10? a day"):
            dear.take(CENT, 0)
    spend = spend_of(api_server)
    assert spend["day"] == {"name": "2026-11-29", "amount": "0.3"}
    (account,) = spend["accounts"]
    assert (account["paid"], account["reserved"]) == ("0.3", "0")


def test_what_no_call_follows_for_goes_back_to_other_jobs(
    purse: Callable[[str], Purse], api_server: Any, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purses, "IDLE_SECONDS", 0.2)
    with purse("first") as first, purse("second") as second:
        first.take(CENT, 9)
        with pytest.raises(BudgetSpent):
            second.take(CENT, 0)
        first.settle(CENT, CENT)
        eventually(lambda: spend_of(api_server)["accounts"][0]["reserved"] == "0", "it lets go")
        eventually(lambda: second.share().of == 1, "its part of the calls, too")
        second.take(9 * CENT, 0)
        second.settle(9 * CENT, 9 * CENT)
        with pytest.raises(BudgetSpent):
            first.take(CENT, 0)
    assert spend_of(api_server)["day"]["amount"] == "0.1"


def test_calls_whose_price_nobody_knew_are_booked(purse: Callable[[str], Purse], api_server: Any) -> None:
    with purse("unpriced") as unpriced:
        for _ in range(2):
            unpriced.take(NOTHING, 0)
            unpriced.settle(NOTHING, 7 * CENT)
    assert spend_of(api_server)["day"]["amount"] == "0.14"
