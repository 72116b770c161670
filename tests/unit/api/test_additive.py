"""The comparison of CRDs tells every kind of break, and takes every kind of addition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api_additive import breaks
from api_manifests import Manifest, edited

from easel_api import generationjob, modeldeployment
from easel_api.crdgen.render import custom_resource_definition

TEXT = {"type": "string", "maxLength": 9, "minLength": 1, "pattern": "^a", "format": "byte"}
NUMBER = {"type": "number", "minimum": 0, "maximum": 8, "multipleOf": 4}
RULE = {"rule": "self.text != 'x'", "message": "no x"}
CRD: Manifest = {
    "spec": {
        "group": "easel.dev",
        "scope": "Namespaced",
        "names": {"kind": "Mug", "plural": "mugs", "singular": "mug", "shortNames": ["mg"], "categories": ["easel"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "selectableFields": [{"jsonPath": ".text"}],
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".number"}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["text"],
                        "x-kubernetes-validations": [RULE],
                        "properties": {
                            "text": TEXT,
                            "number": NUMBER,
                            "colour": {"type": "string", "enum": ["red", "blue"]},
                            "free": {"type": "integer", "nullable": True},
                            "many": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 3, "items": TEXT},
                            "named": {"type": "object", "maxProperties": 2, "additionalProperties": TEXT},
                        },
                    }
                },
            }
        ],
    }
}
SPEC, VERSION = "spec", "spec.versions[0]"
ROOT = f"{VERSION}.schema.openAPIV3Schema"
FIELDS = f"{ROOT}.properties"

BROKEN: dict[str, tuple[str, Any, str]] = {
    "the group": (f"{SPEC}.group", "easel.io", "Mug: group changed"),
    "the scope": (f"{SPEC}.scope", "Cluster", "Mug: scope changed"),
    "the plural": (f"{SPEC}.names.plural", "cups", "Mug: names.plural changed"),
    "a short name": (f"{SPEC}.names.shortNames", [], "Mug: mg is no more of shortNames"),
    "a category": (f"{SPEC}.names.categories", ["all"], "Mug: easel is no more of categories"),
    "a version": (f"{VERSION}.name", "v2", "Mug: version v1 is gone"),
    "a version that is served": (f"{VERSION}.served", False, "Mug: version v1 is served no more"),
    "a selectable field": (f"{VERSION}.selectableFields", [], "Mug: objects cannot be selected by .text any more"),
    "a subresource": (f"{VERSION}.subresources.scale", ..., "Mug: subresource scale changed"),
    "a subresource's path": (f"{VERSION}.subresources.scale.specReplicasPath", ".x", "Mug: subresource scale changed"),
    "a field": (f"{FIELDS}.number", ..., "Mug.number: the field is gone"),
    "a type": (f"{FIELDS}.number.type", "integer", "Mug.number: type changed"),
    "a wider type, which readers do not know": (f"{FIELDS}.free.type", "number", "Mug.free: type changed"),
    "null": (f"{FIELDS}.free.nullable", False, "Mug.free: nullable changed"),
    "a value": (f"{FIELDS}.colour.enum", ["red", "green"], "Mug.colour: blue is no value any more"),
    "values of what was free": (f"{FIELDS}.free.enum", [1], "Mug.free: only some values are allowed now"),
    "a field to require": (f"{ROOT}.required", ["text", "colour"], "Mug: colour is required now"),
    "a new field to require": (f"{ROOT}.required", ["text", "new"], "Mug: new is required now"),
    "maximum": (f"{FIELDS}.number.maximum", 4, "Mug.number: maximum is tighter"),
    "maximum itself": (f"{FIELDS}.number.exclusiveMaximum", True, "Mug.number: maximum is tighter"),
    "minimum": (f"{FIELDS}.number.minimum", 4, "Mug.number: minimum is tighter"),
    "minimum itself": (f"{FIELDS}.number.exclusiveMinimum", True, "Mug.number: minimum is tighter"),
    "a new bound": (f"{FIELDS}.free.maximum", 10**9, "Mug.free: maximum is tighter"),
    "maxLength": (f"{FIELDS}.text.maxLength", 8, "Mug.text: maxLength is tighter"),
    "minLength": (f"{FIELDS}.text.minLength", 2, "Mug.text: minLength is tighter"),
    "maxItems": (f"{FIELDS}.many.maxItems", 2, "Mug.many: maxItems is tighter"),
    "minItems": (f"{FIELDS}.many.minItems", 1, "Mug.many: minItems is tighter"),
    "maxProperties": (f"{FIELDS}.named.maxProperties", 1, "Mug.named: maxProperties is tighter"),
    "a coarser step": (f"{FIELDS}.number.multipleOf", 8, "Mug.number: multipleOf is tighter"),
    "a new step": (f"{FIELDS}.free.multipleOf", 1, "Mug.free: multipleOf is tighter"),
    "a pattern": (f"{FIELDS}.text.pattern", "^ab", "Mug.text: pattern changed"),
    "a new pattern": (f"{FIELDS}.colour.pattern", "^r", "Mug.colour: pattern changed"),
    "a format": (f"{FIELDS}.text.format", "date-time", "Mug.text: format changed"),
    "a default": (f"{FIELDS}.number.default", 4, "Mug.number: the default changed"),
    "a kind of list": (f"{FIELDS}.many.x-kubernetes-list-type", "atomic", "Mug.many: x-kubernetes-list-type changed"),
    "a new rule": (f"{ROOT}.x-kubernetes-validations[1]", {"rule": "false", "message": "no"}, "Mug: a new rule: no"),
    "another rule": (f"{ROOT}.x-kubernetes-validations[0].rule", "false", "Mug: a new rule: no x"),
    "a rule for new objects too": (
        f"{ROOT}.x-kubernetes-validations[0].optionalOldSelf",
        True,
        "Mug: a new rule: no x",
    ),
    "a rule of a field": (
        f"{FIELDS}.text.x-kubernetes-validations",
        [{"rule": "false"}],
        "Mug.text: a new rule: false",
    ),
    "entries of a list": (f"{FIELDS}.many.items.maxLength", 8, "Mug.many[]: maxLength is tighter"),
    "entries of a mapping": (f"{FIELDS}.named.additionalProperties.maxLength", 8, "Mug.named.*: maxLength is tighter"),
    "a mapping": (f"{FIELDS}.named.additionalProperties", ..., "Mug.named.*: the entries are gone"),
    "what nobody has judged": (f"{FIELDS}.text.not", {"enum": ["x"]}, "Mug.text: not changed"),
}

HARMLESS: dict[str, tuple[str, Any]] = {
    "a new optional field": (f"{FIELDS}.new", {"type": "string", "maxLength": 1, "x-kubernetes-validations": [RULE]}),
    "a new version": (f"{SPEC}.versions[1]", {"name": "v2"}),
    "another short name": (f"{SPEC}.names.shortNames", ["mg", "cup"]),
    "another selectable field": (f"{VERSION}.selectableFields", [{"jsonPath": ".text"}, {"jsonPath": ".new"}]),
    "another value": (f"{FIELDS}.colour.enum", ["green", "blue", "red"]),
    "any value": (f"{FIELDS}.colour.enum", ...),
    "a field to leave out": (f"{ROOT}.required", []),
    "wider bounds": (f"{FIELDS}.number", NUMBER | {"minimum": -1, "exclusiveMinimum": True, "maximum": 9}),
    "no bounds": (f"{FIELDS}.number", {"type": "number", "multipleOf": 2}),
    "no pattern and no format": (f"{FIELDS}.text", {"type": "string"}),
    "null": (f"{FIELDS}.number.nullable", True),
    "words": (f"{FIELDS}.text.description", "Text."),
    "a rule's words": (f"{ROOT}.x-kubernetes-validations[0].message", "no x, please"),
    "a rule less": (f"{ROOT}.x-kubernetes-validations", ...),
    "entries of any kind": (f"{FIELDS}.named.additionalProperties", True),
}


def standing_alone(crd: Manifest) -> Manifest:
    """A copy in which no two places are one object, so that each can be changed by itself."""
    return dict(json.loads(json.dumps(crd)))


def changed(path: str, value: Any) -> Manifest:
    return edited(standing_alone(CRD), path, value)


@pytest.mark.parametrize(("path", "value", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_break_is_told_with_its_place(path: str, value: Any, told: str) -> None:
    assert breaks(CRD, changed(path, value)) == [told]


@pytest.mark.parametrize(("path", "value"), HARMLESS.values(), ids=HARMLESS.keys())
def test_an_addition_is_taken(path: str, value: Any) -> None:
    assert breaks(CRD, changed(path, value)) == []


Change = Callable[[dict[str, Any]], None]

TIGHTER: dict[str, Change] = {
    "properties": lambda node: node["properties"].popitem(),
    "required": lambda node: node["required"].append("another"),
    "enum": lambda node: node["enum"].pop(),
    "pattern": lambda node: node.update(pattern="^$"),
    "type": lambda node: node.update(type="null"),
    "x-kubernetes-list-type": lambda node: node.pop("x-kubernetes-list-type"),
    "x-kubernetes-list-map-keys": lambda node: node.pop("x-kubernetes-list-map-keys"),
    "x-kubernetes-validations": lambda node: node["x-kubernetes-validations"].append({"rule": "false"}),
    "x-kubernetes-int-or-string": lambda node: node.pop("x-kubernetes-int-or-string"),
    "additionalProperties": lambda node: node.pop("additionalProperties"),
    **{
        word: lambda node, word=word: node.update({word: node[word] + 1})
        for word in ("minimum", "minLength", "minItems")
    },
    **{
        word: lambda node, word=word: node.update({word: node[word] - 1})
        for word in ("maximum", "maxLength", "maxItems", "maxProperties")
    },
    "multipleOf": lambda node: node.update(multipleOf=node["multipleOf"] * 3),
    "default": lambda node: node.pop("default"),
}
"""How each keyword of a schema is made to allow less."""


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema within a schema, itself first."""
    yield schema
    for child in schema.get("properties", {}).values():
        yield from nodes(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(schema[keyword])


def root(crd: Manifest) -> dict[str, Any]:
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


REAL = [
    standing_alone(custom_resource_definition(kind, info))
    for kind, info in (
        (generationjob.GenerationJob, generationjob.KIND),
        (modeldeployment.ModelDeployment, modeldeployment.KIND),
    )
]


@pytest.mark.parametrize("keyword", TIGHTER)
def test_a_break_is_told_wherever_it_is_in_a_real_kind(keyword: str) -> None:
    places = [
        (crd, place) for crd in REAL for place, node in enumerate(nodes(root(crd))) if node.get(keyword) is not None
    ]
    assert places
    for crd, place in places:
        tighter = standing_alone(crd)
        TIGHTER[keyword](list(nodes(root(tighter)))[place])
        assert len(breaks(crd, tighter)) == 1, (keyword, place)


def test_a_kind_is_an_additive_change_of_itself() -> None:
    assert [told for crd in REAL for told in breaks(crd, crd)] == []


def test_every_keyword_of_a_real_kind_was_tried() -> None:
    words = {word for crd in REAL for node in nodes(root(crd)) for word in node}
    assert words - set(TIGHTER) <= {"description", "items", "exclusiveMinimum"}
