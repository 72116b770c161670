"""An independent look at pictures: the miniature's judge says what each one shows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Verdict:
    """How many pictures show the product and the colour that their prompts name."""

    total: int
    disagreed: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the pictures that agree, from 0 to 1."""
        return 1 - len(self.disagreed) / self.total


def judged(pictures: Sequence[bytes], prompts: Sequence[str]) -> Verdict:
    """Ask the judge about encoded pictures of 128 × 128, one for each prompt."""
    # torch takes seconds to import, and only this needs it.
    import numpy as np
    import torch

    from easel_inference.miniature import WEIGHTS
    from easel_inference.miniature.judge import load_judge

    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32) / 255 for data in pictures]
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    seen = load_judge(WEIGHTS / "judge.safetensors").read(batch)
    wrong = [
        f"{prompt!r} shows a {shown['colour']} {shown['product']}"
        for prompt, shown in zip(prompts, seen, strict=True)
        if not {shown["product"], shown["colour"]} <= set(prompt.replace(",", " ").split())
    ]
    return Verdict(len(pictures), tuple(wrong))
