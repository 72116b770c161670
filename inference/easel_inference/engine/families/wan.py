"""Wan 2.1 and 2.2, text to video; 2.2 has a second denoiser for the late steps."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import FLOW_MATCH_OR_UNIPC, T5_TOKENIZER, UMT5_TEXT, WAN_VAE, Family, diffusers_model

FAMILY = Family(
    name="Wan",
    pipelines=("WanPipeline",),
    components={
        "transformer": diffusers_model("WanTransformer3DModel"),
        "vae": WAN_VAE,
        "scheduler": FLOW_MATCH_OR_UNIPC,
        "text_encoder": UMT5_TEXT,
        "tokenizer": T5_TOKENIZER,
    },
    optional={"transformer_2": diffusers_model("WanTransformer3DModel")},
    denoisers=("transformer", "transformer_2"),
    settings=frozenset({"boundary_ratio", "expand_timesteps"}),
    native=(832, 480),
    patch=2,
    frames=121,
    frame_multiple=4,
    default_frames=9,
    tokens=512,
    tasks={Task.TEXT_TO_VIDEO: "WanPipeline", Task.VIDEO_TO_VIDEO: "WanVideoToVideoPipeline"},
)
