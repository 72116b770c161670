"""A model's JSON schema without references and unions.

Pydantic writes each nested model once and refers to it; an API server takes no references, and a reader of one field wants
its schema at its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_INT_OR_STRING = {"integer", "string"}


class Unlowerable(Exception):
    """A construct that no structural schema can say; `path` is where it stands."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


def inline(schema: Schema, path: str = "") -> Schema:
    """The JSON schema (with its `$defs`) without `$ref`, and without unions that only say "or null"."""
    return _inline(schema, schema.get("$defs", {}), path, ())


def _inline(schema: Schema, defs: dict[str, Schema], path: str, open_refs: tuple[str, ...]) -> Schema:
    """The schema with each `$ref` replaced by what it names, and unions reduced."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in open_refs:
            raise Unlowerable(path, f"{name} contains itself")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _inline(defs[name] | beside, defs, path, (*open_refs, name))
    schema = _reduce_union(schema, path)
    if "$ref" in schema:
        return _inline(schema, defs, path, open_refs)

    def go(child: Schema, name: str) -> Schema:
        return _inline(child, defs, f"{path}{name}", open_refs)

    return map_children({key: value for key, value in schema.items() if key != "$defs"}, go)


def map_children(schema: Schema, change: Callable[[Schema, str], Schema]) -> Schema:
    """The schema with `change(child, name)` in place of each schema inside it."""
    changed = dict(schema)
    if "properties" in schema:
        changed["properties"] = {name: change(child, f".{name}") for name, child in schema["properties"].items()}
    if "patternProperties" in schema:
        changed["patternProperties"] = {key: change(child, ".*") for key, child in schema["patternProperties"].items()}
    for key, name in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            changed[key] = change(schema[key], name)
    return changed


def _reduce_union(schema: Schema, path: str) -> Schema:
    """`X | None` is an optional X; `int | str` has an extension of its own; other unions cannot be said."""
    union = schema.get("anyOf") or schema.get("oneOf")
    if union is None:
        return schema
    beside = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
    members = [member for member in union if member.get("type") != "null"]
    if len(members) == 1:
        return {**members[0], **beside}
    if {member.get("type") for member in members} == _INT_OR_STRING and len(members) == len(_INT_OR_STRING):
        merged = {key: value for member in members for key, value in member.items() if key != "type"}
        return merged | {"x-kubernetes-int-or-string": True} | beside
    raise Unlowerable(path, "a union of types; make it an object with one optional field for each")
