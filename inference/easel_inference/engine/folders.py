"""What may lie in any folder that is loaded: no code, no pickles, no links out of it, nothing damaged; and its digest.

Weights are safetensors alone (or ONNX graphs in a generator's folder). Pickles run code when they are read, and Python
files, `custom_pipeline` and `auto_map` are how a folder asks a loader to import code of its own, so each is refused by
name. A truncated file is refused here too: loaders map it into memory and die on it much later.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from easel_api.errors import InvalidInput, NotFound, UnsafeModel

MAX_JSON_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit

# ruff: disable[SIM905]
PICKLES = frozenset(
    ".bin .pt .pth .ckpt .pkl .pickle .h5 .hdf5 .keras .joblib .dill .npy .npz .msgpack .pb .mar .nemo".split()
)
CODE = frozenset(".py .pyc .pyo .pyd .so .dll .dylib .sh .exe .ipynb .whl .egg .zip .tar .gz .tgz".split())
# ruff: enable[SIM905]

CODE_KEYS = ("auto_map", "custom_pipeline", "trust_remote_code", "custom_pipelines")
_COPY = "Copy the file again"
_CONVERT = "Convert the weights to safetensors and remove this file"


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder; refuses links that leave it."""
    return list(_walk(folder))


def check_files(folder: Path, files: list[Path]) -> None:
    """Refuse by name what could run code and what is damaged; reads headers and JSON, no weights."""
    for file in files:
        check_name(name_of(file, folder))
        if file.suffix.lower() == ".safetensors":
            read_header(file, folder)
        if file.suffix.lower() == ".json":
            _check_config(file, folder)


def check_name(name: str) -> None:
    """Refuse a file whose name alone says that it could run code."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLES:
        raise UnsafeModel("a file that may hold a pickle, which runs code when read", where=name, fix=_CONVERT)
    if suffix in CODE:
        raise UnsafeModel("a file that can hold code", where=name, fix="Remove it; Easel runs no model's own code")


def digest_of(folder: Path, files: list[Path] | None = None) -> str:
    """sha256 over the sorted relative paths and the sha256 of each file."""
    whole = hashlib.sha256()
    names = {file.relative_to(folder).as_posix(): file for file in (files_of(folder) if files is None else files)}
    for name in sorted(names):
        with names[name].open("rb") as content:
            part = hashlib.file_digest(content, "sha256").hexdigest()
        whole.update(f"{name}\0{part}\n".encode())
    return f"sha256:{whole.hexdigest()}"


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


def read_json(file: Path, folder: Path) -> dict[str, Any]:
    """A JSON object of a model folder."""
    where = name_of(file, folder)
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


def read_header(file: Path, folder: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file that is whole and has every byte that it promises; reads no weights."""
    where, size = name_of(file, folder), file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise InvalidInput("not a whole safetensors file", where=where, found=f"{size} bytes", fix=_COPY)
        text = content.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        end = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInput("the safetensors header is damaged", where=where, fix=_COPY) from error
    if end != size:
        raise InvalidInput("truncated or padded", where=where, found=f"{size} bytes, promised {end}", fix=_COPY)
    return header


def shards_of(index: Path, folder: Path) -> set[str]:
    """The names of the files that a `….safetensors.index.json` spreads its weights over; they lie beside it."""
    names = read_json(index, folder).get("weight_map", {})
    if not isinstance(names, dict):
        raise InvalidInput("the index of the weights is damaged", where=name_of(index, folder), fix=_COPY)
    for name in map(str, names.values()):
        if Path(name).name != name:
            raise UnsafeModel("a shard's name leaves the folder", where=name_of(index, folder), found=name)
    return {str(name) for name in names.values()}


def require(file: Path, folder: Path) -> None:
    """Raise `NotFound` when the file is not there."""
    if not file.is_file():
        raise NotFound("the model folder lacks a file", where=name_of(file, folder))


def name_of(file: Path, folder: Path) -> str:
    """A file as messages name it: relative to its folder."""
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else os.fspath(file)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            entry = Path(root) / name
            if entry.is_symlink() and not entry.resolve().is_relative_to(folder.resolve()):
                raise UnsafeModel(
                    "a link leaves the model folder",
                    where=name_of(entry, folder),
                    found=os.fspath(entry.readlink()),
                    fix="Copy the files themselves into the folder",
                )
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        yield from (Path(root) / name for name in sorted(names))


def _check_config(file: Path, folder: Path) -> None:
    if file.stat().st_size > MAX_JSON_BYTES:
        return  # never read: the few that are read are checked for their size
    text = file.read_bytes()
    for key in CODE_KEYS:
        if f'"{key}"'.encode() in text and key in _keys(text):
            raise UnsafeModel(f"{key} asks the loader to import code", where=name_of(file, folder))
    if ".safetensors.index." in file.name:
        shards_of(file, folder)


def _keys(text: bytes) -> set[str]:
    keys: set[str] = set()
    try:
        json.loads(text, object_hook=lambda value: keys.update(value))
    except (ValueError, RecursionError):
        return keys
    return keys
