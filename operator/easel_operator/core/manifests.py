"""When a rendered child and the observed one are the same.

The hash of the rendering, kept as an annotation, answers whether we now want something else; comparing the fields that
we render with what is there answers whether somebody changed them. Fields that the API server fills in are in neither.
"""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from typing import Any

from . import labels
from .actions import Manifest

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_SCALE = {"m": Decimal("0.001"), "": Decimal(1)} | {
    f"{unit}{suffix}": Decimal(base) ** power
    for base, suffix in ((1000, ""), (1024, "i"))
    for power, unit in enumerate(("K" if suffix else "k", "M", "G", "T"), 1)
}


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits over a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def sealed(manifest: Manifest) -> Manifest:
    """The same child with the hash of its rendering as an annotation."""
    metadata = manifest.body["metadata"]
    annotations = metadata.get("annotations", {}) | {labels.RENDERED: digest(manifest.body)}
    return Manifest(manifest.resource, manifest.body | {"metadata": metadata | {"annotations": annotations}})


def matches(observed: Any, rendered: Any) -> bool:
    """Whether everything that was rendered is there; what else is there does not matter."""
    match rendered:
        case dict():
            return isinstance(observed, dict) and all(
                matches(observed.get(key), value) or (key not in observed and not value)
                for key, value in rendered.items()
            )
        case list():
            return (
                isinstance(observed, list) and len(observed) == len(rendered) and all(map(matches, observed, rendered))
            )
        case _:
            return bool(observed == rendered) or _same_quantity(observed, rendered)


def _same_quantity(observed: Any, rendered: Any) -> bool:
    left, right = _quantity(observed), _quantity(rendered)
    return left is not None and left == right


def _quantity(value: Any) -> Decimal | None:
    found = _QUANTITY.match(value) if isinstance(value, str) else None
    return Decimal(found[1]) * _SCALE[found[2] or ""] if found else None
