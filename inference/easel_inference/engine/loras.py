"""LoRA adapters on the shared denoisers: several resident at once, switched between passes.

peft puts each adapter's layers beside the weights they change, so switching is a matter of which layers take part and how
strongly: no weight is copied, nothing is loaded again and nothing compiles anew. The batcher joins calls of one adapter
set alone and switches in its own thread, before the pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from easel_api.errors import InvalidInput, Unsupported

Weights = tuple[tuple[str, float], ...]
"""Adapters that take part, by name, and their weights; in the order of their names."""


class Loras:
    """The adapters of one model in its denoisers. Not thread-safe: the batcher's thread alone switches."""

    def __init__(self, files: Mapping[str, Path], models: Sequence[Any]) -> None:
        self._layers: dict[int, list[Any]] = {}
        self._active: dict[int, Weights] = {}
        for name, file in files.items():
            for model in models:
                _inject(model, name, file)
        for model in models if files else ():
            model.requires_grad_(False)  # noqa: FBT003 - torch's own signature
            self._layers[id(model)] = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
            self._switch(model, ())

    def use(self, model: Any, weights: Weights) -> None:
        """Let these adapters take part in the model's next passes, and no others."""
        if self._active.get(id(model)) != weights:
            self._switch(model, weights)

    def _switch(self, model: Any, weights: Weights) -> None:
        names = [name for name, _ in weights]
        for layer in self._layers[id(model)]:
            layer.enable_adapters(enabled=bool(names))
            if names:
                present = [name for name in names if name in layer.scaling]
                layer.set_adapter(present, inference_mode=True)
                for name, weight in weights:
                    if name in layer.scaling:
                        layer.set_scale(name, weight)
        self._active[id(model)] = weights


def _inject(model: Any, name: str, file: Path) -> None:
    """An adapter's layers into a denoiser; refuses weights that fit no layer of it."""
    state = load_file(file)
    reads = sorted(key for key in state if key.startswith("text_encoder"))
    if reads:
        raise Unsupported(
            "the LoRA changes a text encoder too, and would work in part alone",
            where=f"spec.adapters: {name}",
            found=f"{len(reads)} tensors, the first is {reads[0]}",
            fix="Use one that was trained on the denoiser alone",
        )
    prefixed = {key: value for key, value in state.items() if key.startswith(("unet.", "transformer."))}
    prefix = next(iter(prefixed)).partition(".")[0] if prefixed else None
    try:
        model.load_lora_adapter(prefixed or state, prefix=prefix, adapter_name=name)
    except Exception as error:
        raise InvalidInput(
            "the LoRA does not fit the model",
            where=f"spec.adapters: {name}",
            found=f"{type(error).__name__}: {str(error)[:200]}",
            fix="Use one that was trained on this model",
        ) from error
    if name not in getattr(model, "peft_config", {}):
        raise InvalidInput(
            "the LoRA changes no layer of the model", where=f"spec.adapters: {name}", found=f"{len(state)} tensors"
        )
