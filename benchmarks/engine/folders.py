"""Stock folders of the size of Stable Diffusion XL and FLUX.1 with random weights, for the benchmark on a GPU.

    python benchmarks/engine/folders.py sdxl|flux FOLDER [--device cuda]

How long a pass takes depends on the sizes alone, not on what the weights say, and a machine may have no way to download
any. The sizes are those of the `config.json` files of stabilityai/stable-diffusion-xl-base-1.0 and
black-forest-labs/FLUX.1-dev. The tokenizers are small ones of our own, in front of text encoders of full size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "inference"))

import tiny

DTYPE = torch.bfloat16


def sdxl() -> Any:
    """Stable Diffusion XL: 2.6 billion parameters in the denoiser."""
    return diffusers.StableDiffusionXLPipeline(
        unet=diffusers.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        vae=_vae(4, scaling_factor=0.13025),
        scheduler=_scheduler(
            diffusers.EulerDiscreteScheduler,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        text_encoder=transformers.CLIPTextModel(_clip(768, layers=12, heads=12)),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_clip(1280, layers=32, heads=20)),
        tokenizer=tiny.clip_tokenizer(),
        tokenizer_2=tiny.clip_tokenizer(),
        add_watermarker=False,
    )


def flux() -> Any:
    """FLUX.1: 11.9 billion parameters in the denoiser."""
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=True,
            axes_dims_rope=(16, 56, 56),
        ),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=_scheduler(diffusers.FlowMatchEulerDiscreteScheduler, shift=3.0, use_dynamic_shifting=True),
        text_encoder=transformers.CLIPTextModel(_clip(768, layers=12, heads=12)),
        text_encoder_2=transformers.T5EncoderModel(
            transformers.T5Config(
                vocab_size=32128,
                d_model=4096,
                d_kv=64,
                d_ff=10240,
                num_layers=24,
                num_heads=64,
                feed_forward_proj="gated-gelu",
                decoder_start_token_id=0,
            )
        ),
        tokenizer=tiny.clip_tokenizer(),
        tokenizer_2=tiny.t5_tokenizer(),
    )


PIPELINES: dict[str, Callable[[], Any]] = {"sdxl": sdxl, "flux": flux}


def _scheduler(cls: Any, **more: Any) -> Any:
    """Computed on the CPU, as a loaded one is."""
    with torch.device("cpu"):
        return cls(**more)


def _vae(channels: int, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        sample_size=1024,
        force_upcast=False,
        **more,
    )


def _clip(width: int, *, layers: int, heads: int) -> Any:
    tokenizer = tiny.clip_tokenizer()
    return transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def made(name: str, device: str) -> Any:
    """The pipeline in bfloat16 on a device; `meta` for its shapes alone."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        with torch.device(device):
            return PIPELINES[name]()
    finally:
        torch.set_default_dtype(before)


def main() -> None:
    """Write one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PIPELINES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the weights are drawn")
    args = parser.parse_args()
    started = time.monotonic()
    made(args.name, args.device).save_pretrained(args.folder, max_shard_size="100GB")
    size = sum(file.stat().st_size for file in args.folder.rglob("*") if file.is_file())
    print(f"{args.folder}: {size / 2**30:.1f} GiB in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
