"""Each construct that an API server refuses is turned into one that it takes, or refused with its path."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model

from easel_api.base import ApiModel, Immutable, ListMap, ListSet, Rule
from easel_api.crdgen.bounds import unbounded
from easel_api.crdgen.lowering import lower
from easel_api.schema import Schema, Unlowerable, inline


def lowered(annotation: Any, **field: Any) -> Schema:
    """The structural schema of one field of that type."""
    built = create_model("Built", __base__=ApiModel, field=(annotation, Field(**field)))
    properties: Schema = lower(inline(built.model_json_schema(by_alias=True)))["properties"]
    return properties["field"]


class Inner(ApiModel):
    """Something inside."""

    name: str
    size: int = 3


class Loop(ApiModel):
    """Holds itself."""

    again: "Loop | None" = None


def test_null_in_a_union_makes_a_field_optional() -> None:
    assert lowered(int | None, default=None) == {"type": "integer"}


def test_references_are_inlined_and_keep_what_stands_beside_them() -> None:
    assert lowered(Inner | None, default=None, description="Which.") == {
        "type": "object",
        "description": "Which.",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
    }


def test_a_model_that_holds_itself_is_refused() -> None:
    with pytest.raises(Unlowerable, match="Loop contains itself"):
        inline(Loop.model_json_schema())


def test_const_becomes_an_enum_of_one() -> None:
    assert lowered(Literal["only"]) == {"type": "string", "enum": ["only"]}


def test_exclusive_limits_become_flags() -> None:
    assert lowered(Annotated[float, Field(gt=0, lt=1)]) == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1,
        "exclusiveMaximum": True,
    }


def test_titles_and_defaults_are_left_out() -> None:
    assert lowered(int, default=7, title="Seven", examples=[1]) == {"type": "integer"}


def test_closed_objects_lose_additional_properties() -> None:
    assert "additionalProperties" not in lowered(Inner)


def test_unique_items_become_a_set() -> None:
    assert lowered(set[str]) == {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}


def test_a_set_of_objects_is_refused() -> None:
    with pytest.raises(Unlowerable, match=r"\.field: a set of objects"):
        lowered(Annotated[list[Inner], ListSet()])


def test_a_list_map_names_its_keys() -> None:
    schema = lowered(Annotated[list[Inner], ListMap(("name",))])
    assert (schema["x-kubernetes-list-type"], schema["x-kubernetes-list-map-keys"]) == ("map", ["name"])


def test_a_list_map_by_an_optional_key_is_refused() -> None:
    with pytest.raises(Unlowerable, match=r"\.field: keys of a list map that are not required: size"):
        lowered(Annotated[list[Inner], ListMap(("size",))])


def test_whole_number_or_text_has_its_own_extension() -> None:
    assert lowered(int | str) == {"x-kubernetes-int-or-string": True}


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (int | bool, "a union of types"),
        (Inner | Loop, "a union of types"),
        (Any, "no type"),
        (dict[str, Any], "any field is allowed|no type"),
        (list[Any], "no type"),
        (tuple[int, str], "prefixItems"),
        (bytes, "format"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_path(annotation: Any, why: str) -> None:
    with pytest.raises(Unlowerable, match=rf"^\.field.*({why})"):
        lowered(annotation)


def test_names_with_a_pattern_become_a_rule() -> None:
    schema = lowered(dict[Annotated[str, Field(pattern="^[a-z]+$", max_length=5)], int])
    assert schema["additionalProperties"] == {"type": "integer"}
    assert [rule["rule"] for rule in schema["x-kubernetes-validations"]] == [
        "self.all(key, key.matches(r'^[a-z]+$'))",
        "self.all(key, key.size() <= 5)",
    ]


def test_rules_and_immutable_fields_become_validations() -> None:
    class Ruled(ApiModel):
        """Ruled."""

        rules = (Rule("self.low <= self.high", "low is not above high", lambda m: m.low <= m.high, "low"),)
        low: Annotated[int, Immutable()]
        high: Annotated[int, Immutable()] = 3

    rules = lower(inline(Ruled.model_json_schema(by_alias=True)))["x-kubernetes-validations"]
    assert [rule["rule"] for rule in rules] == [
        "self.low <= self.high",
        "self.low == oldSelf.low",
        "has(self.high) == has(oldSelf.high) && (!has(self.high) || self.high == oldSelf.high)",
    ]
    assert [rule["fieldPath"] for rule in rules] == ["low", "low", "high"]


@pytest.mark.parametrize(
    ("annotation", "lacking"),
    [
        (str, ["f: no maxLength"]),
        (int, ["f: no minimum", "f: no maximum"]),
        (list[bool], ["f: no maxItems"]),
        (Annotated[list[str], Field(max_length=3)], ["f[]: no maxLength"]),
        (dict[str, bool], ["f: no maxProperties"]),
        (Inner, ["f.name: no maxLength", "f.size: no minimum", "f.size: no maximum"]),
        (int | str, ["f: no minimum", "f: no maximum", "f: no maxLength"]),
        (Literal["a", "b"], []),
        (bool, []),
        (Annotated[int, Field(ge=0, le=3)], []),
    ],
)
def test_a_field_without_bounds_is_found(annotation: Any, lacking: list[str]) -> None:
    assert unbounded(lowered(annotation), "f") == lacking
