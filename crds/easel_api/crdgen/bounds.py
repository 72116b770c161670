"""Refuses a field without bounds.

An API server estimates what its CEL rules may cost from the largest object that the schema allows; one string without a
limit is enough to pass the budget, and the answer then names a rule, not the string.
"""

from __future__ import annotations

from easel_api.schema import Schema

_LIMITS = {
    "string": ("maxLength",),
    "array": ("maxItems",),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
}


def unbounded(schema: Schema, path: str, *, numbers: bool = True) -> list[str]:
    """Paths of the (lowered) schema that lack a bound, each with what it lacks; `numbers` may go without in a status."""
    problems = [f"{path}: no {limit}" for limit in _missing(schema) if numbers or limit not in {"minimum", "maximum"}]
    for name, child in _children(schema):
        problems += unbounded(child, f"{path}{name}", numbers=numbers)
    return problems


def _missing(schema: Schema) -> list[str]:
    if "enum" in schema:
        return []
    if schema.get("x-kubernetes-int-or-string"):
        return [limit for limit in ("minimum", "maximum", "maxLength") if limit not in schema]
    limits = _LIMITS.get(schema.get("type", ""), ())
    if schema.get("type") == "object" and "additionalProperties" in schema:
        limits = ("maxProperties",)
    return [limit for limit in limits if limit not in schema]


def _children(schema: Schema) -> list[tuple[str, Schema]]:
    children = [(f".{name}", child) for name, child in schema.get("properties", {}).items()]
    children += [("[]", schema["items"])] if "items" in schema else []
    return children + ([(".*", schema["additionalProperties"])] if "additionalProperties" in schema else [])
