"""Which sizes a model takes, and which one a request gets: pure.

- Each side is a multiple of the VAE's factor (8), at least 64 and at most twice the model's native side.
- A request that names no size gets the model's native one; a request with an input picture gets that picture's size,
  which must be one that the model takes.
- When a request names a size, its input picture is scaled to cover it and cut to it around the middle, its mask likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

from easel_api.errors import Unsupported
from easel_api.tasks import TAKES
from easel_inference.generation import GenerationRequest

SMALLEST_SIDE = 64
LARGEST_SHARE = 2
DEFAULT_FRAMES = 8

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model can draw. `native` is the side in pixels that it was trained on."""

    native: int
    factor: int = 8
    frames: int = 1

    @property
    def largest(self) -> int:
        """The longest side in pixels."""
        return self.native * LARGEST_SHARE

    def size_of(self, request: GenerationRequest, image: Size | None) -> Size:
        """The size of a request's result; `image` is the size of its input picture."""
        width, height = image or (self.native, self.native)
        size = (request.width or width, request.height or height)
        named = request.width is not None or request.height is not None
        for side, name in zip(size, ("width", "height"), strict=True):
            self._check(side, name if named else "image")
        return size

    def frames_of(self, request: GenerationRequest) -> int:
        """How many frames a request gets: 1 for pictures."""
        if not TAKES[request.task].video:
            return 1
        frames = request.frames or min(DEFAULT_FRAMES, self.frames)
        if frames > self.frames:
            raise Unsupported(
                "the motion adapter cannot make so many frames",
                where="frames",
                found=str(frames),
                fix=f"Ask for {self.frames} at most",
            )
        return frames

    def _check(self, side: int, where: str) -> None:
        if side % self.factor or not SMALLEST_SIDE <= side <= self.largest:
            rule = f"multiples of {self.factor} from {SMALLEST_SIDE} to {self.largest}"
            fix = "Name width and height, then the picture is scaled" if where == "image" else "Ask for one of those"
            raise Unsupported(f"this model draws sides that are {rule}", where=where, found=f"{side} pixels", fix=fix)
