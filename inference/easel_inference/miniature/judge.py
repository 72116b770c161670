"""The judge: a small network that looks at a picture and says what it shows.

It measures whether a generated picture follows its prompt: product, colour, environment and view as classes, and a
coarse segmentation (product, ground, background) from which silhouettes and positions are read. It measures prompt
following, not beauty, and knows the miniature's world alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everyone's name for it
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import WEIGHTS
from .studio import COLOURS, ENVIRONMENT_WORDS, ENVIRONMENTS, PRODUCT_WORDS, PRODUCTS, VIEWS

ANSWERS: dict[str, tuple[str, ...]] = {
    "product": PRODUCTS,
    "colour": tuple(COLOURS),
    "environment": ENVIRONMENTS,
    "view": VIEWS,
}
SIDE = 128


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far pictures show what their prompts asked. `asked` and `seen` are in the order of the pictures.

    A prompt that leaves something out asks nothing about it, so that question counts only where it was asked.
    """

    asked: tuple[Mapping[str, str], ...]
    seen: tuple[Mapping[str, str], ...]

    def share(self, *questions: str) -> float:
        """Share of pictures that have all these questions right: `share("product", "colour")`."""
        pairs = [pair for pair in zip(self.asked, self.seen, strict=True) if all(name in pair[0] for name in questions)]
        right = sum(all(asked[name] == seen[name] for name in questions) for asked, seen in pairs)
        return right / len(pairs) if pairs else 1.0


def judge_files(paths: Sequence[Path], prompts: Sequence[str]) -> Agreement:
    """Look at picture files and compare them with the prompts that they were made from."""
    judge = load_judge()
    seen = [judge.read(pictures_of([path]))[0] for path in paths]
    return Agreement(tuple(asked(prompt) for prompt in prompts), tuple(seen))


def pictures_of(sources: Iterable[Path | Image.Image]) -> Tensor:
    """Files or images as [B, 3, 128, 128] in 0…1."""
    images = [source if isinstance(source, Image.Image) else Image.open(source) for source in sources]
    arrays = [np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32) / 255 for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def asked(prompt: str) -> dict[str, str]:
    """What a prompt asks: of each question the last word that the models know, none where it says nothing."""
    words = {
        "product": {word: name for name, forms in PRODUCT_WORDS.items() for word in forms},
        "colour": {name: name for name in COLOURS},
        "environment": {word: name for name, forms in ENVIRONMENT_WORDS.items() for word in forms},
        "view": {form.format(name): name for name in VIEWS for form in ("{} view", "from the {}")},
    }
    found = {question: _last(prompt.lower(), known) for question, known in words.items()}
    return {question: answer for question, answer in found.items() if answer}


def _last(prompt: str, known: Mapping[str, str]) -> str:
    """Longer phrases win where they overlap: "front right view" is no "right view"."""
    choices = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    found = re.findall(rf"\b({choices})\b", prompt)
    return known[found[-1]] if found else ""


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(x)))


class Judge(nn.Module):
    """Pictures [B, 3, 128, 128] in 0…1 to a dictionary of logits, with `segments` of [B, 3, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        widths = (24, 48, 96, 128, 160)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in itertools.pairwise(widths))
        heads = {name: nn.Linear(2 * widths[-1], len(values)) for name, values in ANSWERS.items()}
        self.answers = nn.ModuleDict(heads)
        self.segments = nn.Conv2d(24 + 48 + 96, 3, 3, 1, 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits of each question, and of the segments."""
        x = self.stem(pictures * 2 - 1)
        levels = [x]
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        answers = {name: head(pooled) for name, head in self.answers.items()}
        size = levels[0].shape[-2:]
        maps = [levels[0]] + [F.interpolate(level, size=size, mode="bilinear") for level in levels[1:3]]
        return answers | {"segments": self.segments(torch.cat(maps, 1))}

    @torch.no_grad()
    def read(self, pictures: Tensor) -> list[dict[str, str]]:
        """Name what each picture shows: `{"product": "mug", "colour": "red", …}`."""
        answers = self(pictures)
        return [
            {name: values[int(answers[name][row].argmax())] for name, values in ANSWERS.items()}
            for row in range(len(pictures))
        ]

    @torch.no_grad()
    def silhouettes(self, pictures: Tensor) -> Tensor:
        """Masks [B, 64, 64] of the product."""
        segments: Tensor = self(pictures)["segments"]
        return segments.argmax(1) == 0


def save_judge(judge: Judge, path: Path) -> None:
    """In half precision."""
    weights = {k: v.half() if v.is_floating_point() else v for k, v in judge.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, str(path))


def load_judge(path: Path = WEIGHTS / "judge.safetensors", device: str = "cpu") -> Judge:
    """The judge, ready to read."""
    judge = Judge()
    judge.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(str(path)).items()})
    return judge.to(device).eval()
