"""How an item goes from backend to backend; that real ones behave so is seen in tests/worker/test_routed.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
from easel_inference.generation import Chosen, Finished, GenerationRequest, Inputs, Message, Timings
from easel_inference.jobs import routed
from easel_inference.jobs.routed import Cloud, Outstanding, OwnModel, RoutedBackend
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
    timings: Timings = field(default_factory=Timings)
    billed: Decimal | None = None
    works: threading.Event = field(default_factory=threading.Event)
    """Set while calls end."""
    seconds: float = 0.0
    """That each takes."""

    def __post_init__(self) -> None:
        self.works.set()

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        self.calls += 1
        assert self.works.wait(60)
        stop.wait(self.seconds)
        if self.then:
            raise self.then.pop(0)
        made = Finished(
            media_type="image/png", sha256="", width=1, height=1, seed=1, model_digest="", dtype="", device="", steps=1,
            timings=self.timings,
        )  # fmt: skip
        return Result(made, b"x", self.name, billed=self.billed)

    def resume(self, handle: str, request: GenerationRequest, on_event: OnEvent, stop: threading.Event) -> Result:
        return self.generate(request, Inputs(), on_event, stop)


class Purse:
    """Money without end, or none."""

    def __init__(
        self, *, empty: bool = False, share: Share | Callable[[], Share] = Share, seconds: float = 0.0
    ) -> None:
        self.empty, self.paid, self._share = empty, Decimal(0), share
        self._booking, self._seconds = threading.Lock(), seconds

    def take(self, price: Decimal, more: int) -> None:
        with self._booking:  # one at a time, as with the API server
            threading.Event().wait(self._seconds)
        if self.empty:
            raise BudgetSpent("spent", where="provider west")

    def settle(self, price: Decimal, cost: Decimal) -> None:
        self.paid += cost

    def share(self) -> Share:
        return self._share() if callable(self._share) else self._share

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
    heard: list[Message] = field(default_factory=list)

    def make(self, item: str = "0000") -> str:
        request = REQUEST.model_copy(update={"id": item})
        return self.backend.generate(request, Inputs(), self.heard.append, self.stop).backend

    @property
    def told(self) -> list[Chosen]:
        """Who was chosen, in turn."""
        return [each.event for each in self.heard if isinstance(each.event, Chosen)]


def scene(
    fallback: Fallback,
    *,
    ready: Callable[[], bool] = lambda: True,
    purse: Purse | None = None,
    with_own: bool = True,
    at_once: int = 8,
    policy: Policy = Policy.ORDERED,
    budget: Decimal | None = None,
    outstanding: dict[str, Outstanding] | None = None,
    spent: Decimal = Decimal(0),
    per_minute: int | None = None,
    another: Purse | None = None,
    no_client: EaselError | None = None,
    weight: float = 0.0,
) -> Scene:
    def client() -> Scripted:
        if no_client is not None:
            raise no_client
        return cloud

    clouds = {"west/core": Cloud("west", client, at_once, per_minute)}
    own, cloud, purse = Scripted("studio"), Scripted("west/core"), purse or Purse()
    candidates = (
        [Candidate("studio", own=True, resolved=Resolved(), price=Decimal(0), weight=weight)] if with_own else []
    )
    candidates.append(Candidate("west/core", own=False, resolved=Resolved(), price=CENTS, weight=weight))
    if another is not None:
        candidates.append(Candidate("east/core", own=False, resolved=Resolved(), price=CENTS))
        clouds["east/core"] = Cloud("east", client, at_once, None)
    backend = RoutedBackend(
        Plan(policy, tuple(candidates), {}),
        fallback,
        {"studio": OwnModel(own, ready)} if with_own else {},
        clouds,
        Wallet(budget, spent, {"west": purse, "east": another or Purse()}, len(outstanding or {})),
        items=100,
        ended=threading.Event(),
        outstanding=outstanding,
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


def test_who_is_chosen_and_who_is_passed_over_is_told_whenever_it_changes() -> None:
    found = scene(Fallback(failures=ANYTHING))
    found.own.then = [Transient("lost")]
    found.make()
    passed_over = {"studio": "this item failed there: Transient"}
    assert found.told == [
        Chosen(backend="studio", selected_reason="Ordered"),
        Chosen(backend="west/core", selected_reason="Fallback", passed_over=passed_over),
    ]


def test_of_an_item_that_nobody_may_make_it_is_told_why_of_each() -> None:
    found = scene(Fallback(failures=ANYTHING), with_own=False, budget=Decimal("0.01"))
    with pytest.raises(BudgetSpent):
        found.make()
    (told,) = found.told
    assert (told.backend, told.selected_reason) == ("", "")
    assert told.passed_over == {"west/core": "0.04 is more than the 0.01 that is left of the budget"}


def test_a_wait_that_changes_nothing_is_told_once() -> None:
    began = time.monotonic()
    found = scene(Fallback(), ready=lambda: time.monotonic() > began + 1)
    assert found.make() == "studio"
    away = Chosen(
        backend="", selected_reason="", passed_over={"studio": "it has no replica that serves, and is waited for"}
    )
    assert found.told == [away, Chosen(backend="studio", selected_reason="Ordered")]
    rests = scene(Fallback(), with_own=False)
    rests.cloud.then = [Throttled("slow", retry_after=2.5)]
    rests.make()
    assert [(each.backend, each.passed_over) for each in rests.told] == [
        ("west/core", {}), ("", {"west/core": "asked to wait"}), ("west/core", {}),
    ]  # fmt: skip


def test_an_item_that_is_drawn_for_an_own_model_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.1, *[0.9] * 1000])
    monkeypatch.setattr("random.random", lambda: next(draws))
    began = time.monotonic()
    found = scene(Fallback(), weight=1.0, ready=lambda: time.monotonic() > began + 1)
    assert found.make("0000") == "studio"
    assert found.make("0001") == "west/core"


def test_the_fastest_is_found_by_trying_each_once() -> None:
    found = scene(Fallback(), policy=Policy.FASTEST)
    found.own.seconds, found.cloud.seconds = 0.5, 0.0
    assert [found.make(str(number)) for number in range(5)] == ["studio", *["west/core"] * 4]


def test_of_many_threads_one_is_the_first_to_try_a_backend() -> None:
    found = scene(Fallback(), policy=Policy.FASTEST)
    found.own.works.clear()
    found.cloud.works.clear()
    with ThreadPoolExecutor(16) as pool:
        ends = [pool.submit(found.make, str(number)) for number in range(16)]
        until = time.monotonic() + 30
        while (
            found.own.calls + found.cloud.calls < 9
        ):  # of which eight are a Provider's at most, and one is the own model's
            assert time.monotonic() < until
            threading.Event().wait(0.01)
        assert found.cloud.calls == 1, "the own model comes first in the class"
        found.own.works.set()
        found.cloud.works.set()
    assert {end.result() for end in ends} == {"studio", "west/core"}


def test_a_backend_that_was_not_reached_is_not_a_slow_one() -> None:
    found = scene(Fallback(), policy=Policy.FASTEST)
    found.own.seconds = 0.3
    assert found.make("0") == "studio"
    found.cloud.then = [Throttled("slow", retry_after=1.0)]
    assert [found.make(str(number)) for number in (1, 2)] == ["studio"] * 2
    until = time.monotonic() + 30
    while (found.backend.decide({}, {}, 0.0).chosen or found.backend.plan.candidates[0]).own:
        assert time.monotonic() < until
    assert found.make("3") == "west/core"


def test_an_item_that_failed_somewhere_is_drawn_anew_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.1, 0.9, 0.1])
    monkeypatch.setattr("random.random", lambda: next(draws))
    found = scene(Fallback(failures=ANYTHING), weight=1.0, another=Purse())
    found.backend.plan = replace(
        found.backend.plan, candidates=tuple(replace(each, weight=1.0) for each in found.backend.plan.candidates)
    )
    found.own.then = [Transient("lost")]
    found.make()
    assert [each.backend for each in found.told] == ["studio", "east/core"]


def test_a_call_of_an_earlier_worker_whose_price_nobody_knows_costs_what_nobody_knows() -> None:
    found = scene(Fallback(), outstanding={"0000": Outstanding("west/core", "handle", None)})
    request = REQUEST.model_copy(update={"id": "0000"})
    result = found.backend.generate(request, Inputs(), found.heard.append, found.stop)
    assert result.paid is not None
    assert result.paid.price is None


def test_what_a_person_must_mend_is_told_of_each_item_that_goes_elsewhere() -> None:
    found = scene(Fallback(failures=ANYTHING | {"AuthConfig"}), with_own=False, another=Purse())
    found.cloud.then = [AuthConfig("the Secret's key API_KEY is missing", where="spec.credentials.secretRef")]
    assert [found.make(str(number)) for number in range(2)] == ["east/core"] * 2
    assert found.told[1].passed_over == {"west/core": "this item failed there: AuthConfig"}
    assert "spec.credentials.secretRef: the Secret's key API_KEY is missing" in found.told[2].passed_over["west/core"]


def test_a_spent_budget_leaves_the_own_model_which_is_waited_for() -> None:
    """The same whether the class names GPUUnavailable, BackendFailure or both."""
    for fallback in (Fallback(unavailable=True), Fallback(unavailable=True, failures=ANYTHING)):
        began = time.monotonic()
        found = scene(fallback, ready=lambda: time.monotonic() > began + 0.5, purse=Purse(empty=True))  # noqa: B023 - called in this round
        assert found.make() == "studio"
        assert found.cloud.calls == 0


def test_a_passing_fault_of_a_provider_does_not_leave_an_item_to_an_own_model_that_is_away() -> None:
    found = scene(Fallback(unavailable=True, failures=ANYTHING), ready=lambda: False)
    found.cloud.then = [Transient("503 once")]
    assert found.make() == "west/core"
    assert (found.cloud.calls, found.own.calls) == (2, 0)


def test_passing_faults_fail_no_item_whose_own_model_is_about_to_come() -> None:
    began = time.monotonic()
    found = scene(Fallback(unavailable=True, failures=ANYTHING), ready=lambda: time.monotonic() > began + 2)
    found.cloud.then = [Transient("down") for _ in range(20)]
    assert found.make() == "studio"
    assert found.cloud.calls <= 3


def test_an_item_that_a_provider_cannot_make_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "PATIENCE_SECONDS", 0.5)
    found = scene(Fallback(unavailable=True, failures=ANYTHING), ready=lambda: False)
    found.cloud.then = [Transient("down") for _ in range(20)]
    with pytest.raises(Transient):
        found.make()
    assert found.cloud.calls == 2


def test_an_own_model_that_is_away_is_waited_for_where_the_provider_will_not_do() -> None:
    began = time.monotonic()
    failures = ANYTHING | {"AuthConfig"}
    found = scene(Fallback(unavailable=True, failures=failures), ready=lambda: time.monotonic() > began + 0.5)
    found.cloud.then = [AuthConfig("the key is missing")]
    assert found.make() == "studio"


def test_a_provider_that_has_money_again_is_found_while_an_own_model_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "FORGET_SECONDS", 0.5)
    purse = Purse(empty=True)
    found = scene(Fallback(unavailable=True), ready=lambda: False, purse=purse)
    threading.Timer(0.3, lambda: setattr(purse, "empty", False)).start()
    assert found.make() == "west/core"


def test_a_job_that_has_failed_waits_for_no_own_model() -> None:
    for fallback in (Fallback(), Fallback(unavailable=True)):
        found = scene(fallback, ready=lambda: False, purse=Purse(empty=True))
        threading.Timer(0.3, found.backend.ended.set).start()
        with pytest.raises(Cancelled):
            found.make()


def test_the_time_that_a_backend_worked_is_not_waited_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "PATIENCE_SECONDS", 0.2)
    found = scene(Fallback(failures=ANYTHING))
    found.own.works.clear()
    found.own.then = [Transient("lost behind much work")]
    threading.Timer(0.5, found.own.works.set).start()
    assert found.make() == "west/core"


def test_money_that_calls_under_way_may_leave_is_waited_for() -> None:
    found = scene(Fallback(), with_own=False, budget=Decimal("0.05"))
    found.cloud.billed = Decimal("0.01")
    found.cloud.works.clear()
    threading.Timer(0.5, found.cloud.works.set).start()
    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(found.make) for _ in range(3)]
    errors = [end.exception() for end in ends]
    # 0.04 is asked for before each call: with 0.01 paid there is that, with 0.02 there is not.
    assert [type(error) for error in errors if error] == [BudgetSpent]
    assert found.purse.paid == Decimal("0.02")


def test_what_a_person_has_mended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.1)
    found = scene(Fallback(), with_own=False, budget=CENTS)
    found.cloud.then = [AuthConfig("the key is missing")]
    with pytest.raises(AuthConfig):
        found.make()
    until = time.monotonic() + 30
    while found.backend.decide({}, {}, 0.0).chosen is None:
        assert time.monotonic() < until
    assert found.make() == "west/core"
    with pytest.raises(BudgetSpent):
        found.make()


def test_the_queue_that_an_own_model_once_had_does_not_count_as_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    serves, purse = [True], Purse(empty=True)
    found = scene(Fallback(failures=ANYTHING), policy=Policy.FASTEST, ready=lambda: serves[0], purse=purse)
    found.own.seconds, found.own.timings, found.cloud.seconds = 1.0, Timings(queued=0.95), 0.5
    assert found.make() == "studio", "nobody else has money"
    purse.empty, serves[0] = False, False
    assert found.make() == "west/core"
    serves[0] = True
    assert found.make() == "west/core", "the queue and 0.05 s are more than 0.5 s"
    monkeypatch.setattr(routed, "QUEUED_SECONDS", 0.0)
    assert found.make() == "studio", "the queue is over"


def test_a_turn_that_is_waited_for_counts_as_the_time_of_a_provider() -> None:
    found = scene(Fallback(failures=ANYTHING), policy=Policy.FASTEST, with_own=False, per_minute=60)
    for _ in range(2):
        found.make()
    assert 0.1 < (found.backend._states["west/core"].run_seconds or 0) < 1


def test_a_call_of_an_earlier_worker_stays_out_where_nobody_can_be_asked_for_it() -> None:
    """A Secret that is missing says nothing of the call, which the provider has been paid for: the next worker asks."""
    out = {"0000": Outstanding("west/core", "handle", CENTS)}
    found = scene(
        Fallback(failures=ANYTHING | {"AuthConfig"}), outstanding=out, no_client=AuthConfig("the key is missing")
    )
    with pytest.raises(AuthConfig):
        found.make()
    assert found.own.calls == 0


def test_a_turn_is_waited_for_where_another_provider_has_no_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    west = Purse(share=lambda: Share(1, 2) if time.monotonic() < began + 1.5 else Share())
    found = scene(Fallback(failures=ANYTHING), with_own=False, purse=west, at_once=1, another=Purse(empty=True))
    assert found.make() == "west/core"


def test_items_that_a_provider_has_no_money_for_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "MONEY_SECONDS", 0.1)
    found = scene(Fallback(), with_own=False, purse=Purse(empty=True, seconds=0.05), at_once=16)
    with ThreadPoolExecutor(16) as pool:
        ends = [pool.submit(found.make) for _ in range(16)]
    assert [type(end.exception()) for end in ends] == [BudgetSpent] * 16


def test_money_that_calls_of_an_earlier_worker_may_leave_is_waited_for() -> None:
    out = {"0001": Outstanding("west/core", "handle", CENTS)}
    found = scene(Fallback(), with_own=False, budget=Decimal("0.05"), spent=CENTS, outstanding=out)
    found.cloud.billed = Decimal("0.01")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(found.make)
        threading.Event().wait(0.3)  # it has seen by then that there is not enough
        assert pool.submit(found.make, "0001").result() == "west/core"
        assert first.result() == "west/core"


def test_a_call_of_an_earlier_worker_that_a_policy_blocks_goes_elsewhere_where_the_class_says_so() -> None:
    out = {"0000": Outstanding("west/core", "handle", CENTS)}
    found = scene(Fallback(failures=ANYTHING | {"ContentBlocked"}), outstanding=dict(out))
    found.cloud.then = [ContentBlocked("no")]
    assert found.make() == "studio"
    strict = scene(Fallback(failures=ANYTHING), outstanding=dict(out))
    strict.cloud.then = [ContentBlocked("no")]
    with pytest.raises(ContentBlocked):
        strict.make()


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


def test_an_item_that_other_jobs_leave_no_turn_for_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    found = scene(
        Fallback(unavailable=True, failures=ANYTHING),
        ready=lambda: time.monotonic() > began + 0.5,
        purse=Purse(share=Share(1, 2)),
        at_once=1,
    )
    assert found.make() == "studio"
    assert found.cloud.calls == 0
    assert found.backend.decide({}, {}, 0.0).chosen.name == "studio"  # type: ignore[union-attr] # found.make() had it, too


def test_an_item_that_nobody_else_may_have_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the calls of other jobs leave it none: neither it nor the Provider has failed."""
    monkeypatch.setattr(routed, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    purse = Purse(share=lambda: Share(1, 2) if time.monotonic() < began + 1.5 else Share())
    found = scene(Fallback(failures=ANYTHING), with_own=False, purse=purse, at_once=1)
    assert found.make() == "west/core"
    assert found.cloud.calls == 1


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
