"""Files to typed objects."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import InvalidInput, NotFound
from easel_api.generationclass import GenerationClass, GenerationClassSpec, ProviderBackend
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from easel_api.provider import Provider
from easel_api.validation import Problem, load_documents, validate_text

_FILE = "file://"

Object = GenerationJob | ModelDeployment | Provider | GenerationClass


class Problems(InvalidInput):
    """All that is wrong with some manifests; its text has a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("the manifest is wrong")

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Documents:
    """The objects of some files, and the folders that their relative `file://` paths start from."""

    jobs: tuple[GenerationJob, ...]
    models: dict[str, ModelDeployment]
    folders: dict[tuple[str, str], Path]
    providers: tuple[Provider, ...]
    classes: dict[str, GenerationClass]

    @property
    def objects(self) -> list[Object]:
        """All of them, jobs last."""
        return [*self.models.values(), *self.providers, *self.classes.values(), *self.jobs]

    def class_of(self, job: GenerationJob) -> GenerationClassSpec:
        """The class that a job names; `NotFound` when the files have none of that name."""
        name = job.spec.generation_class_name or ""
        if name not in self.classes:
            raise NotFound(
                "no GenerationClass of that name is in the files",
                where=f"{job.metadata.name}: spec.generationClassName",
                found=name,
                fix="Add it to the file or name a second file",
            )
        return self.classes[name].spec

    def provider_of(self, named: ProviderBackend, namespace: str) -> Provider | None:
        """The Provider that a class names to a job of a namespace. A file that says none is meant for the one that it is applied to."""
        home = named.namespace or namespace
        found = [each for each in self.providers if each.metadata.name == named.name]
        there = (each for each in found if (each.metadata.namespace or namespace) == home)
        return next(there, found[0] if found and not namespace and not named.namespace else None)

    def folder_of(self, thing: Object) -> Path:
        """Folder of the file that the object was in."""
        return self.folders.get((thing.kind, thing.metadata.name), Path())

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


def load(files: Sequence[str], *, for_cluster: bool) -> Documents:
    """Every object of the files; `-` is stdin. `Problems` names all that is wrong with them."""
    texts = [validate_text(sys.stdin.read(), "stdin", for_cluster=for_cluster)] if "-" in files else []
    paths = [Path(name) for name in files if name != "-"]
    found = sum(texts, load_documents(paths, for_cluster=for_cluster))
    if found.problems:
        raise Problems(found.problems)
    return Documents(
        found.jobs,
        {model.metadata.name: model for model in found.models},
        _folders(paths),
        found.providers,
        {each.metadata.name: each for each in found.classes},
    )


def _folders(paths: Sequence[Path]) -> dict[tuple[str, str], Path]:
    """Which folder each object's file is in."""
    folders: dict[tuple[str, str], Path] = {}
    for path in paths:
        alone = load_documents([path], for_cluster=False)
        for each in alone.objects:
            folders[each.kind, each.metadata.name] = path.parent
    return folders
