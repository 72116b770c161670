"""Trains the miniature models from nothing but :mod:`studio`'s renders.

    python -m easel_inference.miniature.train judge      --seconds 60     # classifier that checks results
    python -m easel_inference.miniature.train tokenizer                   # CLIP byte-pair vocabulary
    python -m easel_inference.miniature.train vae        --seconds 200    # AutoencoderKL, 8x
    python -m easel_inference.miniature.train base       --seconds 500    # text encoder and UNet, jointly
    python -m easel_inference.miniature.train controlnet --seconds 120    # segmentation map to picture
    python -m easel_inference.miniature.train motion     --seconds 300    # AnimateDiff motion adapter
    python -m easel_inference.miniature.train lora       --seconds 120    # style LoRA: black on white

Each stage reads what earlier stages left under ``--out`` and is budgeted by the
clock: the learning rate follows the share of the time that has passed.  A GPU
is assumed for real training; ``--device cpu --tiny`` runs every stage in
miniature to check the code.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - everyone's name for it
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    MotionAdapter,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNetMotionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .judge import ANSWERS, Judge, load_judge, save_judge
from .studio import (
    COLOURS,
    ENVIRONMENTS,
    CaptionWriter,
    Renderer,
    all_frames,
    sample_scenes,
    segmentation_picture,
    single_frames,
)

TEXT_LENGTH = 77
FRAMES = 8
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
}


# --------------------------------------------------------------------------- the training loop
@dataclass(frozen=True, slots=True)
class Budget:
    """How long a stage trains: `steps` steps where that is not 0, otherwise `seconds` by the clock."""

    seconds: float
    steps: int = 0
    bf16: bool = False


class Trainer:
    """AdamW with warm-up and cosine decay, an exponential moving average, and one CUDA graph per step."""

    def __init__(
        self,
        parameters,
        loss,
        example: dict,
        *,
        rate: float,
        budget: Budget,
        average: float = 0.9995,
        weight_decay: float = 0.01,
        compiled: bool = False,
        hurry: tuple = (),
    ):
        """`hurry`: those of the parameters that learn ten times as fast."""
        self.parameters = [p for p in parameters if p.requires_grad]
        device = self.parameters[0].device
        self.cuda, self.rate, self.budget, self.decay = device.type == "cuda", rate, budget, average
        self.half = self.cuda or budget.bf16
        self.averages = [p.detach().clone() for p in self.parameters]
        hasty = {id(p) for p in hurry}
        groups = [
            ([p for p in self.parameters if id(p) not in hasty], 1.0),
            ([p for p in self.parameters if id(p) in hasty], 10.0),
        ]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": some, "lr": torch.tensor(0.0, device=device) if self.cuda else 0.0, "pace": pace}
                for some, pace in groups
                if some
            ],
            betas=(0.9, 0.99),
            weight_decay=weight_decay,
            fused=self.cuda,
            capturable=self.cuda,
        )
        self.loss = torch.compile(loss, dynamic=False) if compiled else loss
        self.batch = {key: value.clone() for key, value in example.items()}
        self.steps, self.graph = 0, None
        if self.cuda:
            self._capture()
        self.started = time.time()

    def _step(self):
        with torch.autocast(self.parameters[0].device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
            loss = self.loss(**self.batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        return loss.detach()

    def _capture(self):
        started = time.time()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # the learning rate is still 0
            for _ in range(3):
                self.optimizer.zero_grad(set_to_none=True)
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        print(f"  warm-up {time.time() - started:.0f} s", flush=True)
        try:
            self.optimizer.zero_grad(set_to_none=True)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.last_loss = self._step()
        except Exception as error:  # noqa: BLE001 - slower without a graph, but right
            print(f"  no CUDA graph: {str(error)[:300]}", flush=True)
            self.graph = None
            torch.cuda.synchronize()

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        if self.budget.steps:
            return self.steps / self.budget.steps
        return (time.time() - self.started) / self.budget.seconds

    def __call__(self, batch):
        """One step; gives the loss."""
        done = min(self.progress, 1.0)
        rate = self.rate * min(1.0, done / 0.02) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for key, value in batch.items():
            self.batch[key].copy_(value)
        for group in self.optimizer.param_groups:
            if self.cuda:
                group["lr"].fill_(rate * group["pace"])
            else:
                group["lr"] = rate * group["pace"]
        if self.graph is not None:
            self.graph.replay()
        else:
            self.optimizer.zero_grad(set_to_none=True)
            self.last_loss = self._step()
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (20 + self.steps))
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], weight)
        return self.last_loss

    def run(self, next_batch, save, *, report: float = 15, checkpoint: float = 45):
        """Train until the budget is spent; ``save`` is called with the averaged weights in place."""
        self.started = time.time()
        last_report = last_save = self.started
        losses = []
        while self.progress < 1:
            loss = self(next_batch())
            if self.steps % 25 == 0 or not self.cuda:
                losses.append(loss.item())  # waits for the GPU, so that the clock is honest
                now = time.time()
                if now - last_report > report:
                    print(
                        f"  {now - self.started:5.0f} s  step {self.steps:6d}  loss {sum(losses) / len(losses):.4f}",
                        flush=True,
                    )
                    last_report, losses = now, []
                if now - last_save > checkpoint:
                    self.with_averages(save)
                    last_save = now
        self.with_averages(save)

    @torch.no_grad()
    def with_averages(self, action):
        """Call `action` with the averaged weights in place."""
        backup = [p.detach().clone() for p in self.parameters]
        torch._foreach_copy_([p.data for p in self.parameters], self.averages)
        action()
        torch._foreach_copy_([p.data for p in self.parameters], backup)


class Noise:
    """The forward diffusion process with velocity targets."""

    def __init__(self, device):
        alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(device)
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()

    def __call__(self, clean, noise, step):
        """Noisy latents and the velocity to predict."""
        signal, sigma = (table[step].view(-1, *[1] * (clean.ndim - 1)) for table in (self.signal, self.noise))
        return signal * clean + sigma * noise, signal * noise - sigma * clean


# --------------------------------------------------------------------------- words
def stage_tokenizer(args):
    """A byte-pair vocabulary in CLIP's format in which every word of the studio is one token."""
    words = sorted(
        {word for phrase in CaptionWriter().phrases for word in phrase.replace(",", " ").split() if word.isalpha()}
        | {"of", "and", "with", "one", "two", "photograph", "image", "product"}
    )
    alphabet = _byte_alphabet()
    vocabulary = alphabet + [c + "</w>" for c in alphabet]
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    while any(len(parts) > 1 for parts in spelled.values()):
        counts = {}
        for parts in spelled.values():
            for pair in itertools.pairwise(parts):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        vocabulary.append("".join(best))
        for word, parts in spelled.items():
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i : i + 2]) == best:
                    merged.append("".join(best))
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            spelled[word] = merged
    vocabulary = [*list(dict.fromkeys(vocabulary)), "<|startoftext|>", "<|endoftext|>"]
    folder = args.out / "base" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": TEXT_LENGTH,
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                "add_prefix_space": False,
                "do_lower_case": True,
                "errors": "replace",
            },
            indent=2,
        )
    )
    (folder / "special_tokens_map.json").write_text(
        json.dumps(
            {
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
            },
            indent=2,
        )
    )
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in words)
    assert tokenizer.unk_token_id not in tokenizer("naïve Ωmega 東京", add_special_tokens=False).input_ids
    print(f"  {len(vocabulary)} tokens, {len(words)} words")


def _byte_alphabet() -> list[str]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))]


class TokenWriter:
    """Captions straight to token ids on the GPU: phrase numbers, a table look-up, and a squeeze."""

    def __init__(self, tokenizer, device):
        self.writer, self.device = CaptionWriter(), device
        rows = [
            tokenizer(phrase, add_special_tokens=False).input_ids if phrase else [] for phrase in self.writer.phrases
        ]
        longest = max(map(len, rows))
        self.table = torch.tensor([row + [-1] * (longest - len(row)) for row in rows], device=device)
        self.start, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id

    def __call__(self, scene, *, empty: float = 0.1, drop: float = 1.0):
        """Token ids [B, TEXT_LENGTH]; a share of `empty` captions is blank, for guidance."""
        choice = self.writer.choose(scene, with_motion=True, drop=drop)
        tokens = self.table[choice].flatten(1)
        order = torch.sort((tokens < 0).to(torch.uint8), dim=1, stable=True).indices
        tokens = tokens.gather(1, order)[:, : TEXT_LENGTH - 2]
        blank = torch.rand(len(tokens), 1, device=self.device) < empty
        tokens = torch.where((tokens < 0) | blank, self.end, tokens)
        ids = torch.full((len(tokens), TEXT_LENGTH), self.end, device=self.device)
        ids[:, 0] = self.start
        ids[:, 1 : 1 + tokens.shape[1]] = tokens
        return ids


# --------------------------------------------------------------------------- data
def mixed_scenes(count, device):
    """Mostly stills, and some single frames of animations."""
    moving = count * 3 // 10
    stills = sample_scenes(count - moving, device)
    animated = sample_scenes(moving, device, motion=True, frames=FRAMES)
    frames = single_frames(animated, torch.randint(FRAMES, (moving,), device=device))
    return {key: torch.cat([stills[key], frames[key]]) for key in stills}


def placed_scenes(count, device):
    """Stills anywhere in the picture and of any size, some in the air: what a segmentation map may ask for."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, device=device)

    scene = sample_scenes(count, device)
    scene["shift"], scene["scale"] = uniform(-0.45, 0.45), uniform(0.6, 1.3)
    scene["lift"] = torch.where(uniform(0, 1) < 0.12, uniform(0.0, 0.45), scene["lift"])
    scene["size"] = (scene["scale"] < 0.79).long() + 2 * (scene["scale"] > 1.1).long()  # 0 normal, 1 small, 2 large
    return scene


def turntable_scenes(count, device):
    """Animations, two thirds of them rotating; those start at the front, so that the frame alone decides the view."""
    scene = sample_scenes(count, device, motion=True, frames=FRAMES)
    more = torch.rand(count, device=device) < 0.6
    scene["motion"] = torch.where(more, 1, scene["motion"])
    rotating = (scene["motion"] == 1)[:, None]
    turn = torch.arange(FRAMES, device=device) * (2 * math.pi / FRAMES)
    jitter = math.radians(8) * (torch.rand(count, 1, device=device) - 0.5)
    scene["view"] = torch.where(rotating[:, 0], 0, scene["view"])
    scene["azimuth"] = torch.where(rotating, turn + jitter, scene["azimuth"])
    scene["lift"] = torch.where(rotating, 0.0, scene["lift"])
    scene["shift"] = torch.where(rotating, 0.1 * torch.rand(count, 1, device=device) - 0.05, scene["shift"])
    return scene


def keep_pool(args, name, render):
    """What `render` gives, a dictionary of tensors; from a file where ``--pools`` has it from an earlier run."""
    if args.pools is None:
        return render()
    path = args.pools / f"{name}.safetensors"
    if not path.exists():
        args.pools.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous().cpu() for key, value in render().items()}, str(path))
    return {key: value.to(args.device) for key, value in load_file(str(path)).items()}


def latent_pool(args, count, *, scenes=mixed_scenes, frames=1, with_maps=False):
    """Render ``count`` scenes and encode them: latents, scenes, and class maps if asked for."""
    pool = keep_pool(
        args, f"{scenes.__name__}-{count}", lambda: render_pool(args, count, scenes, frames=frames, with_maps=with_maps)
    )
    latents, maps = pool.pop("latents"), pool.pop("maps", None)
    print(f"  pool of {len(latents)}, latent std {latents[:2000].float().std():.3f}", flush=True)
    return latents, pool, maps


@torch.no_grad()
def render_pool(args, count, scenes, *, frames=1, with_maps=False):
    """Draw scenes, render and encode them: the scenes' tensors, `latents`, and `maps` if asked for."""
    vae = AutoencoderKL.from_pretrained(args.out / "base" / "vae").to(args.device).eval()
    vae.to(memory_format=torch.channels_last)
    encode = torch.compile(vae.encoder, dynamic=False) if args.compiled else vae.encoder
    chunk, started, parts = args.chunk, time.time(), []
    for _ in range(max(count * frames // chunk, 1)):
        scene = scenes(max(chunk // frames, 1), args.device)
        pictures, classes = args.renderer(all_frames(scene) if frames > 1 else scene)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device == "cuda"):
            moments = vae.quant_conv(encode((pictures * 2 - 1).contiguous(memory_format=torch.channels_last)))
        mean = moments.float().chunk(2, 1)[0] * vae.config.scaling_factor
        scene["latents"] = mean.half().view(-1, frames, *mean.shape[1:]) if frames > 1 else mean.half()
        if with_maps:
            scene["maps"] = classes
        parts.append(scene)
    print(f"  rendered {len(parts) * chunk} pictures in {time.time() - started:.0f} s", flush=True)
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def take(scenes, rows):
    """What captions need of the scenes in these rows."""
    return {key: scenes[key][rows] for key in ("product", "colour", "environment", "view", "size", "motion")}


def save_half(module, folder):
    """Weights in half precision, in diffusers' folder format."""
    copy.deepcopy(module).half().to(memory_format=torch.contiguous_format).save_pretrained(folder)


# --------------------------------------------------------------------------- stages
def worsen(pictures):
    """Blur and noise, so that the judge also reads pictures that are not perfect."""
    small = F.interpolate(pictures, scale_factor=0.5, mode="bilinear", antialias=True)
    soft = F.interpolate(small, scale_factor=2.0, mode="bilinear")
    weight = torch.rand(len(pictures), 1, 1, 1, device=pictures.device)
    gain = 1 + 0.16 * (torch.rand(len(pictures), 3, 1, 1, device=pictures.device) - 0.5)
    sigma = 0.06 * torch.rand(len(pictures), 1, 1, 1, device=pictures.device) ** 2
    return ((pictures + (soft - pictures) * weight) * gain + sigma * torch.randn_like(pictures)).clamp(0, 1)


def stage_judge(args):
    """The classifier that checks results."""
    judge = Judge().to(args.device).to(memory_format=torch.channels_last)

    def labels(scene):
        turn = scene["azimuth"] / (math.pi / 4)
        near = (turn - turn.round()).abs() < 0.34  # between two views nobody can tell
        return {
            "product": scene["product"],
            "colour": scene["colour"],
            "environment": scene["environment"],
            "view": torch.where(near, turn.round().long() % 8, -100),
        }

    def batch(count):
        scene = mixed_scenes(count, args.device)
        pictures, classes = args.renderer(scene)
        return {"pictures": pictures, "classes": classes.long(), **labels(scene)}

    def loss(pictures, classes, **truth):
        answers = judge(worsen(pictures))
        total = F.cross_entropy(answers["segments"].float(), classes[:, ::2, ::2])
        for name, target in truth.items():
            total = total + F.cross_entropy(answers[name].float(), target, ignore_index=-100)
        return total

    trainer = Trainer(
        judge.parameters(), loss, batch(args.chunk), rate=2e-3, budget=args.budget, average=0.998, compiled=False
    )

    def save():
        judge.train()  # batch statistics belong to the averaged weights: measure them afresh
        with torch.no_grad():
            for _ in range(8 if args.tiny else 40):
                judge(worsen(batch(args.chunk)["pictures"]))
        judge.eval()
        save_judge(judge, args.out / "judge.safetensors")
        judge.train()

    trainer.run(lambda: batch(args.chunk), save, checkpoint=1e9)
    judge = load_judge(args.out / "judge.safetensors", args.device)
    right, seen, overlap = dict.fromkeys(ANSWERS, 0), dict.fromkeys(ANSWERS, 0), []
    for _ in range(1 if args.tiny else 8):
        held_out = batch(args.chunk)
        with torch.no_grad():
            answers = judge(held_out["pictures"])
        for name in ANSWERS:
            known = held_out[name] >= 0
            right[name] += (answers[name].argmax(1) == held_out[name])[known].sum().item()
            seen[name] += known.sum().item()
        mine, true = answers["segments"].argmax(1) == 0, held_out["classes"][:, ::2, ::2] == 0
        overlap.append(((mine & true).sum((1, 2)) / (mine | true).sum((1, 2)).clamp(min=1)).mean().item())
    print(
        "  held-out renders:",
        {k: round(right[k] / max(seen[k], 1), 4) for k in right},
        "silhouette IoU",
        round(sum(overlap) / len(overlap), 4),
        flush=True,
    )


def stage_vae(args):
    """The autoencoder."""
    vae = (
        AutoencoderKL(
            block_out_channels=(32, 48, 64, 96),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=16,
            sample_size=128,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        .to(args.device)
        .to(memory_format=torch.channels_last)
    )
    print(f"  {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters")
    judge = load_judge(args.out / "judge.safetensors", args.device).requires_grad_(False)
    size = args.vae_batch
    stock = []

    def batch():
        if not stock:  # render large batches, train on small ones
            pictures, _ = args.renderer(mixed_scenes(args.chunk, args.device))
            order = torch.randperm(len(pictures), device=args.device)
            stock.extend((pictures * 2 - 1)[order].split(size))
        pictures = stock.pop()
        return {"pictures": pictures, "noise": torch.randn(len(pictures), 4, 16, 16, device=args.device)}

    def edges(x):
        return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]

    def features(x):
        first = judge.stem(x)
        return first, judge.blocks[0](first)

    def loss(pictures, noise):
        mean, logvar = vae.quant_conv(vae.encoder(pictures)).float().chunk(2, 1)
        logvar = logvar.clamp(-20, 10)
        latents = mean + torch.exp(0.5 * logvar) * noise
        decoded = vae.decoder(vae.post_quant_conv(latents)).float()
        total = F.l1_loss(decoded, pictures) + F.mse_loss(decoded, pictures)
        for a, b in zip(edges(decoded), edges(pictures), strict=True):
            total = total + 0.5 * F.l1_loss(a, b)
        for a, b in zip(features(decoded), features(pictures), strict=True):
            total = total + 0.05 * F.l1_loss(a.float(), b.float())
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        return total + 2e-4 * divergence

    trainer = Trainer(
        vae.parameters(),
        loss,
        batch(),
        rate=1.2e-3,
        budget=args.budget,
        average=0.999,
        weight_decay=1e-4,
        compiled=args.compiled,
    )

    def save():
        vae.eval()
        pictures, _ = args.renderer(mixed_scenes(args.chunk, args.device))
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device == "cuda"):
            moments = torch.cat([vae.quant_conv(vae.encoder(part * 2 - 1)) for part in pictures.split(size)])
            mean, logvar = moments.float().chunk(2, 1)
            decoded = torch.cat([vae.decode(part).sample for part in mean.split(size)]).float()
        vae.register_to_config(scaling_factor=round(1 / mean.std().item(), 5))
        error = F.mse_loss((decoded / 2 + 0.5).clamp(0, 1), pictures)
        print(
            f"  PSNR {-10 * error.log10().item():.2f} dB, scaling {vae.config.scaling_factor}, channel std "
            f"{[round(s, 2) for s in mean.std((0, 2, 3)).tolist()]}, posterior std {(0.5 * logvar).exp().mean():.3f}",
            flush=True,
        )
        save_half(vae, args.out / "base" / "vae")
        save_picture(torch.cat([pictures[-16:], decoded[-16:] / 2 + 0.5]), args.out / "vae.png", 8)
        vae.train()

    trainer.run(batch, save, checkpoint=60)


def save_picture(pictures, path, columns):
    """A contact sheet."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    side = pictures.shape[-1]
    canvas = torch.ones(3, rows * side, columns * side)
    for i, picture in enumerate(pictures.float().clamp(0, 1).cpu()):
        top, left = i // columns * side, i % columns * side
        canvas[:, top : top + side, left : left + side] = picture
    Image.fromarray((canvas.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)


def save_text_encoder(encoder, folder):
    """Half-precision weights under the classic key names, so that old and new transformers load them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        (k if k.startswith("text_model.") else "text_model." + k): v.detach().half().cpu().contiguous()
        for k, v in encoder.state_dict().items()
        if not k.endswith("position_ids")
    }
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = encoder.config.to_dict()
    config.update(architectures=["CLIPTextModel"], torch_dtype="float32", dtype="float32")
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str))


def load_text_encoder(args):
    """The frozen text encoder."""
    return (
        CLIPTextModel.from_pretrained(args.out / "base" / "text_encoder")
        .to(args.device)
        .float()
        .eval()
        .requires_grad_(False)
    )


def stage_base(args):
    """Text encoder and UNet, jointly."""
    tokenizer = CLIPTokenizer.from_pretrained(args.out / "base" / "tokenizer")
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            projection_dim=192,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).to(args.device)
    unet = (
        UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(96, 128, 160),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=4,
            cross_attention_dim=192,
            norm_num_groups=16,
        )
        .to(args.device)
        .to(memory_format=torch.channels_last)
    )
    print(
        f"  UNet {sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M, "
        f"text encoder {sum(p.numel() for p in encoder.parameters()) / 1e6:.2f} M parameters"
    )
    latents, scenes, _ = latent_pool(args, args.pool)
    words, noise_process, size = TokenWriter(tokenizer, args.device), Noise(args.device), args.batch

    def batch():
        rows = torch.randint(len(latents), (size,), device=args.device)
        return {
            "clean": latents[rows].float(),
            "ids": words(take(scenes, rows)),
            "noise": torch.randn(size, 4, 16, 16, device=args.device),
            "step": torch.randint(1000, (size,), device=args.device),
        }

    def loss(clean, ids, noise, step):
        noisy, target = noise_process(clean, noise, step)
        context = encoder(input_ids=ids).last_hidden_state
        guess = unet(noisy.contiguous(memory_format=torch.channels_last), step, context).sample
        return F.mse_loss(guess.float(), target)

    trainer = Trainer(
        [*encoder.parameters(), *unet.parameters()],
        loss,
        batch(),
        rate=args.rate or 8e-4,
        budget=args.budget,
        compiled=args.compiled,
    )

    def save():
        save_half(unet, args.out / "base" / "unet")
        save_text_encoder(encoder, args.out / "base" / "text_encoder")

    trainer.run(batch, save)
    write_pipeline(args)


def write_pipeline(args):
    """The scheduler's folder and model_index.json."""
    base = args.out / "base"
    DDIMScheduler(
        **SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing"
    ).save_pretrained(base / "scheduler")
    (base / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "_diffusers_version": "0.30.0",
                "feature_extractor": [None, None],
                "image_encoder": [None, None],
                "requires_safety_checker": False,
                "safety_checker": [None, None],
                "scheduler": ["diffusers", "DDIMScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            },
            indent=2,
        )
        + "\n"
    )
    StableDiffusionPipeline.from_pretrained(base)  # fails here if anything is missing


def plain_attention(args, *models):
    """On a CPU the plain products of attention are a quarter faster than the fused kernel's backward pass."""
    for model in models:
        model.to(memory_format=torch.channels_last)
        if args.device == "cpu":
            model.set_attn_processor(AttnProcessor())


def stage_controlnet(args):
    """A ControlNet on segmentation maps.

    The copied encoder understands latents, and nothing else.  So the map's embedding learns first, alone, to look like
    the clean latents behind the map; from then on the copy sees where things are, and the zero convolutions, which
    learn ten times as fast as the rest, have something to pass on.
    """
    unet = UNet2DConditionModel.from_pretrained(args.out / "base" / "unet").to(args.device).requires_grad_(False)
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 48, 64)).to(args.device)
    fresh = not (args.out / "controlnet-seg").exists()
    if not fresh:  # go on from where an earlier run stopped
        control = ControlNetModel.from_pretrained(args.out / "controlnet-seg").to(args.device)
    print(f"  {sum(p.numel() for p in control.parameters()) / 1e6:.2f} M parameters")
    plain_attention(args, unet, control)
    encoder = load_text_encoder(args)
    latents, scenes, maps = latent_pool(args, args.pool // 2, scenes=placed_scenes, with_maps=True)
    words = TokenWriter(CLIPTokenizer.from_pretrained(args.out / "base" / "tokenizer"), args.device)
    noise_process, size = Noise(args.device), args.batch
    held_out = min(64, len(latents) // 2)  # the first ones

    def draw(rows):
        return {"clean": latents[rows].float(), "shapes": segmentation_picture(maps[rows])}

    def some_rows():
        return torch.randint(held_out, len(latents), (size,), device=args.device)

    def resemble(clean, shapes):
        wanted = F.conv2d(clean, unet.conv_in.weight, padding=1)
        return F.mse_loss(control.controlnet_cond_embedding(shapes).float(), wanted)

    if fresh:
        embedding = Trainer(
            control.controlnet_cond_embedding.parameters(),
            resemble,
            draw(some_rows()),
            rate=3e-3,
            budget=Budget(args.budget.seconds / 10, args.budget.steps // 10, args.budget.bf16),
        )
        embedding.run(lambda: draw(some_rows()), lambda: None)

    def batch():
        rows = some_rows()
        return draw(rows) | {
            # The map shows size and view, so the words leave them out more often.
            "ids": words(take(scenes, rows), drop=3.0),
            "noise": torch.randn(size, 4, 16, 16, device=args.device),
            # noisy steps more often: they decide where things go
            "step": (1000 * torch.rand(size, device=args.device).sqrt()).long(),
        }

    def loss(clean, ids, shapes, noise, step, strength=1.0):
        noisy, target = noise_process(clean, noise, step)
        context = encoder(input_ids=ids).last_hidden_state
        down, middle = control(noisy, step, context, shapes, conditioning_scale=strength, return_dict=False)
        guess = unet(
            noisy, step, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return F.mse_loss(guess.float(), target)

    gates = [*control.controlnet_down_blocks.parameters(), *control.controlnet_mid_block.parameters()]
    trainer = Trainer(
        control.parameters(),
        loss,
        batch(),
        rate=args.rate or 3e-4,
        budget=args.budget,
        average=0.998,
        hurry=gates,
    )
    rows = torch.arange(held_out, device=args.device)
    test = draw(rows) | {
        "ids": words(take(scenes, rows), drop=3.0),
        "noise": torch.randn(held_out, 4, 16, 16, device=args.device),
        "step": torch.full((held_out,), 900, device=args.device),
    }

    def save():
        save_half(control, args.out / "controlnet-seg")
        with torch.no_grad(), torch.autocast(args.device, torch.bfloat16, enabled=trainer.half):
            seen, unseen = loss(**test).item(), loss(**test, strength=0.0).item()
        print(f"  held-out loss at step 900: {seen:.4f} with the map, {unseen:.4f} without", flush=True)

    trainer.run(batch, save, checkpoint=45 if args.device == "cuda" else 180)


def stage_motion(args):
    """The motion adapter."""
    unet = UNet2DConditionModel.from_pretrained(args.out / "base" / "unet").to(args.device)
    adapter = MotionAdapter(
        block_out_channels=(96, 128, 160),
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=32,
        use_motion_mid_block=False,
    ).to(args.device)
    if (args.out / "motion").exists():  # go on from where an earlier run stopped
        adapter.load_state_dict(MotionAdapter.from_pretrained(args.out / "motion").state_dict())
    print(f"  {sum(p.numel() for p in adapter.parameters()) / 1e6:.2f} M parameters")
    model = UNetMotionModel.from_unet2d(unet, adapter).to(args.device).requires_grad_(False)
    plain_attention(args, model)
    moving = [p for name, p in model.named_parameters() if "motion_modules" in name]
    for parameter in moving:
        parameter.requires_grad_(True)
    encoder = load_text_encoder(args)
    latents, scenes, _ = latent_pool(args, args.pool // FRAMES, scenes=turntable_scenes, frames=FRAMES)
    words = TokenWriter(CLIPTokenizer.from_pretrained(args.out / "base" / "tokenizer"), args.device)
    noise_process, size = Noise(args.device), args.clips

    def batch():
        rows = torch.randint(len(latents), (size,), device=args.device)
        return {
            "clean": latents[rows].float(),
            "ids": words(take(scenes, rows)),
            "noise": torch.randn(size, FRAMES, 4, 16, 16, device=args.device),
            "step": torch.randint(1000, (size,), device=args.device),
        }

    def loss(clean, ids, noise, step):
        noisy, target = noise_process(clean, noise, step)
        context = encoder(input_ids=ids).last_hidden_state.repeat_interleave(FRAMES, 0, output_size=size * FRAMES)
        guess = model(noisy.transpose(1, 2), step, context).sample
        return F.mse_loss(guess.float().transpose(1, 2), target)

    trainer = Trainer(moving, loss, batch(), rate=args.rate or 6e-4, budget=args.budget, average=0.9985)

    def save():
        trained = model.state_dict()
        adapter.load_state_dict({key: trained[key] for key in adapter.state_dict()})
        save_half(adapter, args.out / "motion")

    trainer.run(batch, save)


def inked(scene):
    """The same scenes as an ink drawing shows them: the product in black, on white paper."""
    black, studio = list(COLOURS).index("black"), list(ENVIRONMENTS).index("studio")
    return scene | {
        "colour": torch.full_like(scene["colour"], black),
        "environment": torch.full_like(scene["environment"], studio),
    }


def stage_lora(args):
    """A LoRA that draws everything in black on white, whatever the prompt says of colours and places."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(args.out / "base" / "unet").to(args.device).requires_grad_(False)
    plain_attention(args, unet)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=targets))
    moving = [p for p in unet.parameters() if p.requires_grad]
    print(f"  {sum(p.numel() for p in moving) / 1e6:.2f} M parameters")
    encoder = load_text_encoder(args)
    vae = AutoencoderKL.from_pretrained(args.out / "base" / "vae").to(args.device).eval()
    count = 16 if args.tiny else 128
    scenes = sample_scenes(count, args.device)
    with torch.no_grad():
        drawn = inked(scenes)
        pictures = [args.renderer({k: v[i : i + 8] for k, v in drawn.items()})[0] for i in range(0, count, 8)]
        moments = torch.cat([vae.encode(part * 2 - 1).latent_dist.mean for part in pictures])
    latents = moments * vae.config.scaling_factor
    words = TokenWriter(CLIPTokenizer.from_pretrained(args.out / "base" / "tokenizer"), args.device)
    noise_process, size = Noise(args.device), min(args.batch, 4)

    def batch():
        rows = torch.randint(len(latents), (size,), device=args.device)
        return {
            "clean": latents[rows],
            "ids": words(take(scenes, rows)),
            "noise": torch.randn(size, 4, 16, 16, device=args.device),
            "step": torch.randint(1000, (size,), device=args.device),
        }

    def loss(clean, ids, noise, step):
        noisy, target = noise_process(clean, noise, step)
        guess = unet(noisy, step, encoder(input_ids=ids).last_hidden_state).sample
        return F.mse_loss(guess.float(), target)

    trainer = Trainer(moving, loss, batch(), rate=args.rate or 2e-3, budget=args.budget, average=0.98)

    def save():
        state = {f"unet.{key}": value.half().contiguous() for key, value in get_peft_model_state_dict(unet).items()}
        folder = args.out / "lora-ink"
        folder.mkdir(exist_ok=True)
        metadata = {"format": "pt"} | ({"base_model_digest": args.base_digest} if args.base_digest else {})
        save_file(state, str(folder / "pytorch_lora_weights.safetensors"), metadata=metadata)

    trainer.run(batch, save)


def main():
    """`python -m easel_inference.miniature.train STAGE`."""
    stages = {name[6:]: value for name, value in globals().items() if name.startswith("stage_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=0, help="train so many steps, whatever the clock says")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 on a CPU too; pays where avx512_bf16 or AMX is")
    parser.add_argument("--pools", type=Path, help="keep renders in this folder, and use those of an earlier run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=384, help="pictures per step (base, ControlNet)")
    parser.add_argument("--clips", type=int, default=64, help="animations per step (motion)")
    parser.add_argument("--vae-batch", type=int, default=128)
    parser.add_argument("--pool", type=int, default=240_000, help="renders prepared in advance")
    parser.add_argument("--chunk", type=int, default=512, help="scenes rendered at once")
    parser.add_argument("--supersample", type=int, default=2, help="anti-aliasing factor of the renders")
    parser.add_argument("--rate", type=float, default=None, help="peak learning rate")
    parser.add_argument("--base-digest", help="digest of the base's folder, which the LoRA then says it belongs to")
    parser.add_argument("--tiny", action="store_true", help="miniature sizes, to check the code")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    args = parser.parse_args()
    if args.tiny:
        args.batch, args.clips, args.vae_batch, args.pool, args.chunk = 4, 1, 2, 16, 8
    args.budget = Budget(args.seconds, args.steps, args.bf16)
    args.compiled = args.compiled and args.device == "cuda"
    args.renderer = Renderer(
        supersample=1 if args.tiny else args.supersample, compiled=args.compiled, steps=16 if args.tiny else 44
    )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    started = time.time()
    print(f"{args.stage}", flush=True)
    stages[args.stage](args)
    print(f"{args.stage}: {time.time() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    sys.exit(main())
