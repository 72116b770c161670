"""Pydantic's errors as problems: the manifest's own spelling, what was found, and what the schema says would be right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from easel_api.base import PATTERN_WORDS
from easel_api.schema import Schema, plain

from .problems import Loc, Place, Problem

_PRIVATE = {"prompts", "matrix", "labels", "annotations", "endpoint", "credentialsSecretRef"}
"""Fields whose values are a person's own words, or where a password lands by mistake."""
_LONGEST_SHOWN = 80

_WANTED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
    "string_pattern_mismatch": "does not have the right form",
}


def to_problem(error: ErrorDetails, schema: Schema, place: Place) -> Problem:
    """One of pydantic's errors; `schema` is the kind's, described."""
    loc = tuple(part for part in error["loc"] if part != "[key]")
    here = schema_at(schema, loc)
    fix = here.get("description", "")
    match error["type"]:
        case "missing":
            return place.problem(loc, "is missing", fix=f"Add it: {fix}" if fix else "Add it")
        case "extra_forbidden":
            return unknown_field(loc, list(schema_at(schema, loc[:-1]).get("properties", {})), place)
        case "enum" | "literal_error":
            return _not_one_of(error, loc, here, place)
        case "multiple_of":
            fix = f"Use {_nearest(error['input'], error['ctx']['multiple_of'], here)}. {fix}"
    if loc != error["loc"]:
        words = PATTERN_WORDS.get(error.get("ctx", {}).get("pattern", ""), "")
        return place.problem(loc, f"a name that {_what(error)}", fix=words)
    return place.problem(loc, _what(error), found=shown(error["input"], loc, here), fix=_quoted_first(error, fix))


def unknown_field(loc: Loc, known: Sequence[str], place: Place) -> Problem:
    """A field that does not exist, with the one that was meant, or all there are."""
    name = str(loc[-1])
    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        # An unquoted prompt with a colon becomes a field's name.
        return place.problem(loc[:-1], "a field whose name is a sentence", fix="Put text that holds a colon in quotes")
    meant = closest(name, known)
    fix = f"Did you mean {meant}?" if meant else f"Fields here: {', '.join(sorted(known))}"
    return place.problem(loc, "no such field", fix=fix)


def closest(name: str, known: Sequence[str]) -> str:
    """The known name that was meant, or nothing."""
    plain = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.replace("_", "").replace("-", "").lower(), list(plain), n=1, cutoff=0.7)
    return plain[found[0]] if found else ""


def schema_at(schema: Schema, loc: Loc) -> Schema:
    """The schema of what stands at `loc`; empty when it knows no such place."""
    for part in loc:
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            names = {**schema.get("patternProperties", {}), "": schema.get("additionalProperties")}
            children = [child for child in names.values() if isinstance(child, dict)]
            schema = schema.get("properties", {}).get(part) or (children[0] if children else {})
    return schema


def shown(value: object, loc: Loc, here: Schema) -> str:
    """What was found, or its kind where the value itself is nobody else's business."""
    private = bool(_PRIVATE & set(loc))
    match value:
        case bool():
            return str(value).lower() if not private else "true or false"
        case int() | float():
            return str(value) if not private else "a number"
        case str() if private or len(value) > _LONGEST_SHOWN or "@" in value or not ({"pattern", "enum"} & set(here)):
            return "empty text" if not value else f"text, {len(value)} long"
        case str():
            return value
        case Mapping():
            return f"a mapping of {len(value)}"
        case Sequence():
            return f"a list of {len(value)}"
        case _:
            return "nothing" if value is None else "something else"


def _what(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"must be at least {plain(context['ge'])}"
        case "greater_than":
            return f"must be above {plain(context['gt'])}"
        case "less_than_equal":
            return f"must be at most {plain(context['le'])}"
        case "multiple_of":
            return f"must be a multiple of {context['multiple_of']}"
        case "string_too_long":
            return f"has more than {context['max_length']} characters"
        case "string_too_short":
            return f"has fewer than {context['min_length']} characters"
        case "too_long":
            return f"has more than {context['max_length']} entries"
        case "too_short":
            return f"has fewer than {context['min_length']} entries"
        case kind:
            return _WANTED.get(kind, "is not what this field takes")


def _not_one_of(error: ErrorDetails, loc: Loc, here: Schema, place: Place) -> Problem:
    choices = [str(choice) for choice in here.get("enum", [here.get("const", "")])]
    meant = closest(str(error["input"]), choices)
    fix = f"Did you mean {meant}?" if meant else here.get("description", "")
    return place.problem(loc, f"must be one of {', '.join(choices)}", found=shown(error["input"], loc, here), fix=fix)


def _quoted_first(error: ErrorDetails, fix: str) -> str:
    """YAML reads `no`, `007` and `null` as other than text; quotes are what helps."""
    if error["type"] == "string_type" and not isinstance(error["input"], dict | list):
        return f"Put it in quotes. {fix}".strip()
    return fix


def _nearest(value: int, step: int, here: Schema) -> str:
    """The multiples of `step` on either side of `value` that are in range."""
    below, low, high = value // step * step, here.get("minimum", value), here.get("maximum", value)
    allowed = [str(candidate) for candidate in (below, below + step) if low <= candidate <= high]
    return " or ".join(allowed) or str(low)
