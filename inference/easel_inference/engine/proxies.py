"""Stand-ins for denoiser, text encoder and VAE whose calls meet in the batcher.

To a pipeline they are the models: attributes such as `config` and `dtype` come from the model behind. Only the calls
that stock pipelines make are joined; anything unusual runs as a call of its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .batcher import Batcher

DECODE_WEIGHT = 8
"""A latent position costs the decoder about this much more memory than it costs the denoiser."""


class Proxy(nn.Module):
    """Shows the attributes of the model behind it, but not its parameters: they are not the pipeline's to move."""

    def __init__(self, model: nn.Module, batcher: Batcher, name: str) -> None:
        super().__init__()
        self.__dict__["_behind"] = (model, batcher, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_behind"][0], name)

    def join(
        self, run: Any, *tensors: Tensor, method: str, fixed: Any = (), weight: int = 1, counted: bool = False
    ) -> tuple[Tensor, ...]:
        """A call to the batcher; `fixed` are the arguments that must be equal for calls to be joined."""
        batcher: Batcher = self.__dict__["_behind"][1]
        shapes = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors)
        first = tensors[0]
        # Joined calls must also agree in how many rows each tensor has for one of the first.
        ratios = tuple(tensor.shape[0] / first.shape[0] for tensor in tensors)
        return batcher.call(
            (self.__dict__["_behind"][2], method, shapes, ratios, fixed),
            run,
            *tensors,
            units=weight * first.shape[0] * math.prod(first.shape[2:] or first.shape[1:]),
            counted=counted,
        )


class Denoiser(Proxy):
    """A UNet: `UNet2DConditionModel` or `UNetMotionModel`."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        *,
        return_dict: bool = True,
        **extra: Any,
    ) -> Any:
        """One step's prediction; each row keeps its own timestep when rows of many requests are joined."""
        model = self.__dict__["_behind"][0]
        extra = {name: value for name, value in extra.items() if value is not None}
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])

        def run(sample: Tensor, timesteps: Tensor, text: Tensor) -> tuple[Tensor, ...]:
            return (model(sample, timesteps, encoder_hidden_states=text, return_dict=False, **extra)[0],)

        fixed = id(extra) if extra else ()
        (result,) = self.join(
            run, sample, timesteps, encoder_hidden_states, method="forward", fixed=fixed, counted=True
        )
        return UNet2DConditionOutput(sample=result) if return_dict else (result,)


class TextEncoder(Proxy):
    """A CLIP text model."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutputWithPooling:
        """Token ids [B, length] to states [B, length, width]."""
        model = self.__dict__["_behind"][0]
        masks = () if attention_mask is None else (attention_mask,)

        def run(input_ids: Tensor, *masks: Tensor) -> tuple[Tensor, ...]:
            output = model(input_ids, attention_mask=masks[0] if masks else None)
            return (output.last_hidden_state, output.pooler_output)

        states, pooled = self.join(run, input_ids, *masks, method="forward")
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)


class Autoencoder(Proxy):
    """An `AutoencoderKL`."""

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:  # noqa: FBT001, FBT002 - diffusers' own signature
        """Pictures to a distribution of latents; the request samples from it with its own generator."""
        model = self.__dict__["_behind"][0]

        def run(x: Tensor) -> tuple[Tensor, ...]:
            return (model.encode(x, return_dict=False)[0].parameters,)

        (parameters,) = self.join(run, x, method="encode")
        distribution = DiagonalGaussianDistribution(parameters)
        return AutoencoderKLOutput(latent_dist=distribution) if return_dict else (distribution,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: Any = None) -> Any:  # noqa: FBT001, FBT002 - as the class it stands for
        """Latents to pictures; the generator is part of diffusers' signature and unused there too."""
        model = self.__dict__["_behind"][0]

        def run(z: Tensor) -> tuple[Tensor, ...]:
            return (model.decode(z, return_dict=False)[0],)

        (pictures,) = self.join(run, z, method="decode", weight=DECODE_WEIGHT)
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)
