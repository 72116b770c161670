"""Whether a model's weights can fit the memory of what shall serve them: asked before anything is loaded.

A lower bound: the weights alone, each in the format that it is kept in. What a request takes beside them is measured once the
model is loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidInput
from .modeldeployment import DType, ModelDeploymentSpec

BYTES = {DType.FLOAT32: 4, DType.BFLOAT16: 2, DType.FLOAT16: 2}
FLOAT8_BYTES = 1
UNITS = {"Mi": 2**20, "Gi": 2**30}
_SAID = re.compile(r"^Weights: denoisers=([0-9]{1,18}) others=([0-9]{1,18})$")


@dataclass(frozen=True, slots=True)
class Weights:
    """How many numbers a model's weights are."""

    denoisers: int = 0
    """Those whose calls are the steps, which alone may be kept in float8."""
    others: int = 0

    def __str__(self) -> str:
        """As a fetch Job says it at its end."""
        return f"Weights: denoisers={self.denoisers} others={self.others}"


def said(text: str) -> Weights | None:
    """What such words say; None for any others."""
    found = _SAID.match(text.strip())
    return Weights(int(found[1]), int(found[2])) if found else None


def dtype_of(spec: ModelDeploymentSpec) -> DType:
    """The number format that a model is computed in."""
    return spec.engine.dtype or (DType.BFLOAT16 if spec.resources.gpus else DType.FLOAT32)


def size_of(spec: ModelDeploymentSpec, weights: Weights) -> int:
    """Bytes that the weights take at least."""
    each = BYTES[dtype_of(spec)]
    return weights.denoisers * (FLOAT8_BYTES if spec.engine.weights_dtype else each) + weights.others * each


def declared(spec: ModelDeploymentSpec) -> tuple[str, int] | None:
    """The field that says how much memory a replica has for its weights, and the bytes; None where none does."""
    resources = spec.resources
    if not resources.gpus:
        return "spec.resources.memory", bytes_of(resources.memory)
    return ("spec.resources.gpuMemory", bytes_of(resources.gpu_memory)) if resources.gpu_memory else None


def bytes_of(quantity: str) -> int:
    """Bytes of `4Gi` or `512Mi`."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def in_mib(size: int) -> str:
    """`12,288 MiB`, as messages tell bytes."""
    return f"{size / UNITS['Mi']:,.0f} MiB"


def too_large(spec: ModelDeploymentSpec, weights: Weights, where: str, capacity: int) -> InvalidInput | None:
    """Why a model cannot be loaded into so many bytes, with the numbers; None when its weights fit."""
    size = size_of(spec, weights)
    if size <= capacity:
        return None
    return InvalidInput(
        "the model's weights do not fit into memory",
        where=where,
        found=f"{in_mib(size)} of weights in {_formats(spec)}, of {in_mib(capacity)}",
        fix="Give a replica more memory, or set spec.engine.dtype or weightsDtype to a smaller format",
    )


def _formats(spec: ModelDeploymentSpec) -> str:
    kept = spec.engine.weights_dtype
    return f"{kept.value} and {dtype_of(spec).value}" if kept else dtype_of(spec).value
