"""What encoders gave, kept by their input: the same prompt, or the empty one of guidance, is encoded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from .counters import Counters

LIMIT_BYTES = 64 * 2**20


class EmbeddingCache:
    """Outputs by key, the least recently used leave first once `limit` bytes are passed. For one loaded model.

    Outputs are shared between requests: pipelines copy them before they change anything (they repeat or concatenate).
    """

    def __init__(self, counters: Counters, limit: int = LIMIT_BYTES) -> None:
        self._counters, self._limit, self._bytes = counters, limit, 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Any | None:
        """The output, if it is still here."""
        with self._lock:
            found = self._kept.get(key)
            if found:
                self._kept.move_to_end(key)
        self._counters.embedding("hit" if found else "miss")
        return found[0] if found else None

    def keep(self, key: Hashable, output: Any) -> None:
        """Keep an output, unless it alone is past the limit."""
        size = sum(leaf.nbytes for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
        if size > self._limit:
            return
        with self._lock:
            if key not in self._kept:
                self._bytes += size
            self._kept[key] = output, size
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1][1]
