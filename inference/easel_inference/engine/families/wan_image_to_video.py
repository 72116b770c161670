"""Wan, image to video: the first frame is given; 2.1 reads it with a vision encoder too."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import (
    CLIP_IMAGES,
    FLOW_MATCH_OR_UNIPC,
    T5_TOKENIZER,
    UMT5_TEXT,
    WAN_VAE,
    Family,
    diffusers_model,
    transformers_model,
)

FAMILY = Family(
    name="WanImageToVideo",
    pipelines=("WanImageToVideoPipeline",),
    components={
        "transformer": diffusers_model("WanTransformer3DModel"),
        "vae": WAN_VAE,
        "scheduler": FLOW_MATCH_OR_UNIPC,
        "text_encoder": UMT5_TEXT,
        "tokenizer": T5_TOKENIZER,
    },
    optional={
        "transformer_2": diffusers_model("WanTransformer3DModel"),
        "image_encoder": transformers_model("CLIPVisionModel", "CLIPVisionModelWithProjection"),
        "image_processor": CLIP_IMAGES,
    },
    denoisers=("transformer", "transformer_2"),
    encoders=("text_encoder", "image_encoder"),
    settings=frozenset({"boundary_ratio", "expand_timesteps"}),
    native=(832, 480),
    patch=2,
    frames=121,
    frame_multiple=4,
    default_frames=9,
    tokens=512,
    tasks={Task.IMAGE_TO_VIDEO: "WanImageToVideoPipeline"},
)
