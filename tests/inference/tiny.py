"""Stock folders of every family with tiny random weights: the real classes at sizes that a test can afford.

The sizes are those that let each pipeline's shapes fit together; nothing is downloaded.
"""

from __future__ import annotations

import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from easel_inference.engine.sources import BUILTINS

CLIP_WIDTH = 32


def clip_tokenizer() -> Any:
    """The miniature's own: a few hundred tokens."""
    return transformers.CLIPTokenizer.from_pretrained(BUILTINS["builtin://miniature"] / "tokenizer")


def t5_tokenizer() -> Any:
    letters = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", -5.0),
        ("▁", -2.0),
        *((c, -3.0) for c in string.ascii_lowercase),
    ]
    return transformers.T5Tokenizer(vocab=letters, extra_ids=0)


def _qwen_tokenizer() -> Any:
    characters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    words = [
        *characters,
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_start|>",
    ]
    tokenizer = transformers.Qwen2Tokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    return tokenizer


def _clip_text(*, projected: bool = False) -> Any:
    tokenizer = clip_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=CLIP_WIDTH,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.CLIPTextModelWithProjection(config) if projected else transformers.CLIPTextModel(config)


def _t5(model: str = "T5EncoderModel") -> Any:
    config = getattr(transformers, "UMT5Config" if model == "UMT5EncoderModel" else "T5Config")
    return getattr(transformers, model)(
        config(vocab_size=32, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0)
    )


def _qwen3(model: str) -> Any:
    config = transformers.Qwen3Config(
        vocab_size=128,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
    )
    return getattr(transformers, model)(config)


def _qwen_vl() -> Any:
    text = {
        "vocab_size": 128,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]},
        "rope_theta": 1e6,
        "max_position_embeddings": 2048,
    }
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = transformers.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=99, video_token_id=100, vision_start_token_id=101
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _vision() -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        image_size=224,  # the pipeline scales pictures to it
        patch_size=32,
    )
    return transformers.CLIPVisionModelWithProjection(config)


def _vae(channels: int = 4, *, halvings: int = 3, **more: Any) -> Any:
    blocks = halvings + 1
    return diffusers.AutoencoderKL(
        block_out_channels=[8] * blocks,
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **more,
    )


def _flow(**more: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**more)


def _unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **more,
    )


def _stable_diffusion() -> Any:
    return diffusers.StableDiffusionPipeline(
        unet=_unet(cross_attention_dim=CLIP_WIDTH, attention_head_dim=2),
        vae=_vae(),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        text_encoder=_clip_text(),
        tokenizer=clip_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion_xl() -> Any:
    unet = _unet(
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + CLIP_WIDTH,
        cross_attention_dim=2 * CLIP_WIDTH,
    )
    return diffusers.StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(force_upcast=False),
        scheduler=diffusers.EulerDiscreteScheduler(timestep_spacing="leading"),
        text_encoder=_clip_text(),
        text_encoder_2=_clip_text(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        add_watermarker=False,
    )


def _stable_diffusion_3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=2 * CLIP_WIDTH,
        pooled_projection_dim=2 * CLIP_WIDTH,
        pos_embed_max_size=16,
    )
    t5 = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=32, d_model=2 * CLIP_WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        vae=_vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        scheduler=_flow(shift=3.0),
        text_encoder=_clip_text(projected=True),
        text_encoder_2=_clip_text(projected=True),
        text_encoder_3=t5,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5_tokenizer(),
    )


def _flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=CLIP_WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        vae=_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        scheduler=_flow(use_dynamic_shifting=True),
        text_encoder=_clip_text(),
        text_encoder_2=_t5(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
    )


def _attentive(transformer: Any) -> Any:
    """With larger weights: at the initial ones these denoisers all but overhear the prompt."""
    with torch.no_grad():
        for weights in transformer.parameters():
            if weights.ndim > 1:
                weights.mul_(3.0)
    return transformer


def _flux2() -> Any:
    transformer = diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=256,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=[8] * 4,
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    text = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=128,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=28,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
    )
    return diffusers.Flux2KleinPipeline(
        transformer=_attentive(transformer),
        vae=vae,
        scheduler=_flow(use_dynamic_shifting=True),
        text_encoder=text,
        tokenizer=_qwen_tokenizer(),
        is_distilled=False,
    )


def _qwen_image() -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return diffusers.QwenImagePipeline(
        transformer=_attentive(transformer),
        vae=vae,
        scheduler=_flow(use_dynamic_shifting=True),
        text_encoder=_qwen_vl(),
        tokenizer=_qwen_tokenizer(),
    )


def _z_image() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        qk_norm=True,
        cap_feat_dim=16,
        rope_theta=256.0,
        t_scale=1000.0,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    # Padding tokens are made empty and filled by training alone.
    torch.nn.init.zeros_(transformer.x_pad_token)
    torch.nn.init.zeros_(transformer.cap_pad_token)
    return diffusers.ZImagePipeline(
        transformer=transformer,
        vae=_vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1, scaling_factor=0.36),
        scheduler=_flow(),
        text_encoder=_qwen3("Qwen3Model"),
        tokenizer=_qwen_tokenizer(),
    )


def _wan_vae() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def _wan(**more: Any) -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        **{"in_channels": 16, **more},
    )


def _wan_text_to_video() -> Any:
    return diffusers.WanPipeline(
        transformer=_wan(),
        vae=_wan_vae(),
        scheduler=_flow(shift=7.0),
        text_encoder=_t5("UMT5EncoderModel"),
        tokenizer=t5_tokenizer(),
    )


def _wan_with_two_denoisers() -> Any:
    """2.2: the second denoiser makes the late steps."""
    return diffusers.WanPipeline(
        transformer=_attentive(_wan()),
        transformer_2=_attentive(_wan()),
        boundary_ratio=0.9,
        vae=_wan_vae(),
        scheduler=_flow(shift=7.0),
        text_encoder=_t5("UMT5EncoderModel"),
        tokenizer=t5_tokenizer(),
    )


def _wan_image_to_video() -> Any:
    vision = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(
            hidden_size=4, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
            projection_dim=4,
        )
    )  # fmt: skip
    return diffusers.WanImageToVideoPipeline(
        transformer=_wan(in_channels=36, image_dim=4, added_kv_proj_dim=24),
        vae=_wan_vae(),
        scheduler=_flow(shift=7.0),
        text_encoder=_t5("UMT5EncoderModel"),
        tokenizer=t5_tokenizer(),
        image_encoder=vision,
        image_processor=transformers.CLIPImageProcessor(crop_size=32, size=32),
    )


def _ltx() -> Any:
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return diffusers.LTXPipeline(
        transformer=transformer, vae=vae, scheduler=_flow(), text_encoder=_t5(), tokenizer=t5_tokenizer()
    )


def _stable_video_diffusion() -> Any:
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=8,
        out_channels=4,
        num_frames=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32,
        num_attention_heads=8,
        projection_class_embeddings_input_dim=96,
        addition_time_embed_dim=32,
    )
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=[32, 32, 32, 32],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        latent_channels=4,
        sample_size=64,
    )
    return diffusers.StableVideoDiffusionPipeline(
        unet=unet,
        vae=vae,
        image_encoder=_vision(),
        scheduler=diffusers.EulerDiscreteScheduler(
            prediction_type="v_prediction", timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        ),
        feature_extractor=transformers.CLIPImageProcessor(crop_size=32, size=32),
    )  # fmt: skip


PIPELINES: dict[str, Callable[[], Any]] = {
    "StableDiffusion": _stable_diffusion,
    "StableDiffusionXL": _stable_diffusion_xl,
    "StableDiffusion3": _stable_diffusion_3,
    "Flux": _flux,
    "Flux2": _flux2,
    "QwenImage": _qwen_image,
    "ZImage": _z_image,
    "Wan": _wan_text_to_video,
    "Wan with two denoisers": _wan_with_two_denoisers,
    "WanImageToVideo": _wan_image_to_video,
    "LTX": _ltx,
    "StableVideoDiffusion": _stable_video_diffusion,
}


def write(name: str, folder: Path) -> Path:
    """A stock folder with the same weights every time; `name` is its family, and what is special about it."""
    torch.manual_seed(0)
    PIPELINES[name]().save_pretrained(folder)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return folder


def write_controlnet(base: Path, folder: Path, deviation: float) -> Path:
    """A ControlNet for the UNet in `base`, whose last layers, zero before any training, are random."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(base / "unet")
    torch.manual_seed(1)
    net = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 16, 32))
    with torch.no_grad():
        for name, weights in net.named_parameters():
            if "controlnet_" in name:
                weights.normal_(0, deviation)
    net.save_pretrained(folder)
    return folder


def write_lora(base: Path, folder: Path) -> Path:
    """A LoRA of rank 2 for the attention of the UNet in `base`, with random weights, stored as diffusers stores it."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(base)
    torch.manual_seed(2)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    pipeline.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
    random = {name: torch.randn_like(weights) / 2 for name, weights in layers.items()}
    type(pipeline).save_lora_weights(folder, unet_lora_layers=random)
    return folder
