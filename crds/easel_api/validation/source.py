"""YAML as Kubernetes reads it, with the line of each value.

PyYAML and the reader of Kubernetes, written in Go, differ: there `y` is true, `2024-01-01` and `1:30` are text, `1e3` is a
number. A check that reads other values than the cluster would is worse than none. Names that stand twice in a mapping,
which Kubernetes takes in silence, are refused here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .problems import Loc, Place, Problem

MAX_BYTES = 1024 * 1024
"""An API server takes little more."""
MAX_VALUES = 100_000
"""Values of one document once its aliases are followed: a few lines of aliases can stand for billions."""

_QUOTE = "Put text that starts with {{ or holds a colon in quotes"
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Scalars(yaml.constructor.SafeConstructor):
    bool_values = {**yaml.constructor.SafeConstructor.bool_values, "y": True, "n": False}


for _name, _pattern, _first in (
    ("bool", r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[\da-fA-F_]+|0|[1-9][\d_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.\d+|\d[\d_]*(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain JSON values."""

    data: Any
    place: Place


def read(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a text, without empty ones, and what is wrong with it as YAML."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return [], [Problem(f"a manifest has at most {MAX_BYTES // 1024} KiB", fix="Split the file", file=file)]
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for number, node in enumerate(yaml.compose_all(text, _Loader), 1):
            reader = _Reader(Place(file, number, {}))
            data = reader.read(node)
            problems += reader.problems
            if data is not None and not reader.problems:
                documents.append(Document(data, Place(file, number, reader.lines)))
    except yaml.YAMLError as error:
        problems.append(_syntax(error, file, len(documents) + 1))
    except RecursionError:
        problems.append(Problem("this is nested too deep", fix="Flatten the manifest", file=file))
    return documents, problems


class _Reader:
    """One document's values; remembers lines and problems while it walks."""

    def __init__(self, place: Place) -> None:
        self.lines: dict[Loc, int] = {}
        self.problems: list[Problem] = []
        self._place = Place(place.file, place.document, self.lines)
        self._values = _Scalars()

    def read(self, node: yaml.Node) -> Any:
        """The values, or None with `problems` when they cannot be had."""
        if _expanded(node) > MAX_VALUES:
            self._refuse((), node, f"more than {MAX_VALUES} values once aliases are followed", "Write the manifest out")
            return None
        return self._value(node, ())

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self.lines.setdefault(loc, node.start_mark.line + 1)
        match node:
            case yaml.MappingNode():
                return dict(self._pairs(node, loc))
            case yaml.SequenceNode():
                return [self._value(child, (*loc, place)) for place, child in enumerate(node.value)]
            case _:
                return self._scalar(node, loc)

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[str, Any]]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._refuse((*loc, _shown_name(name)), node, "this name stands twice", "Keep one of the two")
        self._values.flatten_mapping(node)
        for key, child in node.value:
            name = self._name(key, loc)
            if name is not None:
                self.lines[(*loc, name)] = key.start_mark.line + 1
                yield name, self._value(child, (*loc, name))

    def _name(self, key: yaml.Node, loc: Loc) -> str | None:
        if not isinstance(key, yaml.ScalarNode):
            self._refuse(loc, key, "a mapping stands where a name belongs", _QUOTE)
            return None
        if key.tag == f"{_TAG}bool" and key.value not in {"true", "false"}:
            self._refuse((*loc, key.value), key, "YAML reads this name as true or false", f'Quote it: "{key.value}"')
        return str(key.value)

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:
        try:
            value = self._values.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            value = ...
        match value:
            case float() if not math.isfinite(value):
                self._refuse(loc, node, "not a finite number", "")
            case float() if value.is_integer():
                return int(value)  # 20.0 is 20 to Kubernetes
            case str():
                return self._text(value, node, loc)
            case bool() | int() | float() | None:
                return value
            case _:
                self._refuse(loc, node, "a YAML tag that manifests do not use", "Remove the word that starts with !")
        return None

    def _text(self, value: str, node: yaml.Node, loc: Loc) -> str:
        try:
            # JSON escapes a picture character as two halves, which YAML reads as two characters.
            return value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(loc, node, "half a character", "Write the character itself instead of its \\u escapes")
            return ""

    def _refuse(self, loc: Loc, node: yaml.Node, what: str, fix: str) -> None:
        problem = Place(self._place.file, self._place.document, {(): node.start_mark.line + 1}).problem(
            loc, what, fix=fix
        )
        self.problems.append(problem)


def _expanded(root: yaml.Node) -> int:
    """How many values a node stands for once aliases are followed; above the limit when it holds itself."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_VALUES + 1  # what a node that holds itself would find
            sizes[id(node)] = 1 + sum(map(size, _inside(node)))
        return sizes[id(node)]

    return size(root)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case _:
            return []


def _shown_name(name: str) -> str:
    # An unquoted prompt with a colon becomes a name.
    return name if re.fullmatch(r"[A-Za-z][\w./-]{0,62}", name) else "…"


def _syntax(error: yaml.YAMLError, file: str, document: int) -> Problem:
    mark = getattr(error, "problem_mark", None)
    # Words in quotes are the file's own and may be a prompt's.
    words = re.sub(r"'[^'<]{2,}'", "'…'", getattr(error, "problem", None) or "characters that YAML does not allow")
    line = mark.line + 1 if mark else 0
    return Problem(f"not valid YAML: {words}", fix=_QUOTE, file=file, document=document, line=line)
