"""Stable Diffusion 1.x, in the stock diffusers format; the miniature is one."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import (
    CLIP_IMAGES,
    CLIP_TEXT,
    CLIP_TOKENIZER,
    CLIP_VISION_PROJECTED,
    KARRAS,
    KL_VAE,
    Component,
    Family,
    diffusers_model,
)

FAMILY = Family(
    name="StableDiffusion",
    pipelines=("StableDiffusionPipeline",),
    components={
        "unet": diffusers_model("UNet2DConditionModel"),
        "vae": KL_VAE,
        "scheduler": KARRAS,
        "text_encoder": CLIP_TEXT,
        "tokenizer": CLIP_TOKENIZER,
    },
    ignored={
        "feature_extractor": CLIP_IMAGES,
        "safety_checker": Component("stable_diffusion", frozenset({"StableDiffusionSafetyChecker"})),
        "image_encoder": CLIP_VISION_PROJECTED,
    },
    disregarded=frozenset({"requires_safety_checker"}),
    constructor={"requires_safety_checker": False},
    tasks={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.UPSCALE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
        Task.OUTPAINT: "StableDiffusionInpaintPipeline",
        Task.INTERPOLATION: "StableDiffusionPipeline",
        Task.SEGMENTATION_TO_IMAGE: "StableDiffusionControlNetPipeline",
        Task.CONTROL_TO_IMAGE: "StableDiffusionControlNetPipeline",
        Task.TEXT_TO_VIDEO: "AnimateDiffPipeline",
        Task.IMAGE_TO_VIDEO: "AnimateDiffVideoToVideoPipeline",
        Task.VIDEO_TO_VIDEO: "AnimateDiffVideoToVideoPipeline",
    },
)
