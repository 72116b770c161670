"""Stable Diffusion 1.x, in the stock diffusers format; the miniature is one."""

from __future__ import annotations

from easel_api.tasks import Task

from .family import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS, Component, Family

# ruff: disable[SIM905]
SCHEDULERS = frozenset(
    """DDIMScheduler DDPMScheduler PNDMScheduler LMSDiscreteScheduler EulerDiscreteScheduler
    EulerAncestralDiscreteScheduler HeunDiscreteScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler
    UniPCMultistepScheduler LCMScheduler DEISMultistepScheduler KDPM2DiscreteScheduler""".split()
)
# ruff: enable[SIM905]

CLIP_TEXT = Component("transformers", frozenset({"CLIPTextModel"}), TRANSFORMERS_WEIGHTS)
CLIP_TOKENIZER = Component("transformers", frozenset({"CLIPTokenizer", "CLIPTokenizerFast"}))
UNET = Component("diffusers", frozenset({"UNet2DConditionModel"}), DIFFUSERS_WEIGHTS)
VAE = Component("diffusers", frozenset({"AutoencoderKL"}), DIFFUSERS_WEIGHTS)

FAMILY = Family(
    name="StableDiffusion",
    pipelines=("StableDiffusionPipeline",),
    components={
        "unet": UNET,
        "vae": VAE,
        "scheduler": Component("diffusers", SCHEDULERS),
        "text_encoder": CLIP_TEXT,
        "tokenizer": CLIP_TOKENIZER,
    },
    ignored={
        "feature_extractor": Component("transformers", frozenset({"CLIPImageProcessor", "CLIPFeatureExtractor"})),
        "safety_checker": Component("stable_diffusion", frozenset({"StableDiffusionSafetyChecker"})),
        "image_encoder": Component("transformers", frozenset({"CLIPVisionModelWithProjection"})),
    },
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
    fixed={},
)
