"""Refuses model and adapter folders that this engine does not know, before anything in them is loaded.

A folder may name only what its family lists: component, library, class, plain setting. An unknown library in
`model_index.json` is how a folder asks a loader to import code of its own. What may lie in a folder at all, and its
digest, is `folders`' business; both are pure reading, so the launcher asks them too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easel_api.errors import InvalidInput, NotFound, UnsafeModel, Unsupported
from easel_api.modeldeployment import Adapter, ModelDeploymentSpec
from easel_api.tasks import ADDED, AdapterKind
from easel_api.weights import Weights

from .families import BY_PIPELINE, FAMILIES, Component, Family
from .families.family import DIFFUSERS_WEIGHTS
from .folders import (
    check_files,
    checked_digest,
    digest_of,
    files_of,
    name_of,
    read_header,
    read_json,
    require,
    shards_of,
)
from .sources import adapter_folder, model_folder

INDEX = "model_index.json"
GENERATOR = "generator.json"
GENERATOR_FAMILY = "Onnx"
"""A folder with `generator.json` holds ONNX graphs; what is in it is checked where it is loaded."""

ADAPTER_CLASSES: dict[AdapterKind, frozenset[str]] = {
    AdapterKind.MOTION: frozenset({"MotionAdapter"}),
    AdapterKind.CONTROL_NET: frozenset({"ControlNetModel"}),
}
"""Values of `_class_name` in an adapter's config.json; a LoRA has none."""

BASE_DIGEST = "base_model_digest"
"""Key in the metadata of a LoRA's weights: the digest of the model that it was trained on."""


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model folder that may be loaded."""

    folder: Path
    family: str
    classes: dict[str, str]
    """Class names by component; what the family ignores is left out."""
    digest: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Plain values of model_index.json that the family's pipelines take."""


@dataclass(frozen=True, slots=True)
class CheckedAdapter:
    """An adapter's folder that may be loaded."""

    name: str
    kind: AdapterKind
    folder: Path
    digest: str
    class_name: str = ""
    """The diffusers class; empty for a LoRA."""
    weights: Path | None = None
    """A LoRA's one file."""


@dataclass(frozen=True, slots=True)
class CheckedFolders:
    """All that a deployment loads; adapters by the names that requests call them."""

    model: CheckedModel
    adapters: dict[str, CheckedAdapter]

    def of_kind(self, kind: AdapterKind) -> dict[str, CheckedAdapter]:
        """The adapters of one kind, by name."""
        return {name: adapter for name, adapter in self.adapters.items() if adapter.kind is kind}


def check(spec: ModelDeploymentSpec, claims: Path, *, hashed: bool = True) -> CheckedFolders:
    """Everything of a deployment, before any of it is loaded: a wrong adapter must not cost a large model's loading.

    Without `hashed` no weights are read and digests stay empty: what the launcher asks before it starts anything.
    """
    folder = model_folder(spec, claims)
    model = check_model(folder, digest=spec.model.digest, family=spec.model.family, hashed=hashed)
    _check_kinds(spec.adapters, model.family)
    adapters = [
        check_adapter(adapter_folder(adapter, spec, claims), adapter.kind, name=adapter.name, hashed=hashed)
        for adapter in spec.adapters
    ]
    for adapter in adapters:
        _check_base(adapter, model)
    return CheckedFolders(model, {adapter.name: adapter for adapter in adapters})


def check_model(
    folder: Path, *, digest: str | None = None, family: str | None = None, hashed: bool = True
) -> CheckedModel:
    """A pipeline's or a generator's folder, checked whole; each refusal names the file."""
    files = files_of(folder)
    if (folder / GENERATOR).is_file():
        found, classes, settings = GENERATOR_FAMILY, dict[str, str](), dict[str, Any]()
    else:
        found, classes, settings = _check_pipeline(folder)
    if family not in (None, found):
        raise InvalidInput("the folder holds another family", where="spec.model.family", found=found)
    check_files(folder, files)
    return CheckedModel(folder, found, classes, checked_digest(folder, files, digest) if hashed else "", settings)


def check_adapter(folder: Path, kind: AdapterKind, *, name: str = "", hashed: bool = True) -> CheckedAdapter:
    """An adapter's folder, checked whole."""
    files = files_of(folder)
    class_name, weights = "", None
    if kind is AdapterKind.LORA:
        weights = _lora_file(folder)
    else:
        class_name = _adapter_class(folder, kind)
        _require_weights(folder, DIFFUSERS_WEIGHTS, folder)
    check_files(folder, files)
    return CheckedAdapter(name, kind, folder, digest_of(folder, files) if hashed else "", class_name, weights)


def weights_of(model: CheckedModel) -> Weights | None:
    """How many numbers will be loaded, from the headers of the files that will be read; None of a generator."""
    if model.family == GENERATOR_FAMILY:
        return None
    family, counted = FAMILIES[model.family], dict.fromkeys((True, False), 0)
    for name in model.classes:
        for file in _weight_files(model.folder, name, family.loaded[name]):
            counted[name in family.denoisers] += _numbers_in(file, model.folder)
    return Weights(denoisers=counted[True], others=counted[False])


def _weight_files(folder: Path, name: str, component: Component) -> list[Path]:
    if not component.weights:
        return []
    part, variant = folder / name, variant_of(folder / name, component.weights) or ""
    whole, index = (part / file for file in _stored_as(component.weights, variant))
    return [whole] if whole.is_file() else [part / shard for shard in sorted(shards_of(index, folder))]


def _numbers_in(file: Path, folder: Path) -> int:
    header = read_header(file, folder)
    try:
        return sum(math.prod(map(int, tensor["shape"])) for name, tensor in header.items() if name != "__metadata__")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the safetensors header is damaged", where=name_of(file, folder)) from error


def variant_of(folder: Path, weights: str) -> str | None:
    """`fp16` when a component's folder holds its weights in half precision alone, as some stock folders do."""
    return None if any((folder / file).is_file() for file in _stored_as(weights)) else "fp16"


def _check_pipeline(folder: Path) -> tuple[str, dict[str, str], dict[str, Any]]:
    index = read_json(folder / INDEX, folder)
    family = _family(index)
    classes = _classes(index, family)
    for name in classes:
        _check_component(folder, name, family.loaded[name])
    return family.name, classes, _settings(index, family)


def _family(index: Mapping[str, Any]) -> Family:
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in BY_PIPELINE:
        raise Unsupported(
            "this engine does not serve this pipeline",
            where=INDEX,
            found=f"_class_name {pipeline!r}",
            fix=f"Served are {', '.join(BY_PIPELINE)}",
        )
    return BY_PIPELINE[pipeline]


def _classes(index: Mapping[str, Any], family: Family) -> dict[str, str]:
    """Class names by component; anything that is not in the family's lists is refused."""
    classes = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry == [None, None]:
            continue
        component = family.known.get(name)
        if component is None or len(entry) != 2 or entry[0] != component.library or entry[1] not in component.classes:
            raise UnsafeModel(
                "names a component that this engine does not know", where=f"{INDEX}: {name}", found=repr(entry)
            )
        if name not in family.ignored:
            classes[name] = str(entry[1])
    for name in family.components.keys() - classes.keys():
        raise NotFound("the pipeline lacks a component", where=f"{INDEX}: {name}")
    return classes


def _settings(index: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Plain values that the pipeline's constructor takes; one that nobody knows would be dropped in silence."""
    settings = {}
    for name, value in index.items():
        if name.startswith("_") or isinstance(value, list) or name in family.disregarded:
            continue
        if name == "custom_pipeline":
            raise UnsafeModel(
                "asks for a pipeline of its own, whose code would run", where=INDEX, found=f"{name} {value!r}"
            )
        if name not in family.settings or not isinstance(value, str | int | float | None):
            raise Unsupported(
                "names a setting that this engine does not know", where=f"{INDEX}: {name}", found=repr(value)
            )
        settings[name] = value
    return settings


def _check_component(folder: Path, name: str, component: Component) -> None:
    config = folder / name / component.config
    require(config, folder)
    read_json(config, folder)
    if component.weights:
        _require_weights(folder / name, component.weights, folder)


def _require_weights(part: Path, weights: str, folder: Path) -> None:
    """The weights are there: whole or in shards, in full or half precision; an index names no shard that is missing."""
    found = [file for variant in ("", "fp16") for file in _stored_as(weights, variant) if (part / file).is_file()]
    if not found:
        require(part / weights, folder)
    elif found[0].endswith(".json"):
        for shard in sorted(shards_of(part / found[0], folder)):
            require(part / shard, folder)


def _stored_as(weights: str, variant: str = "") -> tuple[str, str]:
    """The names of a component's weights: whole, and the index of their shards."""
    if not variant:
        return weights, f"{weights}.index.json"
    return weights.replace(".safetensors", f".{variant}.safetensors"), f"{weights}.index.{variant}.json"


def _check_kinds(adapters: list[Adapter], family: str) -> None:
    for index, adapter in enumerate(adapters):
        if (family, adapter.kind) not in ADDED:
            taken = ", ".join(kind for name, kind in ADDED if name == family)
            raise Unsupported(
                f"{family} models take no such adapter",
                where=f"spec.adapters[{index}].kind",
                found=adapter.kind,
                fix=f"They take {taken}" if taken else "Remove it",
            )


def _adapter_class(folder: Path, kind: AdapterKind) -> str:
    name = str(read_json(folder / "config.json", folder).get("_class_name"))
    if name not in ADAPTER_CLASSES[kind]:
        raise Unsupported(f"not a {kind} adapter", where=f"{folder}/config.json", found=name)
    return name


def _lora_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise InvalidInput(
            "a LoRA's folder holds exactly one safetensors file",
            where=str(folder),
            found=", ".join(name_of(file, folder) for file in files) or "none",
        )
    return files[0]


def _check_base(adapter: CheckedAdapter, model: CheckedModel) -> None:
    """A LoRA that says which model it was trained on is refused for another: it would draw noise without a word."""
    if adapter.weights is None or not model.digest:
        return
    metadata = read_header(adapter.weights, adapter.folder).get("__metadata__") or {}
    wanted = metadata.get(BASE_DIGEST, model.digest)
    if wanted != model.digest:
        raise InvalidInput(
            "the LoRA was trained on another model",
            where=f"spec.adapters: {adapter.name}",
            found=f"the model is {model.digest}, the LoRA is for {wanted}",
            fix="Serve the model that it belongs to",
        )


__all__ = [
    "FAMILIES",
    "CheckedAdapter",
    "CheckedFolders",
    "CheckedModel",
    "check",
    "check_adapter",
    "check_files",
    "check_model",
    "checked_digest",
    "digest_of",
    "files_of",
    "read_json",
    "variant_of",
    "weights_of",
]
