"""Qwen-Image: a vision-language model reads the prompt, the VAE is one for clips."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import FLOW_MATCH, QWEN_TOKENIZER, Family, diffusers_model, transformers_model

FAMILY = Family(
    name="QwenImage",
    pipelines=("QwenImagePipeline",),
    components={
        "transformer": diffusers_model("QwenImageTransformer2DModel"),
        "vae": diffusers_model("AutoencoderKLQwenImage"),
        "scheduler": FLOW_MATCH,
        "text_encoder": transformers_model("Qwen2_5_VLForConditionalGeneration"),
        "tokenizer": QWEN_TOKENIZER,
    },
    denoisers=("transformer",),
    listed=frozenset({"img_shapes"}),
    native=(1328, 1328),
    patch=2,
    guidance="true_cfg_scale",
    tokens=512,
    tasks={
        Task.TEXT_TO_IMAGE: "QwenImagePipeline",
        Task.IMAGE_TO_IMAGE: "QwenImageImg2ImgPipeline",
        Task.UPSCALE: "QwenImageImg2ImgPipeline",
        Task.INPAINT: "QwenImageInpaintPipeline",
        Task.OUTPAINT: "QwenImageInpaintPipeline",
    },
)
