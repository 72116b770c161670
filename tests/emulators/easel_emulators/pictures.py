"""Pictures that show what was asked for: by the miniature, so that the judge can look at what a provider delivered."""

from __future__ import annotations

import io
import threading
from typing import Any

from easel_inference import miniature

STEPS = 8


class Miniature:
    """Draws by the prompt and seed of a body, in the format that it asks for. Safe for many threads, one at a time."""

    def __init__(self) -> None:
        import torch
        from diffusers import StableDiffusionPipeline

        self._torch = torch
        self._lock = threading.Lock()
        self._pipeline = StableDiffusionPipeline.from_pretrained(miniature.WEIGHTS / "base", safety_checker=None)
        self._pipeline.set_progress_bar_config(disable=True)

    def __call__(self, body: dict[str, Any]) -> bytes:
        """The encoded picture."""
        wide, high = (int(side) for side in body.get("aspect_ratio", "1:1").split(":"))
        height = max(64, round(128 * (high / wide) ** 0.5 / 8) * 8)
        width = max(64, round(128 * (wide / high) ** 0.5 / 8) * 8)
        with self._lock:
            drawn = self._pipeline(
                body["prompt"],
                negative_prompt=body.get("negative_prompt"),
                width=width,
                height=height,
                num_inference_steps=STEPS,
                guidance_scale=4.0,
                generator=self._torch.Generator().manual_seed(body.get("seed", 0)),
            )
        target = io.BytesIO()
        drawn.images[0].save(target, "JPEG" if body.get("output_format") == "jpeg" else "PNG")
        return target.getvalue()
