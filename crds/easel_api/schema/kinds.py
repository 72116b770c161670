"""A kind's schema as the rest of the contract reads it."""

from __future__ import annotations

from functools import cache

from easel_api.base import ApiModel

from .describing import describe
from .inlining import Schema, inline


@cache
def json_schema(kind: type[ApiModel]) -> Schema:
    """The whole kind, in the manifest's spelling, inlined."""
    return inline(kind.model_json_schema(by_alias=True))


@cache
def described_spec(kind: type[ApiModel]) -> Schema:
    """Its spec, each description with range and default."""
    return describe(json_schema(kind)["properties"]["spec"])
