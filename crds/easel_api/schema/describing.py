"""Adds to each field's description what its schema knows: shape, range and default.

`kubectl explain` shows descriptions and little else, so a reader would see no limit. Written by hand beside the limits,
they would drift from them.
"""

from __future__ import annotations

from typing import Any

from easel_api.base import PATTERN_WORDS

from .inlining import Schema, map_children


def describe(schema: Schema) -> Schema:
    """The (inlined) schema with range and default in every description."""
    described = dict(schema)
    sentences = [schema.get("description", "").strip(), *_shape(schema), *_range(schema), *_default(schema)]
    if text := " ".join(sentence for sentence in sentences if sentence):
        described["description"] = text
    return map_children(described, lambda child, _: describe(child))


def _shape(schema: Schema) -> list[str]:
    words = PATTERN_WORDS.get(schema.get("pattern", ""))
    return [words] if words else []


def _range(schema: Schema) -> list[str]:
    match schema.get("type"):
        case "integer" | "number":
            return _numbers(schema)
        case "string" if "maxLength" in schema and "enum" not in schema:
            return [_between(schema.get("minLength"), schema["maxLength"], "character")]
        case "array" if "maxItems" in schema:
            return [_between(schema.get("minItems"), schema["maxItems"], "item"), *_each(schema["items"])]
        case "object" if "maxProperties" in schema:
            return [f"At most {schema['maxProperties']} names."]
        case _:
            return []


def _each(items: Schema) -> list[str]:
    """A list of plain values says here what each may be, since `kubectl explain` has no line for them."""
    return [f"Each: {text[0].lower()}{text[1:]}" for text in _range(items)]


def _numbers(schema: Schema) -> list[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    step = f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    if high is None or (low is None and above is None):
        return []
    return [
        f"Above {plain(above)}, at most {high:g}{step}."
        if above is not None
        else f"{plain(low)} to {plain(high)}{step}."
    ]


def _between(low: int | None, high: int, unit: str) -> str:
    return f"{low} to {high} {unit}s." if low else f"At most {high} {unit}{'s' if high != 1 else ''}."


def _default(schema: Schema) -> list[str]:
    """The default, unless there is none, it is empty, or the description tells it."""
    default = schema.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict | list) or "Default:" in schema.get("description", ""):
        return []
    return [f"Default: {plain(default)}."]


def plain(value: Any) -> str:
    """A number or a word as a manifest would have it."""
    match value:
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
