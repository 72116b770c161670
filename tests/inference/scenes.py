"""Scenes of the studio as inputs, and what the judge sees in results."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from asking import Running, opened, png
from PIL import Image

from easel_inference.generation import Finished
from easel_inference.miniature.judge import Agreement, asked, load_judge, pictures_of
from easel_inference.miniature.studio import Renderer, describe, segmentation_picture


def rendered(**scene: Any) -> Image.Image:
    pictures, _ = Renderer()(describe(**scene))
    return Image.fromarray((pictures[0].permute(1, 2, 0) * 255).round().byte().numpy())


def seen(pictures: list[Image.Image], prompts: list[str]) -> Agreement:
    answers = load_judge().read(pictures_of(pictures))
    return Agreement(tuple(asked(prompt) for prompt in prompts), tuple(answers))


def shapes_of(**scene: Any) -> bytes:
    """A segmentation map in the studio's colours."""
    _, classes = Renderer()(describe(**scene))
    return png(Image.fromarray((segmentation_picture(classes)[0].permute(1, 2, 0) * 255).round().byte().numpy()))


def clip_of(**scene: Any) -> bytes:
    """A lossless clip of four frames in which a product slides to the right."""
    shown = [rendered(**scene, shift=-0.3 + 0.2 * step) for step in range(4)]
    target = io.BytesIO()
    shown[0].save(target, "WEBP", save_all=True, append_images=shown[1:], lossless=True)
    return target.getvalue()


def frames(running: Running) -> np.ndarray[Any, Any]:
    message = running.result()
    assert isinstance(message.event, Finished), message.event
    picture = opened(message.payload)
    shown = []
    for index in range(getattr(picture, "n_frames", 1)):
        picture.seek(index)
        shown.append(np.asarray(picture.convert("RGB"), np.int16))
    return np.stack(shown)


def overlap(one: Image.Image, other: Image.Image) -> float:
    """Intersection over union of the products' silhouettes, as the judge sees them."""
    first, second = load_judge().silhouettes(pictures_of([one, other]))
    return float((first & second).sum() / (first | second).sum().clamp(min=1))
