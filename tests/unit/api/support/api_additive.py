"""What would break for somebody when a CRD takes the place of an older one.

An addition breaks nothing: an optional field, another value of an enum, a wider bound. Everything else is told, and so is a
change of a keyword that nobody has judged here: silence means that each difference is known to be harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from easel_api.schema import Schema

_WORDS = {"description", "title", "example", "externalDocs"}
"""For people; the API server checks nothing by them."""
_COMPARED = {"properties", "items", "additionalProperties", "required", "enum", "default", "x-kubernetes-validations"}
"""Each has a function of its own below."""
_LOWER = {"minimum": "exclusiveMinimum", "minLength": "", "minItems": "", "minProperties": ""}
_UPPER = {"maximum": "exclusiveMaximum", "maxLength": "", "maxItems": "", "maxProperties": ""}
"""Bounds, each with the keyword that leaves the bound itself out."""
_MAY_BE_DROPPED = {"pattern", "format"}
"""To drop such a check is harmless; no other change of it can be judged."""
_MAY_BE_ADDED = {"nullable", "x-kubernetes-preserve-unknown-fields"}
_BOUNDS = {*_LOWER, *_UPPER, *_LOWER.values(), *_UPPER.values(), "multipleOf"}

_FIXED = ("group", "scope", "preserveUnknownFields", "conversion")
_NAMES = ("kind", "listKind", "plural", "singular")
_LISTED_NAMES = ("shortNames", "categories")


def breaks(old: Schema, new: Schema) -> list[str]:
    """Each break of a CRD that takes another's place, as `Kind.path: what`; nothing when all of it is an addition."""
    kind = old["spec"]["names"]["kind"]
    return [f"{kind}{told}" for told in (*_of_the_kind(old["spec"], new["spec"]), *_of_versions(old, new))]


def _of_the_kind(old: Schema, new: Schema) -> Iterator[str]:
    for key in _FIXED:
        if old.get(key) != new.get(key):
            yield f": {key} changed"
    for key in _NAMES:
        if old["names"].get(key) != new["names"].get(key):
            yield f": names.{key} changed"
    for key in _LISTED_NAMES:
        for name in _gone(old["names"].get(key, []), new["names"].get(key, [])):
            yield f": {name} is no more of {key}"


def _of_versions(old: Schema, new: Schema) -> Iterator[str]:
    present = {version["name"]: version for version in new["spec"]["versions"]}
    for before in old["spec"]["versions"]:
        after = present.get(before["name"])
        if after is None:
            yield f": version {before['name']} is gone"
            continue
        if before["served"] and not after["served"]:
            yield f": version {before['name']} is served no more"
        for field in _gone(before.get("selectableFields", []), after.get("selectableFields", [])):
            yield f": objects cannot be selected by {field['jsonPath']} any more"
        for name, subresource in before.get("subresources", {}).items():
            if after.get("subresources", {}).get(name) != subresource:
                yield f": subresource {name} changed"
        yield from _of_schemas(before["schema"]["openAPIV3Schema"], after["schema"]["openAPIV3Schema"], "")


def _of_schemas(old: Schema, new: Schema, path: str) -> Iterator[str]:
    told = (
        *_of_enums(old, new),
        *_of_bounds(old, new),
        *_of_rules(old, new),
        *_of_required(old, new),
        *_of_other_keywords(old, new),
    )
    yield from (f"{path}: {each}" for each in told)
    yield from _of_children(old, new, path)


def _of_enums(old: Schema, new: Schema) -> Iterator[str]:
    if "enum" in new and "enum" not in old:
        yield "only some values are allowed now"
    elif "enum" in new:
        for value in _gone(old["enum"], new["enum"]):
            yield f"{value} is no value any more"


def _of_bounds(old: Schema, new: Schema) -> Iterator[str]:
    for bounds, sign in ((_LOWER, 1), (_UPPER, -1)):
        for keyword, excluding in bounds.items():
            before, after = _bound(old, keyword, excluding, sign), _bound(new, keyword, excluding, sign)
            if after is not None and (before is None or after > before):
                yield f"{keyword} is tighter"
    step, wider = new.get("multipleOf"), old.get("multipleOf")
    if step is not None and (wider is None or wider % step):
        yield "multipleOf is tighter"


def _bound(schema: Schema, keyword: str, excluding: str, sign: int) -> tuple[float, bool] | None:
    """The greater the tighter."""
    if keyword not in schema:
        return None
    return sign * schema[keyword], bool(schema.get(excluding, False))


def _of_rules(old: Schema, new: Schema) -> Iterator[str]:
    before = [_judged(rule) for rule in old.get("x-kubernetes-validations", [])]
    for rule in new.get("x-kubernetes-validations", []):
        if _judged(rule) not in before:
            yield f"a new rule: {rule.get('message') or rule['rule']}"


def _judged(rule: Schema) -> tuple[str, bool]:
    # With optionalOldSelf a rule about changes is asked of new objects too.
    return rule["rule"], bool(rule.get("optionalOldSelf"))


def _of_required(old: Schema, new: Schema) -> Iterator[str]:
    for name in _gone(new.get("required", []), old.get("required", [])):
        yield f"{name} is required now"


def _of_other_keywords(old: Schema, new: Schema) -> Iterator[str]:
    # An API server writes a default into objects that leave the field out: it would change what they mean.
    if old.get("default") != new.get("default"):
        yield "the default changed"
    for keyword in sorted({*old, *new} - _WORDS - _COMPARED - _BOUNDS):
        dropped = keyword in _MAY_BE_DROPPED and keyword not in new
        added = keyword in _MAY_BE_ADDED and not old.get(keyword)
        if old.get(keyword) != new.get(keyword) and not dropped and not added:
            yield f"{keyword} changed"


def _of_children(old: Schema, new: Schema, path: str) -> Iterator[str]:
    fields = new.get("properties", {})
    for name, child in old.get("properties", {}).items():
        if name in fields:
            yield from _of_schemas(child, fields[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: the field is gone"
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        before, after = old.get(keyword), new.get(keyword)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _of_schemas(before, after, path + mark)
        elif before and after is not True:
            yield f"{path}{mark}: the entries are gone"


def _gone(before: list[Any], after: list[Any]) -> list[Any]:
    return [each for each in before if each not in after]
