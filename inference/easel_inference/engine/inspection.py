"""Refuses model folders that could run code, or that are broken, before anything in them is loaded.

Weights are safetensors alone. Pickles run code when they are read, and Python files, `custom_pipeline`, `auto_map` and
unknown libraries in `model_index.json` are how a folder asks a loader to import code of its own, so each is refused by
name. A truncated file is refused here too: loaders map it into memory and die on it much later.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel_api.errors import InvalidInput, NotFound, UnsafeModel, Unsupported
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import AdapterKind

from .sources import folder_of

INDEX = "model_index.json"
MAX_JSON_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit

# ruff: disable[SIM905]
PICKLES = frozenset(
    ".bin .pt .pth .ckpt .pkl .pickle .h5 .hdf5 .keras .joblib .dill .npy .npz .msgpack .pb .mar .nemo".split()
)
CODE = frozenset(".py .pyc .pyo .pyd .so .dll .dylib .sh .exe .ipynb .whl .egg .zip .tar .gz .tgz".split())

SCHEDULERS = frozenset(
    """DDIMScheduler DDPMScheduler PNDMScheduler LMSDiscreteScheduler EulerDiscreteScheduler
    EulerAncestralDiscreteScheduler HeunDiscreteScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler
    UniPCMultistepScheduler LCMScheduler DEISMultistepScheduler KDPM2DiscreteScheduler""".split()
)
# ruff: enable[SIM905]

COMPONENTS: dict[str, tuple[str, frozenset[str]]] = {
    "unet": ("diffusers", frozenset({"UNet2DConditionModel"})),
    "vae": ("diffusers", frozenset({"AutoencoderKL"})),
    "scheduler": ("diffusers", SCHEDULERS),
    "text_encoder": ("transformers", frozenset({"CLIPTextModel"})),
    "tokenizer": ("transformers", frozenset({"CLIPTokenizer", "CLIPTokenizerFast"})),
}
"""What a StableDiffusion folder must hold: component, library, classes."""

IGNORED: dict[str, tuple[str, frozenset[str]]] = {
    "feature_extractor": ("transformers", frozenset({"CLIPImageProcessor", "CLIPFeatureExtractor"})),
    "safety_checker": ("stable_diffusion", frozenset({"StableDiffusionSafetyChecker"})),
    "image_encoder": ("transformers", frozenset({"CLIPVisionModelWithProjection"})),
}
"""What it may hold besides; not loaded."""

FAMILIES = {"StableDiffusionPipeline": "StableDiffusion"}
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model folder that may be loaded."""

    folder: Path
    family: str
    classes: dict[str, str]
    digest: str


@dataclass(frozen=True, slots=True)
class CheckedFolders:
    """All that a deployment loads."""

    model: CheckedModel
    motion: CheckedModel | None


def check(spec: ModelDeploymentSpec, claims: Path, *, hashed: bool = True) -> CheckedFolders:
    """Everything of a deployment, before any of it is loaded: a wrong adapter must not cost a large model's loading.

    Without `hashed` no weights are read and digests stay empty: what the launcher asks before it starts anything.
    """
    model = check_model(
        folder_of(spec.model.source, claims), digest=spec.model.digest, family=spec.model.family, hashed=hashed
    )
    motion = {adapter.kind: adapter for adapter in spec.adapters}.get(AdapterKind.MOTION)
    return CheckedFolders(model, check_adapter(folder_of(motion.source, claims), hashed=hashed) if motion else None)


def check_model(
    folder: Path, *, digest: str | None = None, family: str | None = None, hashed: bool = True
) -> CheckedModel:
    """A pipeline's folder, checked whole; each refusal names the file."""
    files = list(_files(folder))
    index = _index(folder)
    found = FAMILIES[index["_class_name"]]
    if family not in (None, found):
        raise InvalidInput("the folder holds another family", where="spec.model.family", found=found)
    classes = _classes(index, folder)
    for component, name in WEIGHTS.items():
        _require(folder / component / name, folder, instead=_variant(folder / component, name))
    for component in COMPONENTS:
        _require_config(folder, component)
    _check_files(folder, files)
    return CheckedModel(folder, found, classes, checked_digest(folder, files, digest) if hashed else "")


def check_adapter(folder: Path, *, hashed: bool = True) -> CheckedModel:
    """A motion adapter's folder."""
    files = list(_files(folder))
    _require(folder / "config.json", folder)
    _require(folder / "diffusion_pytorch_model.safetensors", folder)
    name = str(read_json(folder / "config.json", folder).get("_class_name"))
    if name != "MotionAdapter":
        raise Unsupported("not a motion adapter", where=f"{folder}/config.json", found=name)
    _check_files(folder, files)
    return CheckedModel(folder, "Motion", {"motion": name}, digest_of(folder, files) if hashed else "")


def checked_digest(folder: Path, files: list[Path], wanted: str | None) -> str:
    """The folder's digest; `InvalidInput` names both when another one is wanted."""
    found = digest_of(folder, files)
    if wanted not in (None, found):
        raise InvalidInput(
            "the model folder is not the one that was pinned",
            where="spec.model.digest",
            found=f"{found}, wanted {wanted}",
            fix="Restore the folder's files, or pin the digest that was found if the change is meant",
        )
    return found


def digest_of(folder: Path, files: list[Path] | None = None) -> str:
    """sha256 over the sorted relative paths and the sha256 of each file."""
    whole = hashlib.sha256()
    names = {file.relative_to(folder).as_posix(): file for file in (_files(folder) if files is None else files)}
    for name in sorted(names):
        with names[name].open("rb") as content:
            part = hashlib.file_digest(content, "sha256").hexdigest()
        whole.update(f"{name}\0{part}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def read_json(file: Path, folder: Path) -> dict[str, Any]:
    """A JSON object of a model folder."""
    where = _name(file, folder)
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise InvalidInput("the file is too large to be a configuration", where=where)
        value = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise NotFound("the model folder lacks a file", where=where) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("not valid JSON", where=where, found=str(error)) from error
    if not isinstance(value, dict):
        raise InvalidInput("not a JSON object", where=where, found=type(value).__name__)
    return value


def check_safetensors(file: Path, folder: Path) -> None:
    """The header is whole and the file has every byte that it promises; reads no weights."""
    where, size = _name(file, folder), file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise InvalidInput("not a whole safetensors file", where=where, found=f"{size} bytes", fix=_COPY)
        header = content.read(length)
    try:
        tensors = json.loads(header)
        ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
        end = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInput("the safetensors header is damaged", where=where, fix=_COPY) from error
    if end != size:
        raise InvalidInput("truncated or padded", where=where, found=f"{size} bytes, promised {end}", fix=_COPY)


_COPY = "Copy the file again"


def _files(folder: Path) -> Iterator[Path]:
    """Every file of the folder; refuses links that leave it."""
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            entry = Path(root) / name
            if entry.is_symlink() and not entry.resolve().is_relative_to(folder.resolve()):
                raise UnsafeModel(
                    "a link leaves the model folder",
                    where=_name(entry, folder),
                    found=os.fspath(entry.readlink()),
                    fix="Copy the files themselves into the folder",
                )
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        yield from (Path(root) / name for name in sorted(names))


def _check_files(folder: Path, files: list[Path]) -> None:
    for file in files:
        where, suffix = _name(file, folder), file.suffix.lower()
        if suffix in PICKLES:
            raise UnsafeModel("a file that may hold a pickle, which runs code when read", where=where, fix=_CONVERT)
        if suffix in CODE:
            raise UnsafeModel("a file that can hold code", where=where, fix="Remove it; Easel runs no model's own code")
        if suffix == ".safetensors":
            check_safetensors(file, folder)
        if suffix == ".json":
            _check_config(file, folder)


_CONVERT = "Convert the weights to safetensors and remove this file"


def _check_config(file: Path, folder: Path) -> None:
    if file.stat().st_size > MAX_JSON_BYTES:
        return  # never read: the few that are read are checked for their size
    text = file.read_bytes()
    for key in ("auto_map", "custom_pipeline", "trust_remote_code", "custom_pipelines"):
        if f'"{key}"'.encode() in text and key in _keys(text):
            raise UnsafeModel(f"{key} asks the loader to import code", where=_name(file, folder))
    if file.name.endswith(".safetensors.index.json"):
        for name in set(read_json(file, folder).get("weight_map", {}).values()):
            if Path(str(name)).name != name:
                raise UnsafeModel("a shard's name leaves the folder", where=_name(file, folder), found=str(name))


def _keys(text: bytes) -> set[str]:
    keys: set[str] = set()
    try:
        json.loads(text, object_hook=lambda value: keys.update(value))
    except (ValueError, RecursionError):
        return keys
    return keys


def _index(folder: Path) -> dict[str, Any]:
    index = read_json(folder / INDEX, folder)
    if index.get("_class_name") not in FAMILIES:
        raise Unsupported(
            "this engine does not serve this pipeline",
            where=INDEX,
            found=f"_class_name {index.get('_class_name')!r}",
            fix=f"Served are {', '.join(FAMILIES)}",
        )
    return index


def _classes(index: dict[str, Any], folder: Path) -> dict[str, str]:
    """Class names by component; anything that is not in the lists above is refused."""
    classes = {}
    for component, entry in index.items():
        if component.startswith("_") or not isinstance(entry, list) or entry == [None, None]:
            continue
        library, names = (COMPONENTS | IGNORED).get(component, ("", frozenset()))
        if len(entry) != 2 or entry[0] != library or entry[1] not in names:
            raise UnsafeModel(
                "names a component that this engine does not know",
                where=f"{_name(folder / INDEX, folder)}: {component}",
                found=repr(entry),
            )
        classes[component] = str(entry[1])
    for component in COMPONENTS.keys() - classes.keys():
        raise NotFound("the pipeline lacks a component", where=f"{INDEX}: {component}")
    return classes


def _require(file: Path, folder: Path, instead: Path | None = None) -> None:
    if not file.is_file() and instead is None:
        raise NotFound("the model folder lacks a file", where=_name(file, folder))


def _variant(folder: Path, name: str) -> Path | None:
    """Half-precision or sharded weights, which stock folders hold instead."""
    stem, suffix = name.rsplit(".", 1)
    found = (folder / f"{stem}.fp16.{suffix}", folder / f"{name}.index.json")
    return next((file for file in found if file.is_file()), None)


def _require_config(folder: Path, component: str) -> None:
    names = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
    file = folder / component / names.get(component, "config.json")
    _require(file, folder)
    read_json(file, folder)


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else os.fspath(file)
