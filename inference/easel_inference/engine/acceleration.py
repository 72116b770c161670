"""What makes passes fast on a GPU: compiled blocks, and CUDA graphs that are replayed instead of launched.

A pass of a denoiser is hundreds of small kernels, and at small sizes the CPU that launches them is what takes the time.
A graph is launched once. It has inputs of its own and one shape, so rows are filled up to the next bucket. On a CPU
models run as they are.
"""

from __future__ import annotations

import bisect
import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Rows that graphs are captured for; a third of the rows is padding at most, and nothing for guided pairs up to four."""

MOST_GRAPHS = 48
WARM_UP_PASSES = 3
"""Passes before a capture, in which libraries choose their kernels (pytorch.org, "CUDA semantics: whole-network capture")."""

CACHE = "easel-cache"
LEAST_FREE = 2**30
"""Bytes that must be free to begin with: a denoiser's code takes some hundred MiB."""


def keep_compiled_code(volume: Path) -> None:
    """Let torch keep what it compiles in a folder of this volume, so that the next start compiles nothing.

    Call it before the first compilation. A volume that is full or not ours to write to is left alone with a warning: the
    model serves without it as well, only later.
    """
    folder = volume / CACHE
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        log.warning("compiled code is not kept: %s: %s", folder, error.strerror)
        return
    if free < LEAST_FREE:
        log.warning("compiled code is not kept: %s has %d MiB left", folder, free // 2**20)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")


def compile_blocks(model: Any, **options: Any) -> None:
    """Compile a denoiser by region: one of its repeated blocks, whose code all of them share; a model without, whole.

    The blocks compile at their first pass. `options` are those of `torch.compile`.
    """
    if getattr(model, "_repeated_blocks", None):
        model.compile_repeated_blocks(dynamic=False, **options)
    else:
        model.compile(dynamic=False, **options)


def store_in_float8(model: Any, dtype: torch.dtype) -> None:
    """Keep a denoiser's weights as float8 (e4m3), cast to `dtype` layer by layer when they are used.

    Half the memory of bfloat16. Normalisations and embeddings keep their format: diffusers leaves them out.
    """
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)


def bucket(rows: int) -> int:
    """Rows of the graph that takes so many; beyond the largest bucket exactly as many."""
    index = bisect.bisect_left(BUCKETS, rows)
    return BUCKETS[index] if index < len(BUCKETS) else rows


class Graphs:
    """A model's passes as CUDA graphs, one for each shape and bucket. Not thread-safe: the batcher's thread calls it.

    `shared` names the arguments that have no row for each sample.
    """

    def __init__(self, model: nn.Module, shared: frozenset[str] = frozenset()) -> None:
        self._model, self._shared = model, shared
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: OrderedDict[Hashable, _Graph | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def __call__(self, arguments: dict[str, Any], variant: Hashable = ()) -> tuple[Any, ...]:
        """The model's output for these arguments; `variant` tells apart states of the model, such as its adapters."""
        rows = len(next(leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.ndim))
        filled = bucket(rows)
        padded = {
            name: value if name in self._shared else pytree.tree_map(lambda leaf: _padded(leaf, rows, filled), value)
            for name, value in arguments.items()
        }
        key = (variant, _signature(padded))
        if key not in self._graphs:
            self._graphs[key] = self._captured(padded)
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        output = graph.replayed(padded) if graph else self._model(**padded, return_dict=False)
        # The next replay writes into the same memory, so what leaves is a copy.
        result: tuple[Any, ...] = pytree.tree_map(lambda leaf: _cut(leaf, rows, filled), output)
        return result

    def _captured(self, arguments: dict[str, Any]) -> _Graph | None:
        try:
            return _Graph(self._model, arguments, self._pool)
        except RuntimeError as error:
            # Some models look at values on the CPU in every pass: right without a graph, only slower.
            log.warning("a pass cannot be captured as a CUDA graph: %s", str(error)[:200])
            torch.cuda.synchronize()
            return None


class _Graph:
    """One captured pass with its own inputs and outputs."""

    def __init__(self, model: nn.Module, arguments: dict[str, Any], pool: Any) -> None:
        self._inputs = pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, arguments)
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no hints here
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_PASSES):
                model(**self._inputs, return_dict=False)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._output = model(**self._inputs, return_dict=False)

    def replayed(self, arguments: dict[str, Any]) -> Any:
        """The output for other values of the same shapes; good until the next replay."""
        for own, given in zip(pytree.tree_leaves(self._inputs), pytree.tree_leaves(arguments), strict=True):
            if isinstance(own, Tensor):
                own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output


def _padded(leaf: Any, rows: int, filled: int) -> Any:
    """A tensor with its last row repeated; real values, since zeros may make a model divide by them."""
    if not isinstance(leaf, Tensor) or not leaf.ndim or rows == filled:
        return leaf
    each = len(leaf) // rows
    return torch.cat([leaf, *[leaf[-each:]] * (filled - rows)])


def _cut(leaf: Any, rows: int, filled: int) -> Any:
    return leaf[: len(leaf) * rows // filled].clone() if isinstance(leaf, Tensor) else leaf


def _signature(arguments: dict[str, Any]) -> Hashable:
    """What one graph is good for: shapes and formats of tensors, and everything else by its value."""
    leaves, spec = pytree.tree_flatten(arguments)
    return str(spec), *((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves)
