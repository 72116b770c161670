"""From a job, its class and Providers to a choice."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from easel_api.errors import ERRORS
from easel_api.generationclass import GenerationClassSpec
from easel_api.generationjob import GenerationJobSpec
from easel_api.offers import Honours, Keeps, WireFamily
from easel_api.provider import ProviderSpec
from easel_inference.catalog.merging import keeps_of, offer_of, row_of
from easel_inference.routing.classes import account_of, allowed_by, backends_of, fallback_of, request_of
from easel_inference.routing.plan import Policy, plan

TODAY = date(2026, 11, 28)
CORE = "stability.stable-image-core-v1:1"
BEDROCK: dict[str, Any] = {
    "family": "BedrockInvoke",
    "region": "us-west-2",
    "credentials": {"workloadIdentity": {}},
    "offers": [{"model": CORE}],
}


def provider(**changes: Any) -> ProviderSpec:
    return ProviderSpec.model_validate(BEDROCK | changes)


def job(**changes: Any) -> GenerationJobSpec:
    body = {"task": "text-to-image", "generationClassName": "studio", "prompts": [{"text": "a mug"}]}
    return GenerationJobSpec.model_validate(body | changes)


def of_class(*backends: dict[str, Any], **changes: Any) -> GenerationClassSpec:
    return GenerationClassSpec.model_validate({"backends": list(backends)} | changes)


def test_what_a_provider_says_goes_before_the_catalogue() -> None:
    found = offer_of(provider(offers=[{"model": CORE, "prices": [{"amount": "0.03", "per": "Image"}]}]), CORE)
    assert found is not None
    assert [str(price.amount) for price in found.prices] == ["0.03"]
    assert found.regions == ["us-west-2"], "what it leaves out is the catalogue's"


def test_a_model_that_nobody_knows_needs_its_tasks() -> None:
    assert offer_of(provider(family="SageMaker", offers=[{"model": "mine"}]), "mine") is None
    told = [{"model": "mine", "tasks": ["text-to-image"]}]
    assert offer_of(provider(offers=told), "mine") is None, "each of Bedrock's is asked in words of its own"
    found = offer_of(provider(family="SageMaker", offers=told), "mine")
    assert found is not None
    assert found.tasks == ["text-to-image"]
    assert offer_of(provider(), "another") is None


def test_a_provider_may_say_less_than_the_catalogue_and_not_more() -> None:
    """Its client sends what the row says; what it would leave out would be paid for and not made."""
    wide = {"model": CORE, "tasks": ["text-to-image", "image-to-image"], "honours": ["seed", "steps"]}
    sizes = {"aspectRatios": ["1:1", "5:7"], "free": {"multipleOf": 8, "minPixels": 1, "maxPixels": 1048576}}
    found = offer_of(provider(offers=[wide | {"sizes": sizes}]), CORE)
    assert found is not None
    assert (found.tasks, found.honours) == (["text-to-image"], ["seed"])
    assert (found.sizes.aspect_ratios, found.sizes.free) == (["1:1"], None)


@pytest.mark.parametrize("sizes", [{"scales": [2]}, {"scales": [2, 4]}, {}])
def test_a_model_that_makes_one_scale_makes_it_whatever_a_provider_says(sizes: dict[str, Any]) -> None:
    """No scales would mean any."""
    fast = "us.stability.stable-fast-upscale-v1:0"
    found = offer_of(provider(offers=[{"model": fast, "sizes": sizes}]), fast)
    assert found is not None
    assert found.sizes.scales == [4]


def test_the_offers_of_one_entry_have_its_weight_together() -> None:
    ultra = "stability.stable-image-ultra-v1:1"
    own, west = {"modelDeployment": {"name": "studio"}}, {"provider": {"name": "west"}}
    spec = of_class(own | {"weight": 90}, west | {"weight": 10})
    account = account_of(provider(offers=[{"model": CORE}, {"model": ultra}, {"model": "no-such-model"}]))
    made = plan(request_of(job(), 5), backends_of(spec, {"studio": ""}, {"west": account}), spec.policy, TODAY)
    weights = {each.name: each.weight for each in made.candidates}
    assert weights == {"studio": 90.0, f"west/{CORE}": 5.0, f"west/{ultra}": 5.0}, "one that is out has no part"


def test_a_model_that_was_on_two_surfaces_is_gone_on_the_day_of_its_own() -> None:
    rows = [row_of(family, "dall-e-3") for family in (WireFamily.OPENAI_IMAGES, WireFamily.AZURE_OPENAI_IMAGES)]
    assert [row.ends() for row in rows if row] == [date(2026, 5, 12), date(2026, 7, 31)]


def test_a_price_that_nobody_knows_passes_no_limit() -> None:
    spec = of_class({"provider": {"name": "west"}}, allow={"unknownPrice": True})
    for spend, candidates in (({}, 1), ({"perDay": "5"}, 0)):
        account = account_of(provider(offers=[{"model": CORE, "prices": []}], spend=spend))
        made = plan(
            request_of(job(), 5), backends_of(spec, {}, {"west": account}), spec.policy, TODAY, allowed_by(spec.allow)
        )
        assert len(made.candidates) == candidates, made.refused


def test_what_a_contract_lets_a_provider_keep_goes_before_what_the_surface_says() -> None:
    assert keeps_of(provider(), CORE) is Keeps.UNKNOWN
    assert keeps_of(provider(keeps="Nothing"), CORE) is Keeps.NOTHING


def test_a_model_may_keep_more_than_its_surface() -> None:
    omni = "gemini-omni-1.2-flash"
    google = {"family": "VertexInteractions", "region": "us-central1", "project": "p", "offers": [{"model": omni}]}
    assert keeps_of(provider(**google | {"family": "VertexLongRunning"}), "veo-3.1-generate-001") is Keeps.LIMITED
    assert keeps_of(provider(**google), omni) is Keeps.UNKNOWN
    assert keeps_of(provider(**google, keeps="Limited"), omni) is Keeps.LIMITED
    spec = of_class({"provider": {"name": "google"}}, allow={"keeps": ["Nothing", "Limited"], "unknownPrice": True})
    for said, refused in (
        ({}, {f"google/{omni}": "the class allows no provider that keeps Unknown"}),
        ({"keeps": "Limited"}, {}),
    ):
        found = backends_of(spec, {}, {"google": account_of(provider(**google, **said))})
        made = plan(request_of(job(task="text-to-video"), 5), found, spec.policy, TODAY, allowed_by(spec.allow))
        assert made.refused == refused


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"parameters": {"seeds": [1]}}, {Honours.SEED}),
        ({"parameters": {"steps": 20, "guidanceScale": 4}}, {Honours.STEPS, Honours.GUIDANCE_SCALE}),
        ({"prompts": [{"text": "a", "negative": "b"}]}, {Honours.NEGATIVE}),
        ({"quality": "Draft", "reproducible": True}, {Honours.QUALITY, Honours.REPRODUCIBLE}),
        ({"adapters": [{"name": "ink"}]}, {Honours.ADAPTERS}),
        ({"task": "text-to-video", "parameters": {"frames": 16}}, {Honours.FRAMES}),
        ({"task": "text-to-video", "parameters": {"frames": 16, "fps": 8}}, {Honours.FPS}),
    ],
)
def test_only_what_a_person_wrote_down_binds(changes: dict[str, Any], expected: set[Honours]) -> None:
    assert request_of(job(**changes), 5).set_parameters == expected


def test_frames_and_their_pace_are_a_length() -> None:
    assert request_of(job(task="text-to-video", parameters={"frames": 32, "fps": 8}), 5).seconds == 4


def test_a_price_is_of_the_quality_that_a_job_names() -> None:
    assert request_of(job(), 5).quality is None
    assert request_of(job(quality="Draft"), 5).quality == "Draft"


def test_every_backend_of_a_class_is_a_candidate_or_refused_with_a_reason() -> None:
    spec = of_class(
        {"modelDeployment": {"name": "studio"}},
        {"modelDeployment": {"name": "other"}},
        {"provider": {"name": "west"}},
        {"provider": {"name": "nowhere"}},
        {"provider": {"name": "west"}, "models": ["no-such-model"]},
    )
    accounts = {"west": account_of(provider())}
    made = plan(
        request_of(job(), 5), backends_of(spec, {"studio": ""}, accounts), spec.policy, TODAY, allowed_by(spec.allow)
    )
    assert [each.name for each in made.candidates] == ["studio", f"west/{CORE}"]
    assert made.refused == {
        "other": "there is no such ModelDeployment in the job's namespace",
        "nowhere": "there is no such Provider",
        "west/no-such-model": "neither the Provider nor the catalogue has such an offer",
    }


def test_an_offer_that_is_none_says_what_it_lacks() -> None:
    spec = of_class({"provider": {"name": "west"}})
    for family, told in (("SageMaker", "the offer names no tasks"), ("BedrockInvoke", "whatever the offer says")):
        account = account_of(provider(family=family, offers=[{"model": "ours"}]))
        made = plan(request_of(job(), 5), backends_of(spec, {}, {"west": account}), spec.policy, TODAY)
        assert [told in reason for reason in made.refused.values()] == [True], made.refused


def test_an_offer_that_is_none_leaves_the_others_of_its_provider() -> None:
    account = account_of(provider(offers=[{"model": "ours"}, {"model": CORE}]))
    backends = backends_of(of_class({"provider": {"name": "west"}}), {}, {"west": account})
    made = plan(request_of(job(), 5), backends, Policy.ORDERED, TODAY)
    assert [each.name for each in made.candidates] == [f"west/{CORE}"]
    assert list(made.refused) == ["west/ours"]


def test_a_class_that_allows_little_refuses_what_is_not_known() -> None:
    for allow, reason in (
        ({"keeps": ["Nothing"]}, "the class allows no provider that keeps Unknown"),
        ({"regions": ["eu-central-1"]}, "the class allows no region us-west-2"),
    ):
        spec = of_class({"provider": {"name": "west"}}, allow=allow)
        found = backends_of(spec, {}, {"west": account_of(provider())})
        made = plan(request_of(job(), 5), found, spec.policy, TODAY, allowed_by(spec.allow))
        assert list(made.refused.values()) == [reason]


def test_what_may_be_paid_for_already_goes_nowhere_else() -> None:
    nowhere = {"AmbiguousSubmit", "BilledBadOutput", "Cancelled", "ContentBlocked", "InvalidInput"}
    always = fallback_of(of_class({"modelDeployment": {"name": "a"}}, fallback={"when": ["BackendFailure"]}))
    assert always.failures == frozenset(ERRORS) - nowhere
    assert fallback_of(of_class({"modelDeployment": {"name": "a"}})).failures == frozenset()
    blocked = of_class({"modelDeployment": {"name": "a"}}, fallback={"onContentBlocked": "FallBack"})
    assert fallback_of(blocked).failures == {"ContentBlocked"}


def test_a_provider_of_another_namespace_has_its_full_name() -> None:
    spec = of_class({"provider": {"name": "west"}}, {"provider": {"name": "west", "namespace": "platform"}})
    theirs = {"west": account_of(provider()), "west.platform": "its namespaceSelector does not select namespace art"}
    assert [(each.name, each.refusal) for each in backends_of(spec, {}, theirs, "art")] == [
        (f"west/{CORE}", ""),
        ("west.platform", "its namespaceSelector does not select namespace art"),
    ]
    ours = backends_of(spec, {}, {"west": account_of(provider())}, "platform")
    assert {each.name for each in ours} == {f"west/{CORE}"}, "to its own it has its own name"


def test_a_price_that_nobody_knows_passes_no_limit_of_a_namespace() -> None:
    spend = {"perNamespace": {"perMonth": "5"}}
    (found,) = backends_of(of_class({"provider": {"name": "west"}}), {}, {"west": account_of(provider(spend=spend))})
    assert found.limited
