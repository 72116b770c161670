"""How long a prompt may be: stock pipelines cut what the text encoder cannot read, and only a log line says so.

Of a family with several encoders the one that reads furthest counts (T5 of Stable Diffusion 3 and FLUX): what the shorter
window of CLIP cuts there still reaches the denoiser in full, as it does in the stock pipelines.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any

from easel_api.errors import Unsupported
from easel_inference.generation import GenerationRequest

from .families import Family


class PromptLength:
    """Refuses prompts beyond the text encoder's window; a model without a tokenizer reads none and refuses none.

    Counting sets padding and truncation on a fast tokenizer, so this one is its own and used by one thread at a time.
    """

    def __init__(self, family: Family, parts: Mapping[str, Any]) -> None:
        present = family.tokenizer in parts
        self._tokenizer: Any = copy.deepcopy(parts.get(family.tokenizer if present else "tokenizer"))
        self._longest = family.tokens if present else None
        self._lock = threading.Lock()

    def check(self, request: GenerationRequest) -> None:
        """Raise `Unsupported` with both numbers, never with the text."""
        if self._tokenizer is None:
            return
        longest = self._longest or int(self._tokenizer.model_max_length)
        for name in ("prompt", "negative_prompt", "end_prompt"):
            tokens = self._count(getattr(request, name) or "")
            if tokens > longest:
                raise Unsupported(
                    f"the model reads {longest} tokens and would not see the end of the text",
                    where=name,
                    found=f"{tokens} tokens",
                    fix="Shorten it",
                )

    def _count(self, text: str) -> int:
        with self._lock:
            return len(self._tokenizer(text, truncation=False, verbose=False).input_ids)
