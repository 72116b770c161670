"""What every kind is built from: the strict base model, rules, and the metadata of a kind.

A `Rule` is written once as CEL, for the API server, and once as Python, for `easel validate` and the CLI; tests post an
accepted and a refused object for each rule to a real API server and check that its Python twin says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


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


class ApiModel(BaseModel):
    """Base of everything in a manifest: camelCase outside, snake_case inside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_enum_values=False
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_manifest(self) -> dict[str, Any]:
        """As plain JSON values in the manifest's spelling, without fields that nobody set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


class Immutable:
    """Marks a field (in `Annotated`) that the API server refuses to change once the object exists."""


@dataclass(frozen=True, slots=True)
class ListMap:
    """Marks a list (in `Annotated`) as a map keyed by `keys`, so that server-side apply merges its items."""

    keys: tuple[str, ...]


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
    """Paths of spec and status replicas when the kind has the scale subresource."""


class ObjectMeta(BaseModel):
    """The part of `metadata` that Easel reads. Kubernetes owns the rest, so unknown fields are kept."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=52)]
    """At most 52 characters, so that the names of children and their pods stay within 63."""
    namespace: Annotated[str | None, Field(max_length=63)] = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=52)]
"""The name of an object that Easel makes children for."""

ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)]
"""The name of a Secret, a PersistentVolumeClaim or the like."""
