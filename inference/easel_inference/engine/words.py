"""How long a prompt may be: stock pipelines cut what the text encoder cannot read, and only a log line says so."""

from __future__ import annotations

import copy
import threading
from typing import Any

from easel_api.errors import Unsupported
from easel_inference.generation import GenerationRequest


class PromptLength:
    """Refuses prompts beyond the text encoder's window.

    Counting sets padding and truncation on a fast tokenizer, so this one is its own and used by one thread at a time.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()

    def check(self, request: GenerationRequest) -> None:
        """Raise `Unsupported` with both numbers, never with the text."""
        longest = self._tokenizer.model_max_length
        for name, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
            with self._lock:
                tokens = len(self._tokenizer(text, truncation=False, verbose=False).input_ids)
            if tokens > longest:
                raise Unsupported(
                    f"the model reads {longest} tokens and would not see the end of the text",
                    where=name,
                    found=f"{tokens} tokens",
                    fix="Shorten it",
                )
