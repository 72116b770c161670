"""`easel validate`: what is wrong with manifests, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from easel_api.errors import ExitCode
from easel_api.validation import Problem

from .manifests import Problems, load


def validate(files: Sequence[str], *, local: bool) -> ExitCode:
    """Raises `Problems` with all that is wrong; else says what was found right."""
    try:
        found = load(files, for_cluster=not local)
    except Problems as problems:
        raise _with_hint(problems, files, local=local) from None
    for each in found.objects:
        print(f"{each.kind} {each.metadata.name}: ok")
    if not found.objects:
        print("nothing of easel.dev in it")
    return ExitCode.DONE


def _with_hint(problems: Problems, files: Sequence[str], *, local: bool) -> Problems:
    """Says so when only a cluster would refuse these files."""
    if local or "-" in files:
        return problems
    try:
        load(files, for_cluster=False)
    except Problems:
        return problems
    return Problems([*problems.problems, Problem("easel run takes this as it is", fix="To check for that use --local")])
