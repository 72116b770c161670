"""Names and labels, as Kubernetes wants them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from easel_api.base import NAME_PATTERN

from .problems import Place, Problem
from .typed import unknown_field

FIELDS = (
    "name", "namespace", "labels", "annotations", "generateName", "finalizers", "ownerReferences", "uid", "resourceVersion",
    "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink",
)  # fmt: skip
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_QUALIFIED_WORDS = "A name of letters, digits, -, _ and ., at most 63, with an optional DNS name and / before it"
_LABEL_WORDS = "At most 63 letters, digits, -, _ and ., with a letter or digit at both ends"


def metadata_problems(metadata: dict[str, Any], place: Place) -> Iterator[Problem]:
    """What the model does not check, since Kubernetes owns these fields."""
    for name in metadata:
        if name not in FIELDS:
            yield unknown_field(("metadata", name), FIELDS, place)
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and not re.fullmatch(NAME_PATTERN, namespace):
        fix = "Lower-case letters, digits and -, with a letter or digit at both ends"
        yield place.problem(("metadata", "namespace"), "not the name of a namespace", fix=fix)
    yield from _label_problems(metadata.get("labels"), place)


def _label_problems(labels: Any, place: Place) -> Iterator[Problem]:
    if not isinstance(labels, dict):
        return
    for name, value in labels.items():
        if not _QUALIFIED.fullmatch(name):
            yield place.problem(("metadata", "labels"), "not the name of a label", fix=_QUALIFIED_WORDS)
        elif isinstance(value, str) and not _LABEL.fullmatch(value):
            yield place.problem(("metadata", "labels", name), "not the value of a label", fix=_LABEL_WORDS)
