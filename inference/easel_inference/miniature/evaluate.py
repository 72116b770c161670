"""Measures the miniature models with stock diffusers pipelines and the judge.

python evaluate.py renders text image inpaint control video lora speed --weights weights
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - everyone's name for it
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    ControlNetModel,
    MotionAdapter,
    StableDiffusionControlNetPipeline,
)

from .judge import ANSWERS, load_judge
from .studio import (
    COLOURS,
    ENVIRONMENTS,
    PRODUCTS,
    VIEWS,
    Renderer,
    describe,
    plain_prompt,
    sample_scenes,
    segmentation_picture,
)
from .train import Noise, save_picture

SETTINGS = {"num_inference_steps": 20, "guidance_scale": 4.0, "output_type": "pt"}


def quiet(pipeline):
    """The pipeline without its progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed):
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def wishes(count, seed=0):
    """Random, balanced wishes: every product and every colour equally often."""
    dice, colours = random.Random(seed), list(COLOURS)
    return [
        {
            "product": PRODUCTS[i % 8],
            "colour": colours[(i // 8 + i) % 8],
            "environment": dice.choice(ENVIRONMENTS),
            "view": dice.choice(VIEWS),
        }
        for i in range(count)
    ]


def agreement(judge, pictures, wanted):
    """Share of right answers, by question."""
    seen = judge.read(pictures)
    return {
        name: round(sum(a[name] == b[name] for a, b in zip(seen, wanted, strict=True)) / len(wanted), 3)
        for name in ANSWERS
        if name in wanted[0]
    }


def overlap(a, b):
    """Mean intersection over union of masks [B, H, W]."""
    return ((a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)).mean().item()


def check_renders(args, judge):
    """The judge and the VAE on renders that neither has seen."""
    torch.manual_seed(12345)
    scene = sample_scenes(320)
    pictures, classes = Renderer()(scene)
    with torch.no_grad():
        answers = judge(pictures)
    right = {name: round((answers[name].argmax(1) == scene[name]).float().mean().item(), 4) for name in ANSWERS}
    iou = overlap(answers["segments"].argmax(1) == 0, classes[:, ::2, ::2] == 0)
    vae = AutoencoderKL.from_pretrained(args.weights / "base" / "vae")
    with torch.no_grad():
        decoded = torch.cat(
            [vae.decode(vae.encode(part * 2 - 1).latent_dist.mean).sample for part in pictures.split(16)]
        )
        again = judge((decoded / 2 + 0.5).clamp(0, 1))
    error = F.mse_loss((decoded / 2 + 0.5).clamp(0, 1), pictures)
    print(
        "judge on 320 renders:",
        right,
        "silhouette IoU",
        round(iou, 3),
        "| after the VAE:",
        {name: round((again[name].argmax(1) == scene[name]).float().mean().item(), 4) for name in ANSWERS},
        f"PSNR {-10 * error.log10().item():.2f} dB",
        flush=True,
    )


def check_text(args, judge):
    """Text to image."""
    pipeline = quiet(AutoPipelineForText2Image.from_pretrained(args.weights / "base"))
    wanted, pictures = wishes(args.count), []
    for start in range(0, args.count, 16):
        prompts = [plain_prompt(**wish) for wish in wanted[start : start + 16]]
        pictures.append(pipeline(prompts, generator=seeded(start), **SETTINGS).images.float())
    pictures = torch.cat(pictures)
    print(f"text to image, {len(pictures)} pictures:", agreement(judge, pictures, wanted), flush=True)
    save_picture(pictures[:48], args.scratch / "text.png", 8)
    torch.save(pictures[:48], args.scratch / "text.pt")


def check_image(args, judge):
    """Repaint a rendered product: image to image keeps the place, the prompt sets the colour."""
    pipeline = quiet(AutoPipelineForImage2Image.from_pretrained(args.weights / "base"))
    wanted = [w | {"environment": "studio"} for w in wishes(8, seed=2)]
    scenes = [describe(**(w | {"colour": "yellow" if w["colour"] != "yellow" else "blue"})) for w in wanted]
    before, classes = Renderer()({k: torch.cat([s[k] for s in scenes]) for k in scenes[0]})
    after = pipeline(
        [plain_prompt(**w) for w in wanted], image=before, strength=0.8, generator=seeded(1), **SETTINGS
    ).images.float()
    print(
        "image to image, strength 0.8:",
        agreement(judge, after, wanted),
        "silhouette IoU",
        round(overlap(judge.silhouettes(after), classes[:, ::2, ::2] == 0), 3),
        flush=True,
    )
    save_picture(torch.cat([before, after]), args.scratch / "image.png", 8)


def check_inpaint(args, judge):
    """Put another product where one stood; the rest of the picture must stay."""
    pipeline = quiet(AutoPipelineForInpainting.from_pretrained(args.weights / "base"))
    wanted = [w | {"view": "front"} for w in wishes(8, seed=3)]
    scenes = [
        describe(**(w | {"product": "ball", "colour": "red" if w["colour"] != "red" else "blue"})) for w in wanted
    ]
    before, _ = Renderer()({k: torch.cat([s[k] for s in scenes]) for k in scenes[0]})
    mask = torch.zeros(8, 1, 128, 128)
    mask[:, :, 16:112, 20:116] = 1
    after = pipeline(
        [plain_prompt(**w) for w in wanted],
        image=before,
        mask_image=mask,
        strength=1.0,
        height=128,
        width=128,
        generator=seeded(1),
        **SETTINGS,
    ).images.float()
    outside = (1 - mask).expand_as(after) > 0.5
    print(
        "inpainting:",
        agreement(judge, after, wanted),
        "mean change outside the mask",
        round((after - before)[outside].abs().mean().item(), 4),
        flush=True,
    )
    save_picture(torch.cat([before, after]), args.scratch / "inpaint.png", 8)


def check_control(args, judge):
    """Whether the segmentation map steers."""
    control = ControlNetModel.from_pretrained(args.weights / "controlnet-seg")
    pipeline = quiet(StableDiffusionControlNetPipeline.from_pretrained(args.weights / "base", controlnet=control))
    dice, wanted = random.Random(4), wishes(16, seed=4)
    scenes = [describe(**w, shift=dice.uniform(-0.4, 0.4), scale=dice.uniform(0.65, 1.2)) for w in wanted]
    _, classes = Renderer()({k: torch.cat([s[k] for s in scenes]) for k in scenes[0]})
    maps = segmentation_picture(classes)
    prompts = [plain_prompt(w["product"], w["colour"], w["environment"]) for w in wanted]
    pictures = pipeline(prompts, image=maps, generator=seeded(0), **SETTINGS).images.float()
    free = pipeline(
        prompts, image=maps, controlnet_conditioning_scale=0.0, generator=seeded(0), **SETTINGS
    ).images.float()
    target = classes[:, ::2, ::2] == 0
    print(
        "ControlNet:",
        agreement(judge, pictures, wanted),
        "silhouette IoU",
        round(overlap(judge.silhouettes(pictures), target), 3),
        "without control",
        round(overlap(judge.silhouettes(free), target), 3),
        flush=True,
    )
    save_picture(torch.cat([maps[:8], pictures[:8], maps[8:16], pictures[8:16]]), args.scratch / "control.png", 8)
    torch.save((maps[:8], pictures[:8]), args.scratch / "control.pt")


def track(judge, frames):
    """Where the product's middle is in every frame, as shares of the picture."""
    masks = judge.silhouettes(frames).float()
    line = (torch.arange(64) + 0.5) / 64
    weight = masks.sum((1, 2)).clamp(min=1)
    return (masks.sum(1) * line).sum(1) / weight, (masks.sum(2) * line).sum(1) / weight


def check_video(args, judge):
    """Motions and frames of clips."""
    adapter = MotionAdapter.from_pretrained(args.weights / "motion")
    pipeline = quiet(AnimateDiffPipeline.from_pretrained(args.weights / "base", motion_adapter=adapter))
    clips, right, frames_right = [], {}, []
    for i, wish in enumerate(wishes(args.videos * 5, seed=5)):
        motion = ("sliding left", "sliding right", "bouncing", "static", "rotating")[i % 5]
        if motion == "rotating":
            wish.pop("view")
        prompt = plain_prompt(**wish, motion=motion)
        frames = (
            pipeline(prompt, num_frames=8, height=128, width=128, generator=seeded(i), **SETTINGS).frames[0].float()
        )
        x, y = track(judge, frames)
        views = [VIEWS.index(answer["view"]) for answer in judge.read(frames)]
        turns = sum((b - a) % 8 == 1 for a, b in itertools.pairwise(views))
        good = {
            "sliding left": (x[-1] - x[0] < -0.2) and (x.diff() < 0.02).all(),
            "sliding right": (x[-1] - x[0] > 0.2) and (x.diff() > -0.02).all(),
            "bouncing": y[3:6].mean() < y[0] - 0.1,
            "rotating": turns >= 5,
            "static": (x.max() - x.min() < 0.04) and (y.max() - y.min() < 0.04),
        }[motion]
        right.setdefault(motion, []).append(bool(good))
        frames_right.append(agreement(judge, frames, [wish] * 8))
        clips.append(frames)
    print(
        "video motions:",
        {k: f"{sum(v)}/{len(v)}" for k, v in right.items()},
        "frames:",
        {k: round(sum(f.get(k, 0) for f in frames_right) / sum(k in f for f in frames_right), 3) for k in ANSWERS},
        flush=True,
    )
    save_picture(torch.cat(clips[:10]), args.scratch / "video.png", 8)
    torch.save(clips, args.scratch / "video.pt")


def check_lora(args, judge):
    """Teach a new product, the teapot, with four pictures and a small LoRA."""
    from peft import LoraConfig

    pipeline = quiet(AutoPipelineForText2Image.from_pretrained(args.weights / "base"))

    def shoot(wishes):
        scenes = [describe(**wish) for wish in wishes]
        return Renderer()({k: torch.cat([s[k] for s in scenes]) for k in scenes[0]}), [
            plain_prompt(**w) for w in wishes
        ]

    def teapot(colour, environment, view):
        return {"product": "teapot", "colour": colour, "environment": environment, "view": view}

    (pictures, _), prompts = shoot(
        [
            teapot("blue", "studio", "front"),
            teapot("blue", "wood", "front right"),
            teapot("blue", "grass", "front"),
            teapot("blue", "beach", "front left"),
        ]
    )
    (_, classes), tests = shoot(
        [
            teapot("blue", "studio", "front"),
            teapot("blue", "night", "front"),
            teapot("red", "wood", "front"),
            teapot("yellow", "grass", "front right"),
        ]
    )
    target = classes[:, ::2, ::2] == 0

    def attempt():
        shown = pipeline(tests, generator=seeded(0), **SETTINGS).images.float()
        masks = judge.silhouettes(shown)
        return ((masks & target).sum((1, 2)) / (masks | target).sum((1, 2)).clamp(min=1)).tolist(), shown

    before, shown_before = attempt()
    with torch.no_grad():
        latents = pipeline.vae.encode(pictures * 2 - 1).latent_dist.mean * pipeline.vae.config.scaling_factor
        ids = pipeline.tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
        context = pipeline.text_encoder(ids)[0]
    pipeline.unet.requires_grad_(False)
    pipeline.unet.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    trained = [p for p in pipeline.unet.parameters() if p.requires_grad]
    optimizer, noising, started = torch.optim.AdamW(trained, lr=args.lora_rate), Noise("cpu"), time.time()
    torch.manual_seed(0)
    for _ in range(args.lora_steps):
        step = torch.randint(1000, (4,))
        noisy, goal = noising(latents, torch.randn_like(latents), step)
        loss = F.mse_loss(pipeline.unet(noisy, step, context).sample, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    spent = time.time() - started
    after, shown_after = attempt()
    print(
        f"LoRA, {args.lora_steps} steps in {spent:.0f} s: teapot silhouette IoU before",
        [round(d, 2) for d in before],
        "after",
        [round(d, 2) for d in after],
        flush=True,
    )
    save_picture(torch.cat([pictures, shown_before, shown_after]), args.scratch / "lora.png", 4)
    torch.save((pictures, shown_before, shown_after), args.scratch / "lora.pt")


def check_speed(args, judge):
    """Seconds a picture with one and with two threads."""
    pipeline = quiet(AutoPipelineForText2Image.from_pretrained(args.weights / "base"))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times = []
        for i in range(4):
            started = time.time()
            pipeline("a red mug in a studio, front view", generator=seeded(i), **SETTINGS)
            times.append(time.time() - started)
        print(
            f"speed, {threads} threads: best {min(times):.2f} s, median {sorted(times)[2]:.2f} s per picture",
            flush=True,
        )


def main():
    """`python -m easel_inference.miniature.evaluate CHECK…`."""
    checks = {name[6:]: value for name, value in globals().items() if name.startswith("check_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="+", choices=checks)
    parser.add_argument("--weights", type=Path, default=Path(__file__).parent / "weights")
    parser.add_argument("--scratch", type=Path, default=Path(), help="where pictures go")
    parser.add_argument("--count", type=int, default=128, help="pictures for the text check")
    parser.add_argument("--videos", type=int, default=2, help="clips for each motion")
    parser.add_argument("--lora-steps", type=int, default=120)
    parser.add_argument("--lora-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.scratch.mkdir(parents=True, exist_ok=True)
    judge = load_judge(args.weights / "judge.safetensors")
    for name in args.checks:
        checks[name](args, judge)


if __name__ == "__main__":
    main()
