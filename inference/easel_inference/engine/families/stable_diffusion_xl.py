"""Stable Diffusion XL: two CLIP encoders, sizes and crops as conditions."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import (
    CLIP_IMAGES,
    CLIP_TEXT,
    CLIP_TEXT_PROJECTED,
    CLIP_TOKENIZER,
    CLIP_VISION_PROJECTED,
    KARRAS,
    KL_VAE,
    Family,
    diffusers_model,
)

FAMILY = Family(
    name="StableDiffusionXL",
    pipelines=("StableDiffusionXLPipeline",),
    components={
        "unet": diffusers_model("UNet2DConditionModel"),
        "vae": KL_VAE,
        "scheduler": KARRAS,
        "text_encoder": CLIP_TEXT,
        "text_encoder_2": CLIP_TEXT_PROJECTED,
        "tokenizer": CLIP_TOKENIZER,
        "tokenizer_2": CLIP_TOKENIZER,
    },
    ignored={"feature_extractor": CLIP_IMAGES, "image_encoder": CLIP_VISION_PROJECTED},
    encoders=("text_encoder", "text_encoder_2"),
    settings=frozenset({"force_zeros_for_empty_prompt"}),
    disregarded=frozenset({"add_watermarker"}),
    constructor={"add_watermarker": False},
    tasks={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        Task.UPSCALE: "StableDiffusionXLImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLInpaintPipeline",
        Task.OUTPAINT: "StableDiffusionXLInpaintPipeline",
        Task.SEGMENTATION_TO_IMAGE: "StableDiffusionXLControlNetPipeline",
        Task.CONTROL_TO_IMAGE: "StableDiffusionXLControlNetPipeline",
    },
)
