"""Which sizes a model takes, and which one a request gets: pure.

- Each side is a multiple of what one token of the denoiser covers (8 or 16 pixels, 32 for LTX), at least 64 and at most
  twice the longer native side; an upscaled picture may have four times.
- A request that names no size gets the model's native one; a request with an input picture gets that picture's size,
  which must be one that the model takes. A picture that `expand` or `scale` grows gets no other size than the grown one.
- When a request names a size, its input picture is scaled to cover it and cut to it around the middle, its mask likewise.
- A clip has as many frames as the family's rule allows, such as 4n+1; an interpolation is a row of pictures and has any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from easel_api.errors import Unsupported
from easel_api.tasks import TAKES, Task
from easel_inference.generation import GenerationRequest

from .families import Family

SMALLEST_SIDE = 64
LARGEST_SHARE = 2
LARGEST_UPSCALED_SHARE = 4
DEFAULT_FRAMES = 8

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model can draw. `width` and `height` are the pixels that it was trained on."""

    width: int
    height: int
    factor: int = 8
    """Pixels on a side of one latent pixel."""
    multiple: int = 8
    """Each side in pixels is a multiple of it."""
    longest: int | None = None
    """The longest side in pixels that the denoiser has positions for; None: it computes them for any."""
    frames: int = 1
    """Most frames of a clip; 1: pictures alone."""
    default_frames: int = DEFAULT_FRAMES
    """Frames of a clip that names no number."""
    frame_multiple: int = 1
    """A clip has a multiple of it plus one frames; 1: any number."""

    @property
    def native(self) -> Size:
        """The size of a request that names none."""
        return self.width, self.height

    def size_of(self, request: GenerationRequest, image: Size | None) -> Size:
        """The size of a request's result; `image` is the size of its input picture, clip or control."""
        if image and (request.expand or request.scale):
            return self._grown(request, image)
        width, height = image or self.native
        size = (request.width or width, request.height or height)
        named = request.width is not None or request.height is not None
        for side, name in zip(size, ("width", "height"), strict=True):
            if named or image is None:
                self._check(request, side, name, "Ask for one of those")
            else:
                self._check(request, side, "image", "Name width and height, then the picture is scaled")
        return size

    def frames_of(self, request: GenerationRequest) -> int:
        """How many frames a request gets: 1 for pictures."""
        if not TAKES[request.task].video:
            return 1
        if request.task is Task.INTERPOLATION:
            return request.frames or DEFAULT_FRAMES
        frames = request.frames or self.default_frames
        if frames > self.frames or (frames - 1) % self.frame_multiple:
            raise Unsupported(
                "this model cannot make so many frames",
                where="frames",
                found=str(frames),
                fix=f"Ask for {' or '.join(map(str, self._nearest(frames)))}",
            )
        return frames

    def _grown(self, request: GenerationRequest, image: Size) -> Size:
        """The size of a picture after `expand` and `scale`; another one cannot be asked for besides."""
        expand, scale = request.expand, request.scale or 1
        width, height = image
        if expand:
            width, height = width + expand.left + expand.right, height + expand.top + expand.bottom
        size = (width * scale, height * scale)
        for side, asked, name in zip(size, (request.width, request.height), ("width", "height"), strict=True):
            if asked not in (None, side):
                raise Unsupported(
                    f"the picture grows to {size[0]}x{size[1]} pixels", where=name, found=str(asked), fix="Leave it out"
                )
            self._check(request, side, "expand" if expand else "scale", "Give a picture that grows to such a size")
        return size

    def _check(self, request: GenerationRequest, side: int, where: str, fix: str) -> None:
        share = LARGEST_UPSCALED_SHARE if TAKES[request.task].scale else LARGEST_SHARE
        largest = max(self.native) * share
        if self.longest is not None:
            largest = min(largest, self.longest)
        if side % self.multiple or not SMALLEST_SIDE <= side <= largest:
            rule = f"multiples of {self.multiple} from {SMALLEST_SIDE} to {largest}"
            raise Unsupported(f"this model draws sides that are {rule}", where=where, found=f"{side} pixels", fix=fix)

    def _nearest(self, frames: int) -> list[int]:
        """The numbers of frames around an invalid one that are valid."""
        below = (min(frames, self.frames) - 1) // self.frame_multiple * self.frame_multiple + 1
        return [number for number in (below, below + self.frame_multiple) if 1 < number <= self.frames]


def limits_of(family: Family, parts: Mapping[str, Any], motion_unet: Any | None = None) -> Limits:
    """What a loaded model can draw, by its family and the configurations of its parts."""
    denoiser, factor = parts[family.denoisers[0]].config, _factor(parts["vae"])
    multiple = factor * family.patch
    width, height = family.native or (_native_side(denoiser, parts["vae"].config, factor),) * 2
    positions = denoiser.get("pos_embed_max_size")
    return Limits(
        width=width,
        height=height,
        factor=factor,
        multiple=multiple,
        longest=positions and positions * multiple,
        frames=family.frames if motion_unet is None else int(motion_unet.config.motion_max_seq_length),
        default_frames=int(denoiser.get("num_frames") or family.default_frames),
        frame_multiple=family.frame_multiple,
    )


def _factor(vae: Any) -> int:
    """Pixels on a side of one latent pixel, which VAEs say in one of two ways."""
    ratio = getattr(
        vae, "spatial_compression_ratio", None
    )  # those of clips and of Qwen; plain ones halve at each block
    return int(ratio or 2 ** (len(vae.config.block_out_channels) - 1))


def _native_side(denoiser: Mapping[str, Any], vae: Mapping[str, Any], factor: int) -> int:
    latent = denoiser.get("sample_size")
    return int(latent * factor if latent else vae["sample_size"])
