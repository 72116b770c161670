"""Where a model's folder is, by the URI that a manifest names it with.

Nothing is fetched here: what lies in a bucket is brought into the cache by a Job before a runtime starts, which reaches nobody.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from easel_api.errors import InvalidInput, NotFound
from easel_api.modeldeployment import (
    BUILTIN_CONTROLNET,
    BUILTIN_GAN,
    BUILTIN_LORA,
    BUILTIN_MINIATURE,
    BUILTIN_MOTION,
    BUILTIN_VAE,
    FETCHED_FOLDER,
    Adapter,
    ModelDeploymentSpec,
)
from easel_inference import miniature

BUILTINS: dict[str, Path] = {
    BUILTIN_MINIATURE: miniature.WEIGHTS / "base",
    BUILTIN_MOTION: miniature.WEIGHTS / "motion",
    BUILTIN_LORA: miniature.WEIGHTS / "lora-ink",
    BUILTIN_CONTROLNET: miniature.WEIGHTS / "controlnet-seg",
    BUILTIN_GAN: miniature.WEIGHTS / "generator-gan",
    BUILTIN_VAE: miniature.WEIGHTS / "generator-vae",
}


def model_folder(spec: ModelDeploymentSpec, claims: Path) -> Path:
    """The model's own folder; raises as `folder_of` does."""
    return folder_of(spec.model.source, claims, cached(spec, spec.model.source, claims, spec.model.digest))


def adapter_folder(adapter: Adapter, spec: ModelDeploymentSpec, claims: Path) -> Path:
    """An adapter's folder; raises as `folder_of` does."""
    return folder_of(adapter.source, claims, cached(spec, adapter.source, claims))


def cached(spec: ModelDeploymentSpec, source: str, claims: Path, digest: str | None = None) -> Path | None:
    """Where a source of a bucket is kept; None without a cache.

    With another digest pinned, or at another endpoint, it is another folder: both may serve for a while.
    """
    if spec.cache is None:
        return None
    endpoint = (spec.model.s3.endpoint if spec.model.s3 else None) or ""
    name = hashlib.sha256(f"{endpoint}\n{source}\n{digest or ''}".encode()).hexdigest()[:32]
    return claims / spec.cache.folder / FETCHED_FOLDER / name


def folder_of(source: str, claims: Path, fetched: Path | None = None) -> Path:
    """The folder that a source names; `claims` is where claims are mounted, and `fetched` where a source of a bucket is kept.

    Raises `NotFound` when nothing is there and `InvalidInput` when the path is no folder or leaves its claim.
    """
    scheme, _, rest = source.partition("://")
    match scheme:
        case "builtin":
            folder = _builtin(source)
        case "pvc":
            folder = _inside_claim(rest, claims, source)
        case "s3":
            folder = _fetched(source, fetched)
        case "file":
            folder = Path(rest).expanduser()
        case _:
            raise InvalidInput("unknown kind of model source", where="spec.model.source", found=source, fix=_FORMS)
    if not folder.exists():
        raise NotFound("the model folder does not exist", where=source, found=os.fspath(folder))
    if not folder.is_dir():
        raise InvalidInput("the model source is a file, not a folder", where=source, fix=_FOLDER)
    return folder.resolve()


_FORMS = "Use builtin://miniature, pvc://CLAIM/PATH, s3://BUCKET/PREFIX or file://PATH"
_FOLDER = "Name the folder that holds model_index.json, generator.json or an adapter's config.json"


def _builtin(source: str) -> Path:
    if source not in BUILTINS:
        raise NotFound("no such built-in model", where=source, fix=f"Built in are {', '.join(sorted(BUILTINS))}")
    return BUILTINS[source]


def _fetched(source: str, folder: Path | None) -> Path:
    if folder is None or not folder.is_dir():
        raise NotFound(
            "the model was not fetched",
            where=source,
            fix="In a cluster the operator fetches it into spec.cache; with easel run copy it and name file://PATH",
        )
    return folder


def _inside_claim(rest: str, claims: Path, source: str) -> Path:
    claim, _, path = rest.partition("/")
    root = (claims / claim).resolve()
    if not root.is_dir():
        raise NotFound("the claim is not mounted", where=source, found=f"no folder {root}")
    folder = (root / path).resolve()
    if not folder.is_relative_to(root):
        raise InvalidInput("the path leaves its claim", where=source, found=path)
    return folder
