"""Files to typed objects."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment, ModelDeploymentSpec

_FILE = "file://"


@dataclass(frozen=True, slots=True)
class Documents:
    """The objects of some files, and the folders that their relative `file://` paths start from."""

    jobs: tuple[GenerationJob, ...]
    models: dict[str, ModelDeployment]
    folders: dict[tuple[str, str], Path]

    def folder_of(self, thing: GenerationJob | ModelDeployment) -> Path:
        """Folder of the file that the object was in."""
        return self.folders[thing.kind, thing.metadata.name]

    def local_spec(self, model: ModelDeployment) -> ModelDeploymentSpec:
        """The spec with relative `file://` paths made absolute, since the server runs elsewhere."""
        folder, spec = self.folder_of(model), model.spec
        adapters = [each.model_copy(update={"source": _absolute(each.source, folder)}) for each in spec.adapters]
        located = spec.model.model_copy(update={"source": _absolute(spec.model.source, folder)})
        return spec.model_copy(update={"model": located, "adapters": adapters})


def _absolute(source: str, folder: Path) -> str:
    if not source.startswith(_FILE):
        return source
    return _FILE + str((folder / source.removeprefix(_FILE)).resolve())


def load(files: Sequence[str], *, on_cluster: bool) -> Documents:
    """Every object of the files; `InvalidInput` names the first thing that is wrong."""
    jobs: list[GenerationJob] = []
    models: dict[str, ModelDeployment] = {}
    folders: dict[tuple[str, str], Path] = {}
    for name in files:
        text, folder = _read(name)
        for document in yaml.safe_load_all(text):
            thing = _parse(document, name)
            folders[thing.kind, thing.metadata.name] = folder
            match thing:
                case GenerationJob():
                    jobs.append(thing)
                case ModelDeployment():
                    models[thing.metadata.name] = thing
    return Documents(tuple(jobs), models, folders)


def _read(name: str) -> tuple[str, Path]:
    if name == "-":
        return sys.stdin.read(), Path()
    path = Path(name)
    return path.read_text(), path.parent


def _parse(document: dict, name: str) -> GenerationJob | ModelDeployment:
    model = {"GenerationJob": GenerationJob, "ModelDeployment": ModelDeployment}[document["kind"]]
    return model.model_validate(document)
