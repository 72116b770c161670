"""The addresses that manifests hold, and the rules that all of them share.

A `pvc://` address becomes a path in a pod, so a segment that climbs out of its claim is refused here, before any code
joins paths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import PATTERN_WORDS, Rule

BUCKET_PATTERN = r"^[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]$"
INPUT_PATTERN = (
    r"^(s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]/[^[:cntrl:]]+"
    r"|pvc://[a-z0-9][-.a-z0-9]*/[^/[:cntrl:]][^[:cntrl:]]*"
    r"|file://[^[:cntrl:]]+)$"
)
MODEL_PATTERN = (
    r"^(builtin://[a-z0-9][-a-z0-9/]*"
    r"|pvc://[a-z0-9][-.a-z0-9]*/([^/[:cntrl:]][^[:cntrl:]]*)?"
    r"|s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]/[^/[:cntrl:]][^[:cntrl:]]*"
    r"|file://[^[:cntrl:]]+)$"
)
PATTERN_WORDS.update(
    {
        BUCKET_PATTERN: "3 to 63 lower-case letters, digits, - and ., with a letter or digit at both ends.",
        INPUT_PATTERN: "s3://BUCKET/KEY, pvc://CLAIM/PATH or file://PATH.",
        MODEL_PATTERN: "builtin://NAME, pvc://CLAIM/PATH, s3://BUCKET/PREFIX or file://PATH.",
    }
)

FILE_IN_CLUSTER = "file:// works with `easel run` only; in a cluster use"


def climbs(uri: str) -> bool:
    """Whether a path segment of the address is `..` (on one machine, file:// may climb: it is the user's own disk)."""
    return not uri.startswith("file://") and ".." in uri.split("/")


def no_climbing(field: str, uri: Callable[[Any], str]) -> Rule:
    """The rule that `field`, an address, does not climb."""
    return Rule(
        cel=f"self.{field}.startsWith('file://') || !('..' in self.{field}.split('/'))",
        message="a path must not climb: remove the .. from it",
        holds=lambda model: not climbs(uri(model)),
        path=field,
    )
