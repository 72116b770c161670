"""Stable Diffusion 3 and 3.5: a transformer, two CLIP encoders and, in most folders, T5."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import (
    CLIP_TEXT_PROJECTED,
    CLIP_TOKENIZER,
    FLOW_MATCH,
    KL_VAE,
    T5_TEXT,
    T5_TOKENIZER,
    Family,
    diffusers_model,
)

FAMILY = Family(
    name="StableDiffusion3",
    pipelines=("StableDiffusion3Pipeline",),
    components={
        "transformer": diffusers_model("SD3Transformer2DModel"),
        "vae": KL_VAE,
        "scheduler": FLOW_MATCH,
        "text_encoder": CLIP_TEXT_PROJECTED,
        "text_encoder_2": CLIP_TEXT_PROJECTED,
        "tokenizer": CLIP_TOKENIZER,
        "tokenizer_2": CLIP_TOKENIZER,
    },
    optional={"text_encoder_3": T5_TEXT, "tokenizer_3": T5_TOKENIZER},
    denoisers=("transformer",),
    encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    patch=2,
    tokenizer="tokenizer_3",
    tokens=256,
    tasks={
        Task.TEXT_TO_IMAGE: "StableDiffusion3Pipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusion3Img2ImgPipeline",
        Task.UPSCALE: "StableDiffusion3Img2ImgPipeline",
        Task.INPAINT: "StableDiffusion3InpaintPipeline",
        Task.OUTPAINT: "StableDiffusion3InpaintPipeline",
    },
)
