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


FETCHED = "easel-models"
"""Folder in the cache's claim that holds what was fetched."""


def model_folder(spec: ModelDeploymentSpec, claims: Path) -> Path:
    """The model's own folder; raises as `folder_of` does."""
    return folder_of(spec.model.source, claims, _cache(spec, claims), spec.model.digest)


def adapter_folder(adapter: Adapter, spec: ModelDeploymentSpec, claims: Path) -> Path:
    """An adapter's folder; raises as `folder_of` does."""
    return folder_of(adapter.source, claims, _cache(spec, claims))


def _cache(spec: ModelDeploymentSpec, claims: Path) -> Path | None:
    return claims / spec.cache.persistent_volume_claim if spec.cache else None


def fetched_folder(cache: Path, source: str, digest: str | None = None) -> Path:
    """Where in a cache a source of a bucket is kept. With another digest pinned it is another folder: both may serve for a while."""
    return cache / FETCHED / hashlib.sha256(f"{source}\n{digest or ''}".encode()).hexdigest()[:32]


def folder_of(source: str, claims: Path, cache: Path | None = None, digest: str | None = None) -> Path:
    """The folder that a source names; `claims` is where claims are mounted, and `cache` the one of them that is fetched into.

    Raises `NotFound` when nothing is there and `InvalidInput` when the path is no folder or leaves its claim.
    """
    scheme, _, rest = source.partition("://")
    match scheme:
        case "builtin":
            folder = _builtin(source)
        case "pvc":
            folder = _inside_claim(rest, claims, source)
        case "s3":
            folder = _fetched(source, cache, digest)
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


def _fetched(source: str, cache: Path | None, digest: str | None) -> Path:
    if cache is None or not (folder := fetched_folder(cache, source, digest)).is_dir():
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
