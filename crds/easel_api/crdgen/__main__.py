"""Writes the CRDs into `crds/` and the chart; `--check` compares instead and exits with 1 on any difference."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from easel_api import GROUP, generationclass, generationjob, modeldeployment, provider

from .render import custom_resource_definition, to_yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (ROOT / "crds", ROOT / "charts/easel/files/crds")
"""Where each CRD stands; Helm reads files of the chart's own folder only."""


def rendered() -> dict[str, str]:
    """The text of each CRD by its file's name."""
    kinds = (
        (modeldeployment.ModelDeployment, modeldeployment.KIND),
        (generationjob.GenerationJob, generationjob.KIND),
        (provider.Provider, provider.KIND),
        (generationclass.GenerationClass, generationclass.KIND),
    )
    return {f"{GROUP}_{info.plural}.yaml": to_yaml(custom_resource_definition(model, info)) for model, info in kinds}


def drift(folder: Path, files: dict[str, str]) -> list[str]:
    """Lines of a diff from what stands in the folder to what should."""
    lines: list[str] = []
    for name in sorted({*files, *(path.name for path in folder.glob(f"{GROUP}_*.yaml"))}):
        path = folder / name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(
            found.splitlines(), files.get(name, "").splitlines(), str(path), "models", lineterm=""
        )
    return lines


def write(folder: Path, files: dict[str, str]) -> None:
    """Writes the files, and removes those of kinds that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in folder.glob(f"{GROUP}_*.yaml")} - set(files):
        (folder / stale).unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None, folders: tuple[Path, ...] = FOLDERS) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m easel_api.crdgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    files, check = rendered(), parser.parse_args(arguments).check
    if not check:
        for folder in folders:
            write(folder, files)
        return 0
    lines = [line for folder in folders for line in drift(folder, files)]
    if lines:
        print("\n".join(lines))
        print("\nThe CRDs differ from the models. Run: make crds", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
