"""The JSON schema of a kind, with every reference inlined and every description completed by range and default.

`easel_api.crdgen` lowers it to a CRD; `easel_api.validation` reads the names, limits and descriptions of fields from it. It
imports `base` alone, and knows no kind.
"""

from .describing import describe, plain
from .inlining import Schema, Unlowerable, inline, map_children
from .kinds import described_spec, json_schema

__all__ = ["Schema", "Unlowerable", "describe", "described_spec", "inline", "json_schema", "map_children", "plain"]
