"""Where a model's folder is, by the URI that a manifest names it with."""

from __future__ import annotations

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


def folder_of(source: str, claims: Path) -> Path:
    """The folder that a `builtin://`, `pvc://` or `file://` source names; `claims` is where claims are mounted.

    Raises `NotFound` when nothing is there and `InvalidInput` when the path is no folder or leaves its claim.
    """
    scheme, _, rest = source.partition("://")
    match scheme:
        case "builtin":
            folder = _builtin(source)
        case "pvc":
            folder = _inside_claim(rest, claims, source)
        case "file":
            folder = Path(rest).expanduser()
        case _:
            raise InvalidInput("unknown kind of model source", where="spec.model.source", found=source, fix=_FORMS)
    if not folder.exists():
        raise NotFound("the model folder does not exist", where=source, found=os.fspath(folder))
    if not folder.is_dir():
        raise InvalidInput("the model source is a file, not a folder", where=source, fix=_FOLDER)
    return folder.resolve()


_FORMS = "Use builtin://miniature, pvc://CLAIM/PATH or file://PATH"
_FOLDER = "Name the folder that holds model_index.json, generator.json or an adapter's config.json"


def _builtin(source: str) -> Path:
    if source not in BUILTINS:
        raise NotFound("no such built-in model", where=source, fix=f"Built in are {', '.join(sorted(BUILTINS))}")
    return BUILTINS[source]


def _inside_claim(rest: str, claims: Path, source: str) -> Path:
    claim, _, path = rest.partition("/")
    root = (claims / claim).resolve()
    if not root.is_dir():
        raise NotFound("the claim is not mounted", where=source, found=f"no folder {root}")
    folder = (root / path).resolve()
    if not folder.is_relative_to(root):
        raise InvalidInput("the path leaves its claim", where=source, found=path)
    return folder
