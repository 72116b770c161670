"""Expansion: every combination once, in one order, with ids that follow from what defines an item."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import InvalidInput
from easel_api.generationjob import MAX_ITEMS, GenerationJobSpec
from easel_inference.jobs.items import expand, spec_hash

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


def test_values_are_not_searched_for_variables_again() -> None:
    assert expand(spec(prompts=[{"text": "{{a}}"}], matrix={"a": ["{{a}}"]}))[0].request.prompt == "{{a}}"


@pytest.mark.parametrize(
    ("fields", "where", "found"),
    [
        ({"prompts": [{"text": "a"}, {"text": "{{colour}}"}]}, "spec.prompts[1].text", "{{colour}}"),
        ({"prompts": [{"text": "a", "negative": "{{x}}"}]}, "spec.prompts[0].negative", "{{x}}"),
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
