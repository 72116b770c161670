"""Trains the two small generators that are no diffusion models, from nothing but `studio`'s renders.

    python -m easel_inference.miniature.generators gan --out weights/generator-gan     # picture of a chosen product
    python -m easel_inference.miniature.generators vae --out weights/generator-vae     # any picture of the studio
    python -m easel_inference.miniature.generators measure --out weights/generator-gan # what the judge says of it

Each ends in a folder that `engine.generators` serves: `generator.json` and `generator.onnx`. Training is budgeted by the
clock and meant for one CPU core; the renders, the longest part, are made once and kept in `--pool`.

A GAN that learns from unpaired pictures alone needs far more than minutes on a core. So the GAN here is told what each
latent means: `latents_of` draws, for a rendered scene, a latent from the set of latents that stand for that scene, such
that all latents together are standard normal. The generator learns the render of each latent (L1) and is sharpened by a
critic (hinge loss of Lim and Ye 2017, projection of Miyato and Koyama 2018, R1 of Mescheder et al. 2018).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - everyone's name for it
from torch import Tensor, nn

from .studio import PRODUCTS, Renderer, sample_scenes

SIDE = 64
LATENT = 32
WIDTHS = (64, 96, 64, 48)
"""Channels at sides 4, 8, 16 and 32; the last step to 64 is a pixel shuffle, four times cheaper than a convolution there."""

POOL = 8000
"""Renders."""

AVERAGE = 0.998
"""Decay per step of the moving average of weights that is exported."""

# The places of a latent that mean something to the GAN; the rest is free.
COLOUR = slice(0, 8)
ENVIRONMENT = slice(8, 13)
TURN = slice(13, 15)
SPREAD = ("scale", "elevation", "light", "shift", "seed")
RANGES = {
    "scale": (0.8, 1.15),
    "elevation": (math.radians(15), math.radians(25)),
    "light": (-0.25, 0.25),
    "shift": (-0.07, 0.07),
    "seed": (0.0, 1.0),
}

Scene = dict[str, Tensor]


# --------------------------------------------------------------------------- scenes, latents and the pool
def draw_scenes(count: int, random: torch.Generator) -> Scene:
    """Still scenes like `studio.sample_scenes`, but turned to any angle and of middle sizes."""
    scene: Scene = sample_scenes(count, generator=random)
    scene["azimuth"] = torch.rand(count, generator=random) * (2 * math.pi)
    low, high = RANGES["scale"]
    scene["scale"] = low + (high - low) * torch.rand(count, generator=random)
    return scene


def latents_of(scene: Scene, random: torch.Generator) -> Tensor:
    """For each scene a latent [B, LATENT] that stands for it; over all scenes they are standard normal.

    Colour and environment are the place of the largest number of their group, the turn is the angle of two numbers,
    and what is uniform between two limits is a normal number's quantile.
    """
    z = torch.randn(len(scene["colour"]), LATENT, generator=random)
    _lead(z[:, COLOUR], scene["colour"])
    _lead(z[:, ENVIRONMENT], scene["environment"])
    direction = torch.stack([torch.sin(scene["azimuth"]), torch.cos(scene["azimuth"])], 1)
    z[:, TURN] = direction * z[:, TURN].norm(dim=1, keepdim=True)
    for place, name in enumerate(SPREAD, start=TURN.stop):
        low, high = RANGES[name]
        z[:, place] = torch.special.ndtri(((scene[name] - low) / (high - low)).clamp(1e-4, 1 - 1e-4))
    return z


def _lead(group: Tensor, wanted: Tensor) -> None:
    """Swap numbers within each row, in place, so that the largest stands at `wanted`."""
    rows = torch.arange(len(group))
    largest = group.argmax(1)
    top, other = group[rows, largest].clone(), group[rows, wanted].clone()
    group[rows, largest], group[rows, wanted] = other, top


@dataclass(frozen=True, slots=True)
class Pool:
    """Rendered scenes: pictures [B, 3, 64, 64] and product masks [B, 1, 64, 64], both as bytes."""

    scene: Scene
    pictures: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def part(self, rows: slice | Tensor) -> Pool:
        """Some of it."""
        return Pool({name: value[rows] for name, value in self.scene.items()}, self.pictures[rows], self.masks[rows])

    def batches(self, size: int, random: torch.Generator) -> Iterator[Pool]:
        """Batches for ever, each scene once before any comes again."""
        while True:
            order = torch.randperm(len(self), generator=random)
            yield from (self.part(rows) for rows in torch.split(order, size) if len(rows) == size)

    def floats(self) -> Tensor:
        """The pictures in -1…1."""
        return self.pictures.float() / 127.5 - 1


def make_pool(folder: Path, count: int = POOL) -> Pool:
    """The renders, from `folder` where an earlier run left them."""
    file = folder / f"pool-{count}-{SIDE}.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        scene = draw_scenes(count, torch.Generator().manual_seed(1))
        pictures, masks = zip(*(_render(scene, rows) for rows in torch.split(torch.arange(count), 100)), strict=True)
        arrays: dict[str, Any] = {name: value.numpy() for name, value in scene.items()}
        np.savez(file, pictures=torch.cat(pictures).numpy(), masks=torch.cat(masks).numpy(), **arrays)
    with np.load(file, allow_pickle=False) as found:
        tensors = {name: torch.from_numpy(found[name]) for name in found.files}
    return Pool(pictures=tensors.pop("pictures"), masks=tensors.pop("masks"), scene=tensors)


def _render(scene: Scene, rows: Tensor) -> tuple[Tensor, Tensor]:
    renderer = Renderer(SIDE, supersample=2)
    pictures, classes = renderer({name: value[rows] for name, value in scene.items()})
    return (pictures * 255).round().to(torch.uint8), (classes == 0).to(torch.uint8)[:, None]


# --------------------------------------------------------------------------- networks
class Decoder(nn.Module):
    """Latents [B, LATENT], and classes [B] where there are any, to pictures [B, 3, 64, 64] in -1…1.

    As in StyleGAN a mapping network turns the latent into a style that scales and shifts each layer's channels. A VAE's
    decoder is the same network without classes.
    """

    def __init__(self, classes: int = 0, style: int = 160) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, LATENT) if classes else None
        inputs = LATENT * 2 if classes else LATENT
        self.mapping = nn.Sequential(
            nn.Linear(inputs, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2)
        )
        self.start = nn.Linear(style, WIDTHS[0] * 16)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(WIDTHS))
        self.styles = nn.ModuleList(nn.Linear(style, 2 * width) for width in WIDTHS[1:])
        self.last = nn.Conv2d(WIDTHS[-1], 12, 3, padding=1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Pictures."""
        if self.classes is not None:
            z = torch.cat([z, self.classes(label)], 1)
        style = self.mapping(z)
        x = F.leaky_relu(self.start(style), 0.2).view(-1, WIDTHS[0], 4, 4)
        for layer, scales in zip(self.layers, self.styles, strict=True):
            scale, shift = scales(style)[:, :, None, None].chunk(2, 1)
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = F.leaky_relu(layer(x) * (1 + scale) + shift, 0.2)
        pictures: Tensor = torch.tanh(F.pixel_shuffle(self.last(x), 2))
        return pictures


class Critic(nn.Module):
    """How real pictures [B, 3, 64, 64] of the products `label` [B] look, [B]; also the trunk of the VAE's encoder."""

    def __init__(self, outputs: int = 0) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.score = nn.Linear(128 * 16, outputs or 1)
        self.products = nn.Embedding(len(PRODUCTS), 128 * 16)
        nn.init.zeros_(self.products.weight)

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 2048]."""
        for layer in self.layers:
            pictures = F.leaky_relu(layer(pictures), 0.2)
        return pictures.flatten(1)

    def forward(self, pictures: Tensor, label: Tensor) -> Tensor:
        """Scores; the product's own direction counts too (projection)."""
        seen = self.features(pictures)
        scores: Tensor = self.score(seen)[:, 0] + (seen * self.products(label)).mean(1)
        return scores


# --------------------------------------------------------------------------- training
class Training:
    """Adam on a clock: the rate warms up and falls to nothing as the seconds pass; keeps moving averages of weights."""

    def __init__(self, networks: Sequence[nn.Module], rate: float, seconds: float) -> None:
        self.networks = networks
        self.averages = [copy.deepcopy(network).requires_grad_(False) for network in networks]
        weights = [weight for network in networks for weight in network.parameters()]
        self.optimizer = torch.optim.Adam(weights, rate, betas=(0.5, 0.99))
        self.rate, self.seconds, self.steps, self.started = rate, seconds, 0, time.monotonic()

    @property
    def share(self) -> float:
        """Of the time that has passed; 1 and more when it is over."""
        return (time.monotonic() - self.started) / self.seconds

    def step(self, loss: Tensor) -> None:
        """One step down `loss`."""
        fall = 0.5 + 0.5 * math.cos(math.pi * min(self.share, 1.0))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * fall * min(1.0, (self.steps + 1) / 100)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own method has no hints
        self.optimizer.step()
        self.steps += 1
        decay = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        for average, network in zip(self.averages, self.networks, strict=True):
            for kept, weight in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(weight.detach(), 1 - decay)

    def averaged(self) -> Any:
        """The networks with their moving averages for weights."""
        return tuple(network.eval() for network in self.averages)


def fast() -> torch.autocast:
    """Half precision for the decoder, the dearest part: twice as fast on processors that have bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


def product_weight(batch: Pool) -> Tensor:
    """How much each pixel counts: the product's three times."""
    return 1 + 2 * batch.masks.float()


def train_gan(pool: Pool, seconds: float) -> Decoder:
    """The class-conditional generator; the critic joins after half of the time."""
    random = torch.Generator().manual_seed(0)
    decoder, critic = Decoder(len(PRODUCTS)).to(memory_format=torch.channels_last), Critic()
    drawing, judging = Training([decoder], 3e-3, seconds), Training([critic], 1e-3, seconds)
    for batch in pool.batches(32, random):
        if drawing.share >= 1:
            break
        real, product = batch.floats(), batch.scene["product"]
        with fast():
            made = decoder(latents_of(batch.scene, random), product).float()
        loss = distance = (product_weight(batch) * (made - real).abs()).mean()
        if drawing.share > 0.5:
            judging.step(critic_loss(critic, real, made.detach(), product, regular=judging.steps % 8 == 0))
            loss = distance - 0.02 * critic(made, product).mean()
        drawing.step(loss)
        _report(drawing, distance)
    (made,) = drawing.averaged()
    assert isinstance(made, Decoder)
    return made


def critic_loss(critic: Critic, real: Tensor, made: Tensor, product: Tensor, *, regular: bool) -> Tensor:
    """Hinge loss, and R1 (the squared gradient at real pictures) in the steps that are `regular`."""
    if regular:
        real = real.clone().requires_grad_()
    seen = critic(real, product)
    loss = F.relu(1 - seen).mean() + F.relu(1 + critic(made, product)).mean()
    if regular:
        (slope,) = torch.autograd.grad(seen.sum(), real, create_graph=True)
        loss = loss + 0.5 * slope.square().sum((1, 2, 3)).mean()
    return loss


def train_vae(pool: Pool, seconds: float, weight: float) -> tuple[Critic, Decoder]:
    """The decoder of a VAE (Kingma and Welling 2014), moved onto the latents that the encoder really gives."""
    random = torch.Generator().manual_seed(0)
    encoder, decoder = Critic(2 * LATENT), Decoder().to(memory_format=torch.channels_last)
    training = Training([encoder, decoder], 2e-3, seconds)
    for batch in pool.batches(32, random):
        if training.share >= 1:
            break
        real = batch.floats()
        mean, spread = encode(encoder, real)
        with fast():
            made = decoder(mean + spread.exp() * torch.randn(mean.shape, generator=random)).float()
        distance = (product_weight(batch) * (made - real).abs()).mean()
        surplus = 0.5 * (mean.square() + (2 * spread).exp() - 1 - 2 * spread).sum(1).mean()
        training.step(distance + weight * min(1.0, training.share * 4) * surplus)
        _report(training, distance)
    encoder, decoder = training.averaged()
    assert isinstance(encoder, Critic)
    assert isinstance(decoder, Decoder)
    return encoder, decoder


def encode(encoder: Critic, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the standard deviation of the latents, each [B, LATENT]."""
    mean, spread = encoder.score(encoder.features(pictures)).chunk(2, 1)
    return mean, spread.clamp(-6, 2)


def _report(training: Training, distance: Tensor) -> None:
    if training.steps % 200 == 0:
        print(f"{training.share:5.0%}  step {training.steps}  L1 {distance.item():.4f}", flush=True)


# --------------------------------------------------------------------------- export
def fit_prior(encoder: Critic, decoder: Decoder, pool: Pool) -> None:
    """Fold into the decoder the map from standard normal latents to the encoder's own mean and covariance.

    An encoder that is hardly held to the prior leaves gaps in it; drawing from a normal fitted to what it gives afterwards
    draws better pictures (Ghosh et al. 2020, "From variational to deterministic autoencoders").
    """
    with torch.no_grad():
        mean, spread = encode(encoder, pool.floats())
        covariance = mean.T.cov() + torch.diag((2 * spread).exp().mean(0))
        first = decoder.mapping[0]
        assert isinstance(first, nn.Linear)
        first.bias.add_(first.weight @ mean.mean(0))
        first.weight.copy_(first.weight @ torch.linalg.cholesky(covariance))


def export(decoder: Decoder, folder: Path) -> None:
    """Write `generator.onnx` and `generator.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = () if decoder.classes is None else (torch.zeros(2, dtype=torch.long),)
    count = torch.export.Dim("N")
    program = torch.onnx.export(
        decoder.eval(),
        (torch.zeros(2, LATENT), *classes),
        input_names=["z", "class"][: 1 + len(classes)],
        output_names=["image"],
        dynamic_shapes=({0: count},) * (1 + len(classes)),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _forget(model)
    onnx.save(model, folder / "generator.onnx")
    document = {
        "_class_name": "OnnxGenerator",
        "file": "generator.onnx",
        "latent": LATENT,
        **({"classes": list(PRODUCTS)} if classes else {}),
        "width": SIDE,
        "height": SIDE,
        "range": [-1, 1],
    }
    (folder / "generator.json").write_text(json.dumps(document, indent=2) + "\n")


def _forget(message: Any) -> None:
    """Clear the notes that the exporter leaves everywhere: they name files of the machine that it ran on."""
    for name in ("metadata_props", "doc_string"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                _forget(part)


# --------------------------------------------------------------------------- measuring
def measure(folder: Path, count: int = 160) -> None:
    """Print how far the judge agrees with the asked product at three truncations, and keep pictures beside the pool."""
    from PIL import Image

    from easel_inference.engine.generators import Generator, Wish, check_generator

    from .judge import load_judge, pictures_of

    generator = Generator(check_generator(folder))
    judge, classes = load_judge(), generator.document.classes
    for truncation in (1.0, 0.7, 0.5):
        wanted = [index % len(PRODUCTS) for index in range(count)]
        wishes = [
            Wish(seed, truncation=truncation, class_index=index if classes else None)
            for seed, index in enumerate(wanted)
        ]
        frames = [generator.generate(wish)[0] for wish in wishes]
        pictures = [Image.fromarray(frame).resize((128, 128), Image.Resampling.BICUBIC) for frame in frames]
        answers = judge.read(pictures_of(pictures))
        right = sum(answer["product"] == PRODUCTS[index] for answer, index in zip(answers, wanted, strict=True))
        kinds = len({answer["product"] for answer in answers})
        said = f"{right / count:.0%} show the asked product" if classes else f"{kinds} of {len(PRODUCTS)} products"
        print(f"truncation {truncation}: {said}", flush=True)
        rows = [np.concatenate(frames[start : start + 16], 1) for start in range(0, 64, 16)]
        Image.fromarray(np.concatenate(rows)).save(folder.parent / f"{folder.name}-{truncation}.png")


def main() -> None:
    """`python -m easel_inference.miniature.generators STAGE`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("gan", "vae", "measure"))
    parser.add_argument("--out", type=Path, required=True, help="the generator's folder")
    parser.add_argument("--pool", type=Path, default=Path("pool"), help="where the renders are kept")
    parser.add_argument("--renders", type=int, default=POOL)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--prior", type=float, default=2e-4, help="weight of the VAE's prior")
    args = parser.parse_args()
    if args.stage == "measure":
        measure(args.out)
        return
    torch.manual_seed(0)
    pool = make_pool(args.pool, args.renders)
    if args.stage == "gan":
        export(train_gan(pool, args.seconds), args.out)
        return
    encoder, decoder = train_vae(pool, args.seconds, args.prior)
    fit_prior(encoder, decoder, pool)
    export(decoder, args.out)


if __name__ == "__main__":
    main()
