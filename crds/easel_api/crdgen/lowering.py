"""Lowers pydantic's JSON schema to a structural schema, the part of JSON Schema that an API server takes.

What an API server refuses and pydantic emits: `const`, numeric `exclusiveMinimum`, `uniqueItems`,
`additionalProperties: false` beside properties, `patternProperties`, `propertyNames`, fields without a type (and `$ref`
and `anyOf` with null, which `easel_api.schema` has replaced before). Each is turned into what says the same, or refused here with its path. Defaults are left out: an API server writes
them into objects, and then they cannot change; ours live in the code.
"""

from __future__ import annotations

from typing import Any

from easel_api.base import PATTERN_WORDS
from easel_api.schema import Schema, Unlowerable, map_children

_NOISE = {"title", "default", "examples", "discriminator", "deprecated"}
_KEPT = {
    "description", "type", "enum", "pattern", "required", "nullable",
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minimum", "maximum", "multipleOf",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string", "x-kubernetes-validations",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip
_FORMATS = {"int32", "int64", "date-time", "byte"}
_SCALARS = {"string", "integer", "number", "boolean"}


def lower(schema: Schema, path: str = "") -> Schema:
    """The structural schema of an inlined JSON schema; `Unlowerable` names the path that cannot be said."""
    lowered: Schema = {key: value for key, value in schema.items() if key in _KEPT}
    for key, value in schema.items():
        if key not in _KEPT and key not in _NOISE:
            _translate(lowered, key, value, path)
    if lowered.get("properties") == {}:
        del lowered["properties"]  # an API server drops it, and whoever applies it again would write it each time
    _check_type(lowered, path)
    _check_list(lowered, path)
    return map_children(lowered, lambda child, name: lower(child, f"{path}{name}"))


def _translate(lowered: Schema, key: str, value: Any, path: str) -> None:
    match key:
        case "properties" | "items":
            lowered[key] = value
        case "const":
            lowered["enum"] = [value]
        case "exclusiveMinimum":
            lowered |= {"minimum": value, "exclusiveMinimum": True}
        case "exclusiveMaximum":
            lowered |= {"maximum": value, "exclusiveMaximum": True}
        case "uniqueItems":
            lowered["x-kubernetes-list-type"] = "set"
        case "additionalProperties":
            _translate_additional(lowered, value, path)
        case "patternProperties":
            _translate_pattern_properties(lowered, value, path)
        case "propertyNames":
            _translate_property_names(lowered, value, path)
        case "format" if value in _FORMATS:
            lowered[key] = value
        case _:
            raise Unlowerable(path, f"{key} has no place in a structural schema")


def _translate_additional(lowered: Schema, value: Any, path: str) -> None:
    if value is True:
        raise Unlowerable(path, "any field is allowed; name them, or preserve unknown fields")
    # Without it, pruning and strict field validation refuse unknown fields all the same.
    if value is not False:
        lowered["additionalProperties"] = value


def _translate_pattern_properties(lowered: Schema, value: dict[str, Schema], path: str) -> None:
    if len(value) != 1:
        raise Unlowerable(path, "keys of more than one pattern")
    ((pattern, child),) = value.items()
    lowered["additionalProperties"] = child
    _add_key_rule(lowered, f"key.matches(r'{pattern}')", _named(pattern))


def _translate_property_names(lowered: Schema, value: Schema, path: str) -> None:
    if unknown := set(value) - {"maxLength", "pattern", "type", "title"}:
        raise Unlowerable(path, f"names of fields bound by {', '.join(sorted(unknown))}")
    if "pattern" in value:
        _add_key_rule(lowered, f"key.matches(r'{value['pattern']}')", _named(value["pattern"]))
    if "maxLength" in value:
        limit = value["maxLength"]
        _add_key_rule(lowered, f"key.size() <= {limit}", f"each name has at most {limit} characters")


def _named(pattern: str) -> str:
    return f"each name: {PATTERN_WORDS.get(pattern, pattern)}"


def _add_key_rule(lowered: Schema, cel: str, message: str) -> None:
    rules = [*lowered.get("x-kubernetes-validations", []), {"rule": f"self.all(key, {cel})", "message": message}]
    lowered["x-kubernetes-validations"] = rules


def _check_type(lowered: Schema, path: str) -> None:
    if "type" in lowered and lowered["type"] not in _SCALARS | {"object", "array"}:
        raise Unlowerable(path, f"type {lowered['type']}")
    if "type" not in lowered and "x-kubernetes-int-or-string" not in lowered:
        raise Unlowerable(path, "no type")
    if lowered.get("type") == "array" and "items" not in lowered:
        raise Unlowerable(path, "a list of anything")


def _check_list(lowered: Schema, path: str) -> None:
    items = lowered.get("items", {})
    match lowered.get("x-kubernetes-list-type"):
        case "set" if items.get("type") not in _SCALARS:
            raise Unlowerable(path, "a set of objects or lists; make it a list map")
        case "map":
            loose = set(lowered.get("x-kubernetes-list-map-keys", [])) - set(items.get("required", []))
            if loose or "x-kubernetes-list-map-keys" not in lowered:
                raise Unlowerable(path, f"keys of a list map that are not required: {', '.join(sorted(loose))}")
        case _:
            return
