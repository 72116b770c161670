"""Images as OCI layouts: what a container engine would make, written by hand, uncompressed.

Compression would cost minutes for gigabytes that never leave the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Runs:
    """What a container of the image runs, unless told otherwise."""

    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


def write_layout(folder: Path, layers: Sequence[Path], runs: Runs, name: str = "") -> str:
    """Write an image as an OCI layout; the manifest's digest. Layers are tar files, lowest first; they are linked, not copied."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    described = [_take_layer(folder, layer) for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(runs.entrypoint),
            "Env": [f"{key}={value}" for key, value in runs.environment.items()],
            "User": runs.user,
        },
        # Uncompressed: a layer's digest is that of its content.
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
    }
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _put(folder, CONFIG, config), "layers": described}
    entry = _put(folder, MANIFEST, manifest)
    named = entry | ({"annotations": {"io.containerd.image.name": name}} if name else {})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return str(entry["digest"])


def layout_digest(folder: Path) -> str:
    """The digest of a layout's only image."""
    return str(json.loads((folder / "index.json").read_text())["manifests"][0]["digest"])


def archive(folder: Path, target: Path) -> None:
    """A layout as one tar file, the form that containerd imports."""
    with tarfile.open(target, "w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False)


def partial_archive(store: Path, digest: str, name: str, has: set[str], target: Path) -> None:
    """An image out of a content store (`blobs/sha256/…`) as a tar file, without those layers that the receiver has."""
    manifest = json.loads(_blob(store, digest).read_text())
    layers = [layer["digest"] for layer in manifest["layers"] if layer["digest"] not in has]
    size = _blob(store, digest).stat().st_size
    entry = {"mediaType": MANIFEST, "digest": digest, "size": size, "annotations": {"io.containerd.image.name": name}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for each in dict.fromkeys((digest, manifest["config"]["digest"], *layers)):
            tar.add(_blob(store, each), f"blobs/sha256/{each.removeprefix('sha256:')}")


def layer_of_files(target: Path, files: Mapping[str, Path]) -> None:
    """A layer that holds executable files at the given places, the same bytes each time."""
    with tarfile.open(target, "w") as tar:
        for place, source in sorted(files.items()):
            _add(tar, place.lstrip("/"), source.read_bytes())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    tar.addfile(entry, io.BytesIO(content))


def _take_layer(folder: Path, layer: Path) -> dict[str, object]:
    digest = _digest_of_file(layer)
    _blob(folder, digest).hardlink_to(layer)
    return {"mediaType": LAYER, "digest": digest, "size": layer.stat().st_size}


def _put(folder: Path, media_type: str, document: object) -> dict[str, object]:
    content = json.dumps(document, sort_keys=True).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _blob(folder, digest).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"
