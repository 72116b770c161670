"""The CustomResourceDefinition around a kind's schema, and its YAML."""

from __future__ import annotations

import re
from typing import Any

import yaml

from easel_api import CATEGORY, GROUP, VERSION
from easel_api.base import ApiModel, Column, KindInfo

from .bounds import unbounded
from .lowering import Unlowerable, lower

Schema = dict[str, Any]

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
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in info.columns],
        "selectableFields": [{"jsonPath": path} for path in info.selectable_fields],
        "subresources": _subresources(info),
        "schema": {"openAPIV3Schema": _root_schema(model, info)},
    }


def _column(column: Column) -> Schema:
    rendered: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        rendered["description"] = column.description
    return rendered | ({"priority": column.priority} if column.priority else {})


def _subresources(info: KindInfo) -> Schema:
    if info.scale is None:
        return {"status": {}}
    spec_path, status_path = info.scale
    return {"status": {}, "scale": {"specReplicasPath": spec_path, "statusReplicasPath": status_path}}


def _root_schema(model: type[ApiModel], info: KindInfo) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    defs, parts = schema["$defs"], schema["properties"]
    spec = lower(parts["spec"] | {"$defs": defs}, path="spec", described=True)
    status = lower(parts["status"] | {"$defs": defs}, path="status")
    if problems := unbounded(spec, "spec") + unbounded(status, "status", numbers=False):
        raise Unlowerable(info.kind, "fields without bounds: " + "; ".join(problems))
    rendered = {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": _TYPE_META | {"spec": spec, "status": status},
        "x-kubernetes-validations": schema.get("x-kubernetes-validations", []),
    }
    _finish_rules(rendered)
    return rendered


def _finish_rules(schema: Schema) -> None:
    """Field paths in the API server's spelling; `metadata` has no fields there to point at."""
    for rule in schema.get("x-kubernetes-validations", []):
        path = rule.pop("fieldPath", "")
        if path and not path.startswith("metadata"):
            rule["fieldPath"] = f".{path}"
    for child in schema.get("properties", {}).values():
        _finish_rules(child)
    for key in ("items", "additionalProperties"):
        if key in schema:
            _finish_rules(schema[key])


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
