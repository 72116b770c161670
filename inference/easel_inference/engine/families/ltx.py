"""LTX-Video: latents of 32 pixels a side and eight frames."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import FLOW_MATCH, T5_TEXT, T5_TOKENIZER, Family, diffusers_model

FAMILY = Family(
    name="LTX",
    pipelines=("LTXPipeline",),
    components={
        "transformer": diffusers_model("LTXVideoTransformer3DModel"),
        "vae": diffusers_model("AutoencoderKLLTXVideo"),
        "scheduler": FLOW_MATCH,
        "text_encoder": T5_TEXT,
        "tokenizer": T5_TOKENIZER,
    },
    denoisers=("transformer",),
    native=(704, 512),
    frames=161,
    frame_multiple=8,
    default_frames=9,
    tokens=128,
    tasks={Task.TEXT_TO_VIDEO: "LTXPipeline", Task.IMAGE_TO_VIDEO: "LTXImageToVideoPipeline"},
)
