"""One thing that is wrong with a manifest, and what a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from easel_api.errors import InvalidInput
from easel_api.generationclass import GenerationClass
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment
from easel_api.provider import Provider

Loc = tuple[str | int, ...]
"""Where a value stands: names of fields and places in lists, as in `("spec", "prompts", 0, "text")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, what was found and what would be right.

    `path` is in the manifest's spelling (`spec.prompts[0].text`); `document` counts from 1, 0 is the file as a whole;
    `line` counts from 1, 0 is unknown.
    """

    what: str
    path: str = ""
    found: str = ""
    fix: str = ""
    file: str = ""
    document: int = 0
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file or 'manifest'}:{self.line}" if self.line else self.file
        return f"{place}: {self.to_error()}" if place else str(self.to_error())

    def to_error(self) -> InvalidInput:
        """The same as an error of the tree."""
        return InvalidInput(self.what, where=self.path, found=self.found, fix=self.fix.removesuffix("."))


@dataclass(frozen=True, slots=True)
class Place:
    """The document that problems are about, and where its values stand in the file."""

    file: str = ""
    document: int = 0
    lines: Mapping[Loc, int] = field(default_factory=dict)

    def problem(self, loc: Loc, what: str, *, found: str = "", fix: str = "") -> Problem:
        """A problem at `loc`, with the line of the nearest thing that the file holds."""
        line = next((self.lines[loc[:end]] for end in range(len(loc), -1, -1) if loc[:end] in self.lines), 0)
        return Problem(what, spelled(loc), found, fix, self.file, self.document, line)


@dataclass(frozen=True, slots=True)
class Documents:
    """What some files hold: Easel's objects, what is wrong, and the names of objects of other API groups."""

    jobs: tuple[GenerationJob, ...] = ()
    models: tuple[ModelDeployment, ...] = ()
    providers: tuple[Provider, ...] = ()
    classes: tuple[GenerationClass, ...] = ()
    problems: tuple[Problem, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[GenerationJob | ModelDeployment | Provider | GenerationClass, ...]:
        """All of Easel's."""
        return (*self.jobs, *self.models, *self.providers, *self.classes)

    def __add__(self, more: Documents) -> Documents:
        return Documents(
            self.jobs + more.jobs,
            self.models + more.models,
            self.providers + more.providers,
            self.classes + more.classes,
            self.problems + more.problems,
            self.others + more.others,
        )


def spelled(loc: Loc) -> str:
    """`spec.prompts[0].text`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def parsed(path: str) -> Loc:
    """The other way round, for paths without places in lists."""
    return tuple(path.split(".")) if path else ()
