"""A text or files in, typed objects and problems out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from easel_api import API_VERSION, GROUP
from easel_api.base import ApiModel
from easel_api.generationclass import GenerationClass
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment
from easel_api.provider import Provider
from easel_api.schema import Schema, describe, described_spec, json_schema
from easel_api.tasks import needed_for

from .metadata import metadata_problems
from .problems import Documents, Place, Problem
from .rules import duplicates, rule_problems
from .semantics import model_problems, spec_problems
from .source import Document, read
from .typed import closest, to_problem

Kind = type[GenerationJob] | type[ModelDeployment] | type[Provider] | type[GenerationClass]

KINDS: dict[str, Kind] = {
    "GenerationJob": GenerationJob,
    "ModelDeployment": ModelDeployment,
    "Provider": Provider,
    "GenerationClass": GenerationClass,
}


def load_documents(paths: Iterable[Path], *, for_cluster: bool) -> Documents:
    """What the files hold. A file that cannot be read is a problem like any other; nothing is raised."""
    loaded = Documents()
    for path in paths:
        text = _text(path)
        found = (
            Documents(problems=(text,))
            if isinstance(text, Problem)
            else _read(text, str(path), for_cluster=for_cluster)
        )
        loaded += found
    return loaded + Documents(problems=tuple(_impossible(loaded)))


def validate_text(text: str, file: str = "", *, for_cluster: bool) -> Documents:
    """What a text of one or more YAML documents holds; `for_cluster` asks what an API server asks as well."""
    found = _read(text, file, for_cluster=for_cluster)
    return found + Documents(problems=tuple(_impossible(found)))


def _text(path: Path) -> str | Problem:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return Problem("cannot read this file", found=error.strerror or type(error).__name__, file=str(path))
    except UnicodeDecodeError:
        return Problem("not a text in UTF-8", fix="A manifest is YAML text", file=str(path))


def _read(text: str, file: str, *, for_cluster: bool) -> Documents:
    documents, problems = read(text, file)
    found = Documents(problems=tuple(problems))
    for document in documents:
        found += _document(document, for_cluster=for_cluster)
    if not documents and not problems:
        return found + Documents(problems=(Problem("there is no manifest in it", fix="See examples/", file=file),))
    return found + Documents(problems=tuple(_same_names(found, file)))


def _document(document: Document, *, for_cluster: bool) -> Documents:
    kind = _kind(document.data, document.place)
    if isinstance(kind, Problem):
        return Documents(problems=(kind,))
    if isinstance(kind, str):
        return Documents(others=(kind,))
    return _object(document, kind, for_cluster=for_cluster)


def _kind(data: Any, place: Place) -> Kind | str | Problem:
    """The model of a document; the kind's name when it is of another API group; or what is wrong."""
    if not isinstance(data, dict):
        return place.problem((), "a manifest is a mapping with apiVersion, kind, metadata and spec")
    version, kind = data.get("apiVersion"), data.get("kind")
    known = ", ".join(KINDS)
    if not isinstance(kind, str) or not kind:
        return place.problem(("kind",), "is missing", fix=f"Add it: {known}")
    if version == API_VERSION:
        meant = closest(kind, list(KINDS))
        fix = f"Did you mean {meant}?" if meant else f"Kinds of {API_VERSION}: {known}"
        return KINDS.get(kind) or place.problem(("kind",), "no such kind", found=kind[:80], fix=fix)
    if kind in KINDS or _looks_like_ours(version):
        found = version[:80] if isinstance(version, str) else "nothing"
        return place.problem(
            ("apiVersion",), f"must be {API_VERSION}", found=found, fix=f"Write apiVersion: {API_VERSION}"
        )
    return kind


def _looks_like_ours(version: object) -> bool:
    group = str(version).partition("/")[0]
    return difflib.SequenceMatcher(None, group, GROUP).ratio() > 0.8


def _object(document: Document, kind: Kind, *, for_cluster: bool) -> Documents:
    place, schema = document.place, _schema(kind)
    # An API server ignores the status that comes with a manifest.
    data = {name: value for name, value in document.data.items() if name != "status"}
    metadata = data.get("metadata")
    problems = list(metadata_problems(metadata, place)) if isinstance(metadata, dict) else []
    try:
        # As JSON: in strict Python mode pydantic wants enums for the names of enums.
        parsed = kind.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += [to_problem(details, schema, place) for details in error.errors(include_url=False)]
        return Documents(problems=tuple(problems))
    problems += rule_problems(parsed, place, for_cluster=for_cluster)
    problems += duplicates(data, schema, place)
    match parsed:
        case GenerationJob():
            problems += spec_problems(parsed.spec, place)
            return Documents(jobs=(parsed,), problems=tuple(problems))
        case ModelDeployment():
            problems += model_problems(parsed.spec, place)
            return Documents(models=(parsed,), problems=tuple(problems))
        case Provider():
            return Documents(providers=(parsed,), problems=tuple(problems))
        case GenerationClass():
            return Documents(classes=(parsed,), problems=tuple(problems))


def _schema(kind: type[ApiModel]) -> Schema:
    schema = json_schema(kind)
    metadata = describe(schema["properties"]["metadata"])
    return schema | {"properties": schema["properties"] | {"metadata": metadata, "spec": described_spec(kind)}}


def _same_names(documents: Documents, file: str) -> Iterator[Problem]:
    """Of two objects with one name in a file, the second would overwrite the first."""
    seen: set[tuple[str, str | None, str]] = set()
    for each in documents.objects:
        identity = (each.kind, each.metadata.namespace, each.metadata.name)
        if identity in seen:
            what, fix = f"two of kind {each.kind} have this name", "Rename one"
            yield Problem(what, path="metadata.name", found=each.metadata.name, fix=fix, file=file)
        seen.add(identity)


def _impossible(documents: Documents) -> Iterator[Problem]:
    """Jobs for which every model they name is among the documents, and none can do the task or has an adapter."""
    for job in documents.jobs:
        named = [_models_named(reference.model_deployment, job, documents) for reference in job.spec.backends]
        if named and all(named):
            models = [model for found in named for model in found]
            yield from _undoable(job, models)
            yield from _missing_adapters(job, models)


def _undoable(job: GenerationJob, models: list[ModelDeployment]) -> Iterator[Problem]:
    tasks = [model.spec.known_tasks() for model in models]
    if all(known is not None and job.spec.task not in known for known in tasks):
        yield Problem(
            f"none of the models that GenerationJob {job.metadata.name} names can do {job.spec.task}",
            path="spec.backends",
            found=", ".join(sorted({str(task) for known in tasks for task in known or ()})),
            fix=f"It needs {needed_for(job.spec.task)}",
        )


def _missing_adapters(job: GenerationJob, models: list[ModelDeployment]) -> Iterator[Problem]:
    usable = {name for model in models for name in model.spec.usable_adapters()}
    for number, use in enumerate(job.spec.adapters):
        if use.name not in usable:
            meant = closest(use.name, sorted(usable))
            yield Problem(
                f"no model that GenerationJob {job.metadata.name} names has a LoRA or ControlNet of this name",
                path=f"spec.adapters[{number}].name",
                found=use.name,
                fix=f"Did you mean {meant}?" if meant else "Add it to spec.adapters of the ModelDeployment",
            )


def _models_named(name: str | None, job: GenerationJob, documents: Documents) -> list[ModelDeployment]:
    namespace = job.metadata.namespace
    return [model for model in documents.models if (model.metadata.name, model.metadata.namespace) == (name, namespace)]
