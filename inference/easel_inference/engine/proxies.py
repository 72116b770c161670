"""Stand-ins for denoisers, ControlNets, encoders and VAEs whose calls meet in the batcher.

To a pipeline they are the models: attributes such as `config` and `dtype`, and even the class, are those of the model
behind. Which arguments have a row for each sample is data of the family; everything else must be equal for calls to be
joined.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .acceleration import Graphs
from .batcher import Batcher, Job
from .embeddings import EmbeddingCache
from .faults import out_of_memory
from .participant import Participant, current
from .rows import Part, Rows

DECODE_WEIGHT = 8
"""A latent position costs the decoder about this much more memory than it costs the denoiser."""

ENCODE_WEIGHT = 1 / 16
"""A pixel costs the VAE's encoder, half as large as its decoder, a sixteenth of that: 64 pixels are a latent position."""

TIMESTEPS = ("timestep", "timesteps", "t")

Use = Callable[[Any, tuple[tuple[str, float], ...]], None]
"""Switches a model's LoRAs to these names and weights."""


class Proxy(nn.Module):
    """Shows the attributes of the model behind it, but not its parameters: they are not the pipeline's to move."""

    def __init__(self, model: nn.Module, batcher: Batcher, name: str, **more: Any) -> None:
        super().__init__()
        self.__dict__.update(_model=model, _batcher=batcher, _name=name, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_model"], name)

    @property  # type: ignore[misc]  # pipelines ask isinstance(controlnet, ControlNetModel)
    def __class__(self) -> type:
        return type(self.__dict__["_model"])

    @contextlib.contextmanager
    def cache_context(self, *_: Any, **__: Any) -> Iterator[None]:
        """Pipelines name the pass that comes; diffusers' own caches, which would use it, are never on."""
        yield

    def _meet(
        self,
        run: Callable[..., Any],
        arguments: dict[str, Any],
        *,
        method: str,
        shared: frozenset[str] = frozenset(),
        listed: frozenset[str] = frozenset(),
        weight: float = 1,
        counted: bool = False,
        adapters: tuple[tuple[str, float], ...] = (),
    ) -> Any:
        """A call to the batcher: `run` gets the arguments again, those with rows joined."""
        taken = _Arguments(arguments, shared, listed)
        participant = current.get(None)
        apart = id(participant) if participant and participant.alone else None
        return self._batcher.call(
            Job(
                key=(self._name, method, taken.key, adapters, apart),
                run=lambda *parts: run(taken.rebuilt(parts)),
                parts=tuple(taken.parts),
                rows=taken.rows,
                units=max(1, int(weight * taken.rows * taken.positions)),
                counted=counted,
            )
        )


class _Arguments:
    """A call's arguments, taken apart into parts with rows and what must be equal for calls to be joined."""

    def __init__(self, arguments: dict[str, Any], shared: frozenset[str], listed: frozenset[str]) -> None:
        self.parts: list[Part] = []
        self._slots: dict[str, Any] = {}
        fixed: list[object] = []
        for name, value in arguments.items():
            if name in listed and isinstance(value, list):
                self._slots[name] = self._part(value)
                fixed.append((name, "list"))
            else:
                leaves, spec = pytree.tree_flatten(value)
                self._slots[name] = spec, [self._leaf(leaf, name in shared, fixed) for leaf in leaves]
                fixed.append((name, str(spec)))
        first = self.parts[0]
        self.rows = len(first)
        self.positions = _positions(first)
        # Joined calls must also agree in how many rows each part has for one of the first.
        self.key = (tuple(fixed), tuple(_shape(part, self.rows) for part in self.parts))

    def rebuilt(self, parts: tuple[Part, ...]) -> dict[str, Any]:
        """The arguments again, with other parts in the places of these."""
        return {name: self._filled(slot, parts) for name, slot in self._slots.items()}

    def _filled(self, slot: Any, parts: tuple[Part, ...]) -> Any:
        if isinstance(slot, _Slot):
            return parts[slot.index]
        spec, leaves = slot
        return pytree.tree_unflatten([parts[leaf.index] if isinstance(leaf, _Slot) else leaf for leaf in leaves], spec)

    def _leaf(self, leaf: Any, shared: bool, fixed: list[object]) -> Any:  # noqa: FBT001 - private, one caller
        if isinstance(leaf, Tensor) and leaf.ndim and not shared:
            return self._part(leaf)
        fixed.append(_identity(leaf))
        return leaf

    def _part(self, part: Part) -> _Slot:
        self.parts.append(part)
        return _Slot(len(self.parts) - 1)


class _Slot:
    """The place of a part."""

    def __init__(self, index: int) -> None:
        self.index = index


def _shape(part: Part, rows: int) -> object:
    if isinstance(part, Tensor):
        return part.shape[0] / rows, part.shape[1:], part.dtype
    return tuple(_identity(entry) if not isinstance(entry, Tensor) else entry.dtype for entry in part[:1])


def _positions(part: Part) -> int:
    """Latent positions of a row: the axes behind the channels, or the tokens of a packed one."""
    shape = part.shape[1:] if isinstance(part, Tensor) else part[0].shape
    if len(shape) == 2 and isinstance(part, Tensor):  # packed tokens: [rows, tokens, channels]
        return int(shape[0])
    return math.prod(shape[1:] or shape)


def _identity(value: Any) -> object:
    """Equal for values that mean the same to a model."""
    if isinstance(value, Tensor):
        data = value.detach().float().cpu().contiguous().numpy().tobytes()
        return tuple(value.shape), str(value.dtype), hashlib.sha256(data).digest()
    return repr(value)


class Denoiser(Proxy):
    """A UNet, a transformer or a ControlNet: one call is one step's prediction.

    `shared` and `listed` are those of the family. Steps that the request's plan skips are answered here.
    """

    def __init__(
        self,
        model: nn.Module,
        batcher: Batcher,
        name: str,
        *,
        shared: frozenset[str] = frozenset(),
        listed: frozenset[str] = frozenset(),
        use: Use | None = None,
    ) -> None:
        signature = inspect.signature(model.forward)
        # A list of tensors is a new shape at every pass: nothing to capture.
        on_gpu = next(model.parameters()).is_cuda
        graphs = Graphs(model, shared) if on_gpu and not listed else None
        more = {"_shared": shared, "_listed": listed, "_use": use, "_signature": signature, "_graphs": graphs}
        super().__init__(model, batcher, name, **more)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model behind gives; each row keeps its own timestep when rows of many requests are joined."""
        participant = current.get(None)
        arguments = self._signature.bind(*args, **kwargs).arguments
        result = participant.guess() if participant else None
        if result is None:
            result = _Line(self._joined_call(participant, arguments))
            if participant:
                participant.keep(result)
        return UNet2DConditionOutput(sample=result[0]) if arguments.get("return_dict", True) else tuple(result)

    def _joined_call(self, participant: Participant | None, arguments: dict[str, Any]) -> Any:
        arguments = {name: value for name, value in arguments.items() if value is not None and name != "return_dict"}
        _spread_timestep(arguments)
        adapters = participant.adapters if participant and self._use else ()

        def run(joined: dict[str, Any]) -> Any:
            if self._use:
                self._use(self._model, adapters)
            result = self._graphs(joined, adapters) if self._graphs else self._model(**joined, return_dict=False)
            # A family with lists answers with a list: an entry for each row, not a part of all rows.
            return tuple(Rows(part) if self._listed and isinstance(part, list) else part for part in result)

        return self._meet(
            run, arguments, method="forward", shared=self._shared, listed=self._listed, counted=self._counted,
            adapters=adapters,
        )  # fmt: skip

    _counted = True


class ControlNet(Denoiser):
    """A ControlNet: part of a step, not a step."""

    _counted = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Residuals for the denoiser that is asked next; none are needed on a step that the plan skips."""
        participant = current.get(None)
        if participant and participant.skips:
            return [], None
        return self._joined_call(None, self._signature.bind(*args, **kwargs).arguments)


class _Line(tuple[Any, ...]):
    """An output that can be extrapolated: tensors, or lists of tensors, element by element."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return _Line(_each(lambda a, b: a + b, self, other))

    def __sub__(self, other: Any) -> Any:
        return _Line(_each(lambda a, b: a - b, self, other))

    def __mul__(self, factor: Any) -> Any:
        return _Line(_each(lambda a, _: a * factor, self, self))


def _each(operation: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    return [
        [operation(a, b) for a, b in zip(part, second, strict=True)]
        if isinstance(part, list)
        else operation(part, second)
        for part, second in zip(one, other, strict=True)
    ]


def _spread_timestep(arguments: dict[str, Any]) -> None:
    """A single timestep becomes one for each row, so that rows at other steps can be joined."""
    first = next(value for value in arguments.values() if isinstance(value, Tensor | list))
    for name in TIMESTEPS:
        if name in arguments and arguments[name] is not first:
            step = torch.as_tensor(arguments[name], device=getattr(first, "device", None))
            arguments[name] = step.expand(len(first)) if step.ndim == 0 else step


class Encoder(Proxy):
    """A text or image encoder; what it gave for the same input is kept."""

    def __init__(self, model: nn.Module, batcher: Batcher, name: str, cache: EmbeddingCache) -> None:
        super().__init__(model, batcher, name, _cache=cache, _signature=inspect.signature(model.forward))
        config: Any = model.config
        if getattr(config, "use_cache", False):
            config.use_cache = False  # keys and values for more tokens to come, which never do

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:  # noqa: FBT001, FBT002 - torch's own signature
        """The model's own: pipelines ask the first one for its format."""
        return self._model.parameters(recurse)  # type: ignore[no-any-return]  # the model behind is of any class

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output for this input, computed once."""
        bound = self._signature.bind(*args, **kwargs).arguments
        arguments = {name: value for name, value in bound.items() if value is not None}
        arguments |= arguments.pop("kwargs", {})
        participant = current.get(None)
        key = (self._name, bool(participant and participant.alone), *((n, _identity(v)) for n, v in arguments.items()))
        kept = self._cache.find(key)
        if kept is None:
            kept = self._meet(lambda joined: self._model(**joined), arguments, method="forward")
            self._cache.keep(key, kept)
        return kept


class Autoencoder(Proxy):
    """A VAE: `AutoencoderKL` and its kin for clips. A decode that runs out of memory is done again in tiles."""

    @property
    def forward(self) -> Any:  # type: ignore[override]  # a method of the model behind, chosen when it is asked for
        """The model's own: pipelines look at its signature."""
        return self._model.forward

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:  # noqa: FBT001, FBT002 - diffusers' own signature
        """Pictures to a distribution of latents; the request samples from it with its own generator."""
        encoded = self._meet(
            lambda joined: self._model.encode(joined["x"], return_dict=False)[0].parameters,
            {"x": x},
            method="encode",
            weight=ENCODE_WEIGHT,
        )
        distribution = DiagonalGaussianDistribution(encoded)
        return AutoencoderKLOutput(latent_dist=distribution) if return_dict else (distribution,)

    def decode(self, z: Tensor, *args: Any, return_dict: bool = True, generator: Any = None, **kwargs: Any) -> Any:
        """Latents to pictures; the generator is part of diffusers' signature and unused there too."""
        started = time.monotonic()
        more = {name: value for name, value in kwargs.items() if value is not None}
        names = list(inspect.signature(self._model.decode).parameters)[1:]
        more |= {name: value for name, value in zip(names, args, strict=False) if value is not None}
        pictures = self._meet(
            lambda joined: self._decoded(**joined), {"z": z, **more}, method="decode", weight=DECODE_WEIGHT
        )
        participant = current.get(None)
        if participant:
            participant.decode_seconds += time.monotonic() - started
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)

    def _decoded(self, **arguments: Any) -> Tensor:
        try:
            result: Tensor = self._model.decode(**arguments, return_dict=False)[0]
        except Exception as error:
            if not out_of_memory(error) or not hasattr(self._model, "enable_tiling"):
                raise
            return self._decoded_in_tiles(arguments)
        return result

    def _decoded_in_tiles(self, arguments: dict[str, Any]) -> Tensor:
        """All steps are paid when a decode fails, and the latents are still here: try again with less memory."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._model.enable_tiling()
        try:
            result: Tensor = self._model.decode(**arguments, return_dict=False)[0]
        finally:
            self._model.disable_tiling()
        return result
