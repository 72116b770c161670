"""FLUX.2 klein: Qwen3 reads the prompt, the VAE normalises its latents in batches."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import FLOW_MATCH, QWEN_TOKENIZER, Family, diffusers_model, transformers_model

FAMILY = Family(
    name="Flux2",
    pipelines=("Flux2KleinPipeline",),
    components={
        "transformer": diffusers_model("Flux2Transformer2DModel"),
        "vae": diffusers_model("AutoencoderKLFlux2"),
        "scheduler": FLOW_MATCH,
        "text_encoder": transformers_model("Qwen3ForCausalLM"),
        "tokenizer": QWEN_TOKENIZER,
    },
    denoisers=("transformer",),
    shared=frozenset({"img_ids", "txt_ids"}),
    settings=frozenset({"is_distilled"}),
    native=(1024, 1024),
    patch=2,
    tokens=512,
    tasks={Task.TEXT_TO_IMAGE: "Flux2KleinPipeline"},
)
