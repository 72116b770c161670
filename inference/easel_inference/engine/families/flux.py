"""FLUX.1: packed tokens, CLIP and T5; guidance is an input of the distilled denoiser.

The pipelines heed a negative prompt only beside a second guidance that doubles the passes; it is refused here.
"""

from __future__ import annotations

from easel_api.tasks import Task

from .family import CLIP_TEXT, CLIP_TOKENIZER, FLOW_MATCH, KL_VAE, T5_TEXT, T5_TOKENIZER, Family, diffusers_model

FAMILY = Family(
    name="Flux",
    pipelines=("FluxPipeline",),
    components={
        "transformer": diffusers_model("FluxTransformer2DModel"),
        "vae": KL_VAE,
        "scheduler": FLOW_MATCH,
        "text_encoder": CLIP_TEXT,
        "text_encoder_2": T5_TEXT,
        "tokenizer": CLIP_TOKENIZER,
        "tokenizer_2": T5_TOKENIZER,
    },
    denoisers=("transformer",),
    encoders=("text_encoder", "text_encoder_2"),
    shared=frozenset({"img_ids", "txt_ids"}),
    unheeded=frozenset({"negative_prompt"}),
    native=(1024, 1024),
    patch=2,
    tokenizer="tokenizer_2",
    tokens=512,
    tasks={
        Task.TEXT_TO_IMAGE: "FluxPipeline",
        Task.IMAGE_TO_IMAGE: "FluxImg2ImgPipeline",
        Task.UPSCALE: "FluxImg2ImgPipeline",
        Task.INPAINT: "FluxInpaintPipeline",
        Task.OUTPAINT: "FluxInpaintPipeline",
    },
)
