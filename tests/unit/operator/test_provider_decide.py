"""What is said of a Provider, and when; a real API server sees the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from operator_views import NOW, environment

from easel_api.offers import Offer
from easel_api.provider import Account, ProviderSpec, ProviderStatus, Spend
from easel_inference.catalog.merging import offer_of
from easel_operator.core.actions import Action, Apply, ApplyStatus, Delete, SettleSpend
from easel_operator.core.decision import Refusal
from easel_operator.core.manifests import sealed
from easel_operator.core.observed import Child, Identity, Problem, ProviderView
from easel_operator.core.provider.decide import decide
from easel_operator.core.provider.sharing import role, role_binding
from easel_operator.core.resources import PROVIDERS, Key

KEY = Key(PROVIDERS.kind, "art", "west")
CORE = "stability.stable-image-core-v1:1"


def view(**changes: Any) -> ProviderView:
    body: dict[str, Any] = {
        "family": "BedrockInvoke",
        "region": "us-west-2",
        "credentials": {"workloadIdentity": {}},
        "offers": [{"model": CORE}],
    }
    spec = ProviderSpec.model_validate(body | changes)
    offers: dict[str, Offer | None] = {each.model: offer_of(spec, each.model) for each in spec.offers}
    return ProviderView(Identity(KEY, "uid", 1, "100"), spec, ProviderStatus(), offers)


def written(found: ProviderView) -> dict[str, Any]:
    (status,) = [each for each in decide(found, environment()).actions if isinstance(each, ApplyStatus)]
    return status.status


def said(found: ProviderView) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in written(found)["conditions"]}


def message(found: ProviderView, of: str = "Ready") -> str:
    return next(str(each["message"]) for each in written(found)["conditions"] if each["type"] == of)


def test_it_is_looked_at_again_at_the_next_day() -> None:
    assert decide(view(), environment(datetime(2026, 11, 28, 23, 59, 0, tzinfo=UTC))).requeue_after == 61


def test_what_is_said_is_said_once() -> None:
    found = view()
    after = replace(found, status=ProviderStatus.model_validate(written(found)))
    assert decide(after, environment(NOW + timedelta(hours=1))).settled


@pytest.mark.parametrize(
    ("lifecycle", "expected"),
    [
        ("Retires", {"Ready": ("True", "Configured"), "OffersServed": ("True", "Retiring")}),
        (
            "Retired",
            {
                "Ready": ("False", "ModelRetired"),
                "Stalled": ("True", "ModelRetired"),
                "OffersServed": ("False", "ModelRetired"),
            },
        ),
    ],
)
def test_a_model_that_goes_or_is_gone(lifecycle: str, expected: dict[str, tuple[str, str]]) -> None:
    found = view()
    offer = found.offers[CORE]
    assert offer is not None
    step = {"event": lifecycle, "day": "2026-01-01", "source": "a page", "checkedAt": "2025-11-23"}
    body = {"model": CORE, "tasks": ["text-to-image"], "source": "s", "checkedAt": "2025-11-23", "lifecycle": [step]}
    going = Offer.model_validate(body | {"successor": "core-v2"})
    changed = replace(found, offers={CORE: going})
    assert said(changed) == expected
    assert "core-v2 follows it" in written(changed)["offers"][0]["message"]


TASKS = {"tasks": ["text-to-image"]}


def test_a_model_that_nobody_knows_is_told_what_would_mend_it() -> None:
    found = view(family="SageMaker", offers=[{"model": "ours"}])
    assert said(found)["Stalled"] == ("True", "InvalidInput")
    assert message(found).endswith("the catalogue knows no ours of SageMaker; name the tasks and prices of each")
    assert message(view(family="SageMaker", offers=[{"model": "ours", **TASKS}])) == "1 of 1 offers can be used"


def test_tasks_are_not_asked_for_where_they_would_mend_nothing() -> None:
    for offer in ({"model": "ours"}, {"model": "ours", **TASKS}):
        found = view(offers=[offer])
        assert "whatever an offer says: name one of them" in message(found)
        assert "tasks" not in message(found) + written(found)["offers"][0]["message"]
    assert message(view(offers=[{"model": CORE}])) == "1 of 1 offers can be used"


@pytest.mark.parametrize(
    ("changes", "bad", "mend"),
    [
        ({"family": "SageMaker"}, {"model": "ours"}, "name the tasks and prices of each"),
        ({}, {"model": "ours", **TASKS}, "or take the offer out"),
    ],
    ids=["open", "coded"],
)
def test_an_offer_that_nobody_knows_leaves_the_others_usable(
    changes: dict[str, Any], bad: dict[str, Any], mend: str
) -> None:
    good = {"model": "known", **TASKS} if changes else {"model": CORE}
    found = view(**changes, offers=[good, bad])
    assert said(found) == {"Ready": ("True", "Configured"), "OffersServed": ("False", "InvalidInput")}
    assert message(found) == "1 of 2 offers can be used"
    assert message(found, "OffersServed").startswith("spec.offers: the catalogue knows no ours of ")
    assert message(found, "OffersServed").endswith(mend)


ERASER = "us.stability.stable-image-erase-object-v1:0"
IDLE = {"model": ERASER, "tasks": ["upscale"]}
"""Its row has another task."""


def test_an_offer_that_does_no_task_is_not_one_that_can_be_used() -> None:
    both, alone = view(offers=[{"model": CORE}, IDLE]), view(offers=[IDLE])
    does = "does nothing"
    assert (
        written(both)["offers"][1]["message"]
        == f"{does}: its row in the catalogue has none of the tasks that the offer names"
    )
    assert said(both) == {"Ready": ("True", "Configured"), "OffersServed": ("False", "InvalidInput")}
    assert message(both) == "1 of 2 offers can be used"
    told = f"spec.offers: {ERASER} {does} (status.offers says why); take it out"
    assert message(both, "OffersServed") == told
    assert said(alone)["Stalled"] == ("True", "InvalidInput")
    assert message(alone) == told


def test_the_longest_words_of_a_source_fit_into_the_status() -> None:
    body = {"model": CORE, "tasks": ["upscale"], "source": "s", "checkedAt": "2025-11-23", "regions": ["x" * 64] * 9}
    assert len(written(replace(view(), offers={CORE: Offer.model_validate(body)}))["offers"][0]["message"]) == 512


def test_what_mends_it_is_told_however_many_offers_nobody_knows() -> None:
    found = view(family="SageMaker", offers=[{"model": f"{each}-{'x' * 120}"} for each in range(9)])
    assert message(found).endswith("(and 6 more) of SageMaker; name the tasks and prices of each")


def test_mistakes_are_told_before_what_is_gone() -> None:
    step = {"event": "Retired", "day": "2025-01-01", "source": "a page", "checkedAt": "2025-11-23"}
    body = {"model": CORE, "source": "s", "checkedAt": "2025-11-23", "lifecycle": [step]}
    found = view(offers=[{"model": CORE}, {"model": "ours"}, IDLE])
    changed = replace(found, offers=found.offers | {CORE: Offer.model_validate(body)})
    assert said(changed)["Stalled"] == ("True", "InvalidInput")
    ours, idle, gone = (message(changed).index(part) for part in ("no ours of", "does nothing", "is no longer served"))
    assert ours < idle < gone


def test_a_spec_that_does_not_parse_is_told() -> None:
    broken = replace(view(), spec=Problem("InvalidInput", "spec.family: Input should be ..."))
    assert said(broken)["Stalled"] == ("True", "InvalidInput")


def test_accounts_of_jobs_that_are_over_are_closed_one_write_at_a_time() -> None:
    found = view()
    accounts = [
        Account(holder="over", reserved=Decimal("0.12"), paid=Decimal("0.04")),
        Account(holder="works", reserved=Decimal("0.08")),
    ]
    status = ProviderStatus.model_validate(written(found)).model_copy(update={"spend": Spend(accounts=accounts)})
    now = replace(found, status=status, underway=frozenset({"works"}))
    (action,) = decide(now, environment()).actions
    assert isinstance(action, SettleSpend)
    assert action.resource_version == "100"
    assert [each["holder"] for each in action.spend["accounts"]] == ["works"]
    assert action.spend["day"] == {"name": NOW.date().isoformat(), "amount": "0.12"}
    unwritten = replace(now, status=ProviderStatus(spend=status.spend))
    assert not any(isinstance(each, SettleSpend) for each in decide(unwritten, environment()).actions)


def test_a_provider_that_goes_is_left_alone() -> None:
    found = view()
    assert decide(replace(found, identity=replace(found.identity, deleting=True)), environment()).settled


SHARING = environment(providers_across_namespaces=True)
OPEN: dict[str, Any] = {"namespaceSelector": {}}


def children(found: ProviderView, *users: str) -> dict[str, Child]:
    """The Role and the RoleBinding as they are once they were applied."""
    made = (role(found.identity), role_binding(found.identity, users, SHARING.configuration))
    bodies = {each.resource.kind: sealed(each).body for each in made}
    return {
        kind: Child(
            body["metadata"]["name"],
            kind,
            "uid",
            body["metadata"]["annotations"]["easel.dev/rendered"],
            False,
            "7",
            body,
        )
        for kind, body in bodies.items()
    }


def shared(found: ProviderView) -> list[Action]:
    return [each for each in decide(found, SHARING).actions if isinstance(each, Apply | Delete)]


def test_other_namespaces_that_may_use_it_get_their_workers_the_rights() -> None:
    found = replace(view(**OPEN), users=("lab", "studio"))
    made = shared(found)
    assert all(isinstance(each, Apply) and not each.version for each in made)
    bodies = [each.manifest.body for each in made if isinstance(each, Apply)]
    assert [body["kind"] for body in bodies] == ["Role", "RoleBinding"], "nobody is bound to what is not there"
    assert {rule["resourceNames"][0] for rule in bodies[0]["rules"]} == {"west"}
    assert {(subject["name"], subject["namespace"]) for subject in bodies[1]["subjects"]} == {
        ("easel-worker", "lab"),
        ("easel-worker", "studio"),
    }
    assert shared(replace(found, children=children(found, "lab", "studio"))) == []
    (changed,) = shared(replace(found, children=children(found, "lab")))
    assert isinstance(changed, Apply)
    assert (changed.manifest.resource.kind, changed.version) == ("RoleBinding", "7")


def test_what_lets_them_goes_with_the_selector_or_the_last_of_them() -> None:
    found = view()
    gone = shared(replace(found, children=children(found, "lab")))
    assert [each.reference.resource.kind for each in gone if isinstance(each, Delete)] == ["RoleBinding", "Role"]
    others = {kind: replace(child, owner_uid="another") for kind, child in children(found, "lab").items()}
    assert shared(replace(found, children=others)) == [], "what is somebody else's stays"
    unread = replace(found, spec=Problem("InvalidInput", "spec.family"), children=children(found, "lab"))
    assert shared(unread) == [], "what cannot be read takes nothing"


def test_who_else_may_use_it_is_told() -> None:
    def ready(found: ProviderView, where: Any = SHARING) -> str:
        actions = [each for each in decide(found, where).actions if isinstance(each, ApplyStatus)]
        return next(str(each["message"]) for each in actions[0].status["conditions"] if each["type"] == "Ready")

    found = replace(view(**OPEN), users=("lab",))
    assert ready(view()) == "1 of 1 offers can be used"
    assert ready(found).endswith("; also by 1 other namespace")
    assert "providers.acrossNamespaces" in ready(view(**OPEN), environment())
    refused = replace(found, refusal=Refusal("NameTaken", "an object of this name belongs to somebody else"))
    assert ready(refused).endswith("was refused: an object of this name belongs to somebody else")
    assert shared(refused) == []
