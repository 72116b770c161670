"""The Python twins of the CEL rules, duplicates in list maps and sets, and rules on changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from easel_api.base import ApiModel, Rule
from easel_api.schema import Schema

from .problems import Loc, Place, Problem, parsed
from .typed import schema_at


def broken_rules(model: ApiModel, *, for_cluster: bool, loc: Loc = ()) -> Iterator[tuple[Loc, Rule]]:
    """Each rule that the model or something inside it breaks, and where it is to blame."""
    for rule in type(model).rules:
        if (for_cluster or not rule.cluster_only) and not rule.holds(model):
            yield (*loc, *parsed(rule.path)), rule
    for name, field in type(model).model_fields.items():
        for place, inner in _models_in(getattr(model, name)):
            yield from broken_rules(inner, for_cluster=for_cluster, loc=(*loc, field.alias or name, *place))


def _models_in(value: object) -> Iterator[tuple[Loc, ApiModel]]:
    match value:
        case ApiModel():
            yield (), value
        case list():
            for place, inner in enumerate(value):
                if isinstance(inner, ApiModel):
                    yield (place,), inner


def rule_problems(model: ApiModel, place: Place, *, for_cluster: bool) -> list[Problem]:
    """The broken rules of a whole object; each rule's message says what would be right."""
    return [place.problem(loc, rule.message) for loc, rule in broken_rules(model, for_cluster=for_cluster)]


def duplicates(data: Any, schema: Schema, place: Place, loc: Loc = ()) -> Iterator[Problem]:
    """Values that stand twice where the schema says set or map."""
    match data:
        case dict():
            for name, value in data.items():
                yield from duplicates(value, schema_at(schema, (name,)), place, (*loc, name))
        case list():
            yield from _repeated(data, schema, place, loc)
            for number, value in enumerate(data):
                yield from duplicates(value, schema.get("items", {}), place, (*loc, number))


def _repeated(data: list[Any], schema: Schema, place: Place, loc: Loc) -> Iterator[Problem]:
    keys: list[str] = schema.get("x-kubernetes-list-map-keys", [])
    if "x-kubernetes-list-type" not in schema:
        return
    identities = [[item[key] for key in keys] if keys else item for item in data]
    for number, identity in enumerate(identities):
        first = identities.index(identity)
        if first < number:
            what = (
                f"has the same {' and '.join(keys)} as entry {first}"
                if keys
                else f"stands twice, first as entry {first}"
            )
            yield place.problem((*loc, number), what, fix="Remove one, or change it")


def transition_problems(old: ApiModel, new: ApiModel, loc: Loc = ("spec",)) -> list[Problem]:
    """What an API server would refuse about this change of a spec."""
    return [
        Place().problem((*loc, *parsed(transition.path)), transition.message)
        for transition in type(new).all_transitions()
        if not transition.holds(old, new)
    ]
