"""Z-Image: the denoiser takes lists with an entry for each picture, since its captions differ in length."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import FLOW_MATCH, KL_VAE, QWEN_TOKENIZER, Family, diffusers_model, transformers_model

FAMILY = Family(
    name="ZImage",
    pipelines=("ZImagePipeline",),
    components={
        "transformer": diffusers_model("ZImageTransformer2DModel"),
        "vae": KL_VAE,
        "scheduler": FLOW_MATCH,
        "text_encoder": transformers_model("Qwen3Model"),
        "tokenizer": QWEN_TOKENIZER,
    },
    denoisers=("transformer",),
    listed=frozenset({"x", "cap_feats"}),
    native=(1024, 1024),
    patch=2,
    tokens=512,
    tasks={
        Task.TEXT_TO_IMAGE: "ZImagePipeline",
        Task.IMAGE_TO_IMAGE: "ZImageImg2ImgPipeline",
        Task.UPSCALE: "ZImageImg2ImgPipeline",
        Task.INPAINT: "ZImageInpaintPipeline",
        Task.OUTPAINT: "ZImageInpaintPipeline",
    },
)
