"""Expansion: every combination once, in one order, with ids that follow from what defines an item."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import InvalidInput
from easel_api.generationjob import MAX_ITEMS, GenerationJobSpec
from easel_api.tasks import Quality
from easel_inference.generation import Expand
from easel_inference.jobs.items import expand, spec_hash

IMAGE = {"image": {"uri": "s3://art/a.png"}}
WORDS = st.text("abcdefgh ", min_size=1, max_size=12)
NAMES = st.text("abcdefgh", min_size=1, max_size=4)


def spec(**fields: Any) -> GenerationJobSpec:
    base = {"task": "text-to-image", "backends": [{"modelDeployment": "mini"}], "prompts": [{"text": "a mug"}]}
    return GenerationJobSpec.model_validate(base | fields)


@st.composite
def specs(draw: st.DrawFn) -> GenerationJobSpec:
    matrix = draw(st.dictionaries(NAMES, st.lists(WORDS, min_size=1, max_size=4), max_size=3))
    holes = "".join(f"{{{{ {name} }}}}" for name in matrix)
    prompts = [{"text": text + holes} for text in draw(st.lists(WORDS, min_size=1, max_size=3))]
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
    return spec(prompts=prompts, matrix=matrix, parameters={"seeds": seeds})


@given(specs())
def test_there_are_as_many_items_as_the_spec_says_and_no_two_share_an_id(job: GenerationJobSpec) -> None:
    ids = [item.id for item in expand(job)]
    assert len(ids) == len(set(ids)) == job.item_count()
    assert ids == sorted(ids)


@given(specs())
def test_items_are_the_same_however_the_map_is_ordered(job: GenerationJobSpec) -> None:
    manifest = job.to_manifest()
    turned = dict(reversed(list(manifest.get("matrix", {}).items())))
    assert expand(GenerationJobSpec.model_validate(manifest | {"matrix": turned})) == expand(job)


@given(specs(), st.integers(1, 100))
def test_another_parameter_makes_other_ids_for_every_item(job: GenerationJobSpec, steps: int) -> None:
    changed = spec(**(job.to_manifest() | {"parameters": {"seeds": job.parameters.seeds, "steps": 200 - steps}}))
    assert not {item.id for item in expand(job)} & {item.id for item in expand(changed)}


def test_order_is_prompts_then_variables_by_name_then_seeds() -> None:
    job = spec(
        prompts=[{"text": "{{b}}{{a}}"}, {"text": "x", "negative": "{{a}}"}],
        matrix={"b": ["1", "2"], "a": ["p", "q"]},
        parameters={"seeds": [5, 3]},
    )
    made = [(item.request.prompt, item.request.negative_prompt, item.request.seed) for item in expand(job)]
    assert made[:5] == [("1p", "", 5), ("1p", "", 3), ("2p", "", 5), ("2p", "", 3), ("1q", "", 5)]
    assert made[8:10] == [("x", "p", 5), ("x", "p", 3)]


def test_ids_are_stable_across_releases() -> None:
    # A changed hash would make a new release generate the finished items of a running job again.
    assert [item.id for item in expand(spec(parameters={"seeds": [1, 2]}))] == ["0000-496893d8", "0001-aa491234"]


PAINTED = {
    "task": "inpaint",
    "inputs": {"image": {"uri": "s3://art/a.png"}, "mask": {"uri": "s3://art/m.png"}},
}


def test_ids_and_hashes_of_jobs_that_name_inputs_are_stable_too() -> None:
    job = spec(**PAINTED)
    assert expand(job)[0].id == "0000-d1523d19"
    assert spec_hash(job) == "7a9fbc416bbfe40479114ef2c13f21fde5e94689d2336f6378cb9bbd25b01567"


def test_a_request_holds_everything_that_a_job_says() -> None:
    adapters = [{"name": "watercolour", "weight": 0.8}, {"name": "mugs"}]
    job = spec(
        **PAINTED,
        parameters={"maskColours": ["#dc143c", "#4682b4"], "strength": 0.5, "width": 128, "height": 64},
        adapters=adapters,
        quality="Draft",
        reproducible=True,
    )
    (item,) = expand(job)
    assert item.request.mask_colours == ("#4682b4", "#dc143c")
    assert [(use.name, use.weight) for use in item.request.adapters] == [("mugs", 1.0), ("watercolour", 0.8)]
    assert (item.request.quality, item.request.reproducible) == (Quality.DRAFT, True)
    assert (item.request.priority, item.request.deadline_seconds) == (0, None)
    grown = spec(task="outpaint", inputs=IMAGE, parameters={"expand": {"left": 64, "bottom": 8}})
    assert expand(grown)[0].request.expand == Expand(left=64, bottom=8)
    assert expand(spec(task="upscale", inputs=IMAGE, parameters={"scale": 3}))[0].request.scale == 3


def test_a_clip_leads_from_one_filled_text_to_another() -> None:
    job = spec(
        task="interpolation",
        prompts=[{"text": "a {{from}} mug", "end": "a {{to}} mug"}],
        matrix={"from": ["red"], "to": ["blue", "white"]},
        parameters={"endSeed": 9},
    )
    made = [(item.request.prompt, item.request.end_prompt, item.request.end_seed) for item in expand(job)]
    assert made == [("a red mug", "a blue mug", 9), ("a red mug", "a white mug", 9)]


def test_a_generator_without_prompts_makes_one_item_for_each_seed() -> None:
    made = expand(spec(task="latent-to-image", prompts=[], parameters={"seeds": [4, 5], "truncation": 0.5}))
    assert [(item.request.prompt, item.request.seed, item.request.truncation) for item in made] == [
        ("", 4, 0.5),
        ("", 5, 0.5),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"adapters": [{"name": "a"}]},
        {"adapters": [{"name": "a", "weight": 0.5}]},
        {"quality": "Draft"},
        {"reproducible": True},
        {"parameters": {"maskColours": ["#dc143c"]}},
        {"inputs": PAINTED["inputs"] | {"mask": {"uri": "s3://art/other.png"}}},
        {"inputs": PAINTED["inputs"] | {"control": {"uri": "s3://art/c.png"}}},
        {"inputs": PAINTED["inputs"] | {"clip": {"uri": "s3://art/c.mp4"}}},
    ],
)
def test_whatever_decides_a_result_makes_another_id_and_hash(change: dict[str, Any]) -> None:
    before, after = spec(**PAINTED), spec(**(PAINTED | change))
    assert expand(before)[0].id != expand(after)[0].id
    assert spec_hash(before) != spec_hash(after)


def test_the_order_of_a_map_or_set_says_nothing() -> None:
    one = spec(**PAINTED, adapters=[{"name": "a"}, {"name": "b"}], parameters={"maskColours": ["#000000", "#ffffff"]})
    other = spec(**PAINTED, adapters=[{"name": "b"}, {"name": "a"}], parameters={"maskColours": ["#ffffff", "#000000"]})
    assert expand(one) == expand(other)


def test_values_are_not_searched_for_variables_again() -> None:
    assert expand(spec(prompts=[{"text": "{{a}}"}], matrix={"a": ["{{a}}"]}))[0].request.prompt == "{{a}}"


@pytest.mark.parametrize(
    ("fields", "where", "found"),
    [
        ({"prompts": [{"text": "a"}, {"text": "{{colour}}"}]}, "spec.prompts[1].text", "{{colour}}"),
        ({"prompts": [{"text": "a", "negative": "{{x}}"}]}, "spec.prompts[0].negative", "{{x}}"),
        ({"prompts": [{"text": "a", "end": "{{x}}"}], "task": "interpolation"}, "spec.prompts[0].end", "{{x}}"),
        (
            {"prompts": [{"text": "a", "end": "{{a}}" * 41}], "matrix": {"a": ["x" * 200]}, "task": "interpolation"},
            "spec.prompts[0].end",
            "8200 characters",
        ),
        ({"parameters": {"seeds": list(range(1024))}, "prompts": [{"text": "a"}] * 2}, "spec.parameters.seeds", "2048"),
        ({"matrix": {"a": ["x"] * 33, "b": ["y"] * 32}, "prompts": [{"text": "{{a}}{{b}}"}]}, "spec.matrix", "1056"),
        (
            {"prompts": [{"text": "{{a}}" * 700}], "matrix": {"a": ["x" * 200]}},
            "spec.prompts[0].text",
            "140000 characters",
        ),
    ],
)
def test_what_cannot_be_expanded_is_named(fields: dict[str, Any], where: str, found: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        expand(spec(**fields))
    assert caught.value.where == where
    assert found in caught.value.found
    assert caught.value.fix


def test_a_job_of_the_largest_size_expands() -> None:
    assert len(expand(spec(parameters={"seeds": list(range(MAX_ITEMS))}))) == MAX_ITEMS


def test_how_a_job_runs_does_not_change_its_spec_hash() -> None:
    job = spec()
    assert spec_hash(job) == spec_hash(
        spec(maxAttempts=7, suspend=True, deadlineSeconds=3, failurePolicy="KeepPartial")
    )
    assert spec_hash(job) != spec_hash(spec(parameters={"steps": 21}))
    assert spec_hash(job) != spec_hash(spec(output={"format": "webp"}))
