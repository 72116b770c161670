"""How an item goes from backend to backend; that real ones behave so is seen in tests/worker/test_routed.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from easel_api.errors import (
    AuthConfig,
    BudgetSpent,
    Cancelled,
    CapacityQueued,
    ContentBlocked,
    EaselError,
    Throttled,
    Transient,
)
from easel_api.generationclass import Policy
from easel_api.tasks import Task
from easel_inference.backends.base import OnEvent, Result
from easel_inference.generation import Finished, GenerationRequest, Inputs
from easel_inference.jobs.routed import Cloud, OwnModel, RoutedBackend
from easel_inference.jobs.wallet import Share, Wallet
from easel_inference.routing import breaker
from easel_inference.routing.decision import Fallback
from easel_inference.routing.plan import Candidate, Plan
from easel_inference.routing.request import Resolved

REQUEST = GenerationRequest(id="0000", task=Task.TEXT_TO_IMAGE, prompt="", seed=1)
CENTS = Decimal("0.04")
ANYTHING = frozenset({"CapacityQueued", "Transient"})


@dataclass
class Scripted:
    """A backend that does what it is told, one thing for each call, and then makes pictures."""

    name: str
    then: list[EaselError] = field(default_factory=list)
    calls: int = 0

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        self.calls += 1
        if self.then:
            raise self.then.pop(0)
        made = Finished(
            media_type="image/png", sha256="", width=1, height=1, seed=1, model_digest="", dtype="", device="", steps=1
        )
        return Result(made, b"x", self.name)


class Purse:
    """Money without end, or none."""

    def __init__(self, *, empty: bool = False) -> None:
        self.empty, self.paid = empty, Decimal(0)

    def take(self, price: Decimal, more: int) -> None:
        if self.empty:
            raise BudgetSpent("spent", where="provider west")

    def settle(self, price: Decimal, cost: Decimal) -> None:
        self.paid += cost

    def share(self) -> Share:
        return Share()

    def rests(self, model: str) -> float:
        return 0.0

    def tell(self, model: str, seconds: float, reason: str) -> None:
        pass


@dataclass
class Scene:
    """An own model and a provider, by a class."""

    backend: RoutedBackend
    own: Scripted
    cloud: Scripted
    purse: Purse
    stop: threading.Event = field(default_factory=threading.Event)

    def make(self) -> str:
        return self.backend.generate(REQUEST, Inputs(), lambda _: None, self.stop).backend


def scene(
    fallback: Fallback, *, ready: Callable[[], bool] = lambda: True, purse: Purse | None = None, with_own: bool = True
) -> Scene:
    own, cloud, purse = Scripted("studio"), Scripted("west/core"), purse or Purse()
    candidates = [Candidate("studio", own=True, resolved=Resolved(), price=Decimal(0))] if with_own else []
    candidates.append(Candidate("west/core", own=False, resolved=Resolved(), price=CENTS))
    backend = RoutedBackend(
        Plan(Policy.ORDERED, tuple(candidates), ()),
        fallback,
        {"studio": OwnModel(own, own, ready)} if with_own else {},
        {"west/core": Cloud("west", lambda: cloud, 8, None)},
        Wallet(None, Decimal(0), {"west": purse}),
        items=100,
        ended=threading.Event(),
    )
    return Scene(backend, own, cloud, purse)


def test_the_own_model_makes_it_while_it_serves() -> None:
    found = scene(Fallback(unavailable=True))
    assert found.make() == "studio"
    assert found.cloud.calls == 0


def test_without_a_replica_the_provider_makes_it_and_is_paid() -> None:
    found = scene(Fallback(unavailable=True), ready=lambda: False)
    assert found.make() == "west/core"
    assert found.purse.paid == CENTS


def test_a_failure_lets_it_go_elsewhere_only_where_the_class_says_so() -> None:
    found = scene(Fallback(failures=ANYTHING))
    found.own.then = [Transient("lost")]
    assert found.make() == "west/core"
    strict = scene(Fallback())
    strict.own.then = [Transient("lost")]
    with pytest.raises(Transient):
        strict.make()
    assert strict.cloud.calls == 0


def test_a_spent_budget_leaves_the_own_model_which_is_waited_for() -> None:
    """The same whether the class names GPUUnavailable, BackendFailure or both."""
    for fallback in (Fallback(unavailable=True), Fallback(unavailable=True, failures=ANYTHING)):
        began = time.monotonic()
        found = scene(fallback, ready=lambda: time.monotonic() > began + 0.5, purse=Purse(empty=True))  # noqa: B023 - called in this round
        assert found.make() == "studio"
        assert found.cloud.calls == 0


def test_a_job_that_is_stopped_stops_at_once_whatever_it_waits_for() -> None:
    found = scene(Fallback(unavailable=True), ready=lambda: False)
    found.cloud.then = [Throttled("slow", retry_after=60.0)]
    threading.Timer(0.3, found.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        found.make()
    assert time.monotonic() - began < 5


def test_a_provider_that_says_zero_is_not_asked_a_thousand_times() -> None:
    found = scene(Fallback(), with_own=False)
    found.cloud.then = [Throttled("slow", retry_after=0.0)]
    assert found.make() == "west/core"
    assert found.cloud.calls == 2


def test_items_wait_for_the_one_that_tries_a_provider_after_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_REST_SECONDS", 0.5)
    found = scene(Fallback(failures=ANYTHING), with_own=False)
    found.cloud.then = [Transient("down") for _ in range(breaker.THRESHOLD)]
    for _ in range(breaker.THRESHOLD):
        with pytest.raises(Transient):
            found.make()
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(found.make())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert made == ["west/core"] * 6


def test_a_replica_that_goes_while_nobody_else_may_have_the_item_is_no_failure() -> None:
    found = scene(Fallback(unavailable=True, failures=ANYTHING), purse=Purse(empty=True))
    found.own.then = [CapacityQueued("its last replica is gone")]
    assert found.make() == "studio"


def test_what_a_person_must_mend_is_told_by_every_item(monkeypatch: pytest.MonkeyPatch) -> None:
    found = scene(Fallback(), with_own=False)
    found.cloud.then = [AuthConfig("the key is missing")]
    for _ in range(2):
        with pytest.raises(AuthConfig, match="the key is missing"):
            found.make()
    assert found.cloud.calls == 1


def test_what_a_policy_blocks_goes_nowhere_else() -> None:
    found = scene(Fallback(unavailable=True, failures=ANYTHING), ready=lambda: False)
    found.cloud.then = [ContentBlocked("no")]
    with pytest.raises(ContentBlocked):
        found.make()
    assert found.own.calls == 0
    assert found.purse.paid == 0
