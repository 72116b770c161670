"""The CustomResourceDefinition around a kind's schema, and its YAML."""

from __future__ import annotations

import re
from typing import Any

import yaml

from easel_api import CATEGORY, GROUP, VERSION
from easel_api.base import ApiModel, Column, KindInfo
from easel_api.schema import Schema, Unlowerable, described_spec, json_schema, map_children

from .bounds import unbounded
from .lowering import lower

HEADER = "# Written by `make crds` from the models in crds/easel_api; do not edit.\n"

_TYPE_META = {
    "apiVersion": {"type": "string", "description": "Group and version of this object: easel.dev/v1alpha1."},
    "kind": {"type": "string", "description": "Kind of this object."},
    # Kubernetes owns its schema; the rule on the name stands on the root.
    "metadata": {"type": "object"},
}


def custom_resource_definition(model: type[ApiModel], info: KindInfo) -> Schema:
    """The CRD of a kind; raises `Unlowerable` with the path of a field that cannot be said or lacks bounds."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": list(info.short_names),
                "categories": [CATEGORY],
            },
            "versions": [_version(model, info)],
        },
    }


def _version(model: type[ApiModel], info: KindInfo) -> Schema:
    optional = {
        "selectableFields": [{"jsonPath": path} for path in info.selectable_fields],
        "subresources": _subresources(model, info),
    }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in info.columns],
        # An API server drops what is empty, and whoever applies it again would write it each time.
        **{name: value for name, value in optional.items() if value},
        "schema": {"openAPIV3Schema": _root_schema(model, info)},
    }


def _column(column: Column) -> Schema:
    rendered: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        rendered["description"] = column.description
    return rendered | ({"priority": column.priority} if column.priority else {})


def _subresources(model: type[ApiModel], info: KindInfo) -> Schema:
    if "status" not in model.model_fields:
        return {}
    if info.scale is None:
        return {"status": {}}
    spec_path, status_path = info.scale
    return {"status": {}, "scale": {"specReplicasPath": spec_path, "statusReplicasPath": status_path}}


def _root_schema(model: type[ApiModel], info: KindInfo) -> Schema:
    whole, described = json_schema(model), described_spec(model)
    spec = lower(described, "spec")
    parts = {"spec": spec}
    if "status" in whole["properties"]:
        parts["status"] = lower(whole["properties"]["status"], "status")
    if problems := unbounded(spec, "spec") + unbounded(parts.get("status", {}), "status", numbers=False):
        raise Unlowerable(info.kind, "fields without bounds: " + "; ".join(problems))
    if info.scale:
        # The one default that an API server must write: it answers no read of the scale subresource without the field.
        replicas = info.scale[0].removeprefix(".spec.")
        spec["properties"][replicas]["default"] = described["properties"][replicas]["default"]
    return _with_field_paths(
        {
            "type": "object",
            "description": whole["description"],
            "required": ["spec"],
            "properties": _TYPE_META | parts,
            "x-kubernetes-validations": whole.get("x-kubernetes-validations", []),
        }
    )


def _with_field_paths(schema: Schema) -> Schema:
    """The schema with its rules' field paths in the API server's spelling."""
    finished = dict(schema)
    if "x-kubernetes-validations" in schema:
        finished["x-kubernetes-validations"] = [_with_field_path(rule) for rule in schema["x-kubernetes-validations"]]
    return map_children(finished, lambda child, _: _with_field_paths(child))


def _with_field_path(rule: Schema) -> Schema:
    path = rule.get("fieldPath", "")
    bare = {key: value for key, value in rule.items() if key != "fieldPath"}
    # `metadata` has no fields in a CRD that a path could name.
    return bare | ({"fieldPath": f".{path}"} if path and not path.startswith("metadata") else {})


class _QuotingDumper(yaml.SafeDumper):
    """Quotes what the YAML reader of Kubernetes, written in Go, takes for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_READ_AS_OTHER_THAN_TEXT = re.compile(r"[yYnN]|[-+]?[.\d][\d_.]*([eE][-+]?\d+)?|0[xob][\da-fA-F_]+")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    risky = _READ_AS_OTHER_THAN_TEXT.fullmatch(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if risky else None)


_QuotingDumper.add_representer(str, _text)


def to_yaml(document: Schema) -> str:
    """The document as YAML that PyYAML and Go read alike."""
    body = yaml.dump(document, Dumper=_QuotingDumper, sort_keys=False, width=120, allow_unicode=True)
    return HEADER + body
