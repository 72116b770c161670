"""What every kind is built from: the strict base model, rules, markers and the metadata of a kind.

A `Rule` is written once as CEL, for the API server, and once as Python, for `easel validate` and the CLI; tests post an
accepted and a refused object for each rule to a real API server and check that its Python twin says the same. The
models put their rules and markers into their JSON schema; `easel_api.crdgen` lowers that to a CRD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule of a model.

    `cel` sees the model as `self`; `holds` is its Python twin. `path` names the field to blame, relative to the
    model and in the manifest's spelling. A `cluster_only` rule does not bind `easel run` on one machine.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    path: str = ""
    cluster_only: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """One rule on changes of a model: `cel` sees `oldSelf` too, `holds` takes the old and the new model."""

    cel: str
    message: str
    holds: Callable[[Any, Any], bool]
    path: str = ""


class Immutable:
    """Marks a field (in `Annotated`) that the API server refuses to change, add or remove once the object exists."""


@dataclass(frozen=True, slots=True)
class ListMap:
    """Marks a list (in `Annotated`) as a map keyed by `keys`, so that server-side apply merges its items."""

    keys: tuple[str, ...]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}


class ListSet:
    """Marks a list of scalars (in `Annotated`) whose values must differ."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-list-type": "set"}


class ApiModel(BaseModel):
    """Base of everything in a manifest: camelCase outside, snake_case inside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_enum_values=False,
        allow_inf_nan=False,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    transitions: ClassVar[tuple[Transition, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_means_unset(cls, data: Any) -> Any:
        # The API server drops nulls of fields that are not nullable, and none of ours is.
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, Mapping) else data

    def to_manifest(self) -> dict[str, Any]:
        """As plain JSON values in the manifest's spelling, without fields that nobody set."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        # `kubectl` needs these two although a caller in Python never sets them.
        identity = {
            field.alias or name: field.default
            for name, field in type(self).model_fields.items()
            if name in {"api_version", "kind"} and "metadata" in type(self).model_fields
        }
        return identity | body

    @classmethod
    def all_transitions(cls) -> tuple[Transition, ...]:
        """The rules on changes: one for each `Immutable` field, and the model's own."""
        return (*(_immutability(cls, name) for name in cls._immutable_fields()), *cls.transitions)

    @classmethod
    def _immutable_fields(cls) -> list[str]:
        return [
            name
            for name, field in cls.model_fields.items()
            if any(isinstance(mark, Immutable) for mark in field.metadata)
        ]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler.resolve_ref_schema(handler(schema))
        validations = [
            *({"rule": rule.cel, "message": rule.message, "fieldPath": rule.path} for rule in cls.rules),
            *(
                {"rule": rule.cel, "message": rule.message, "fieldPath": rule.path, "reason": "FieldValueForbidden"}
                for rule in cls.all_transitions()
            ),
        ]
        if validations:
            json_schema["x-kubernetes-validations"] = validations
        return json_schema


def _immutability(model: type[ApiModel], name: str) -> Transition:
    field = model.model_fields[name]
    alias = field.alias or name
    same = f"self.{alias} == oldSelf.{alias}"
    if not field.is_required():
        same = f"has(self.{alias}) == has(oldSelf.{alias}) && (!has(self.{alias}) || {same})"

    def unchanged(old: ApiModel, new: ApiModel) -> bool:
        presence = (name in old.model_fields_set) == (name in new.model_fields_set)
        return presence and bool(getattr(old, name) == getattr(new, name))

    return Transition(cel=same, message=f"{alias} cannot change once the object exists", holds=unchanged, path=alias)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `path` is a JSONPath such as `.status.phase`."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What a CRD says of a kind apart from its schema."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    selectable_fields: tuple[str, ...] = ()
    namespaced: bool = True
    scale: tuple[str, str] | None = None
    """Paths of spec and status replicas when the kind has the scale subresource. The first names a field of the spec, whose
    default the CRD carries: an API server answers no read of `/scale` without it."""


NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OBJECT_NAME_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
MAX_NAME = 52
"""So that the names of children and their pods stay within 63 characters."""

PATTERN_WORDS: dict[str, str] = {
    NAME_PATTERN: "Lower-case letters, digits and -, with a letter or digit at both ends.",
    OBJECT_NAME_PATTERN: "Lower-case letters, digits, - and ., with a letter or digit at both ends.",
}
"""What each pattern of a manifest says, for people. Modules that define patterns add theirs."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=MAX_NAME)]
"""The name of an object that Easel makes children for."""

ObjectName = Annotated[str, StringConstraints(pattern=OBJECT_NAME_PATTERN, max_length=253)]
"""The name of a Secret, a PersistentVolumeClaim or the like."""

NAME_RULE = Rule(
    cel=f"self.metadata.name.size() <= {MAX_NAME} && self.metadata.name.matches('{NAME_PATTERN}')",
    message=f"a name has at most {MAX_NAME} lower-case letters, digits and -, with a letter or digit at both ends",
    holds=lambda resource: len(resource.metadata.name) <= MAX_NAME,
    path="metadata.name",
)
"""Each kind carries it: `metadata` has no schema of ours in a CRD."""


class ObjectMeta(BaseModel):
    """The part of `metadata` that Easel reads. Kubernetes owns the rest, so unknown fields are kept."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: Name
    """At most 52 characters, so that the names of children and their pods stay within 63."""
    namespace: Annotated[str | None, Field(max_length=63)] = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
