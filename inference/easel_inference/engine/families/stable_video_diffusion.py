"""Stable Video Diffusion: a picture set in motion; it reads no words."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import CLIP_IMAGES, CLIP_VISION_PROJECTED, Family, diffusers_model, scheduler

FAMILY = Family(
    name="StableVideoDiffusion",
    pipelines=("StableVideoDiffusionPipeline",),
    components={
        "unet": diffusers_model("UNetSpatioTemporalConditionModel"),
        "vae": diffusers_model("AutoencoderKLTemporalDecoder"),
        "scheduler": scheduler("EulerDiscreteScheduler"),
        "image_encoder": CLIP_VISION_PROJECTED,
        "feature_extractor": CLIP_IMAGES,
    },
    encoders=("image_encoder",),
    native=(1024, 576),
    frames=25,
    default_frames=14,
    guidance="max_guidance_scale",
    tasks={Task.IMAGE_TO_VIDEO: "StableVideoDiffusionPipeline"},
)
