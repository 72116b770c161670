"""Pictures that show what was asked for: by the miniature, so that the judge can look at what a provider delivered."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from easel_emulators.base import size_of
from easel_inference import miniature
from easel_inference.artifacts.encoding import encode

STEPS = 8
SIDE = 128
"""Pixels of what the miniature draws best."""


class Miniature:
    """Draws by the prompt and seed of a body, in the format that it asks for. Safe for many threads, one at a time."""

    def __init__(self) -> None:
        import torch
        from diffusers import StableDiffusionPipeline

        self._torch = torch
        self._lock = threading.Lock()
        self._pipeline = StableDiffusionPipeline.from_pretrained(miniature.WEIGHTS / "base", safety_checker=None)
        self._pipeline.set_progress_bar_config(disable=True)

    def __call__(self, asked: Mapping[str, Any]) -> bytes:
        """The encoded picture, or a clip that shows it; see `base.Draw`."""
        with self._lock:
            drawn = self._pipeline(
                asked["prompt"],
                negative_prompt=asked.get("negative_prompt"),
                width=SIDE,
                height=SIDE,
                num_inference_steps=STEPS,
                guidance_scale=4.0,
                generator=self._torch.Generator().manual_seed(int(asked.get("seed") or 0)),
            )
        picture = _in_the_middle(drawn.images[0], *size_of(asked))
        name = str(asked.get("output_format") or "png")
        if name == "mp4":
            frames = np.repeat(np.asarray(picture)[None], 8 * int(asked.get("seconds") or 4), axis=0)
            return encode(frames, "mp4", 8)
        target = io.BytesIO()
        picture.save(target, {"jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP"}.get(name, "PNG"))
        return target.getvalue()


def _in_the_middle(square: Image.Image, width: int, height: int) -> Image.Image:
    """The square in the middle of a picture of another shape, whose proportions it keeps; around it, itself."""
    side = min(width, height)
    made = square.resize((width, height))
    made.paste(square.resize((side, side)), ((width - side) // 2, (height - side) // 2))
    return made
