"""Input pictures, masks and clips: decoded by Pillow and PyAV, guarded against what people and attackers send.

The size is read from the header and refused before any pixel is decoded, so that a small file that unfolds to gigabytes
costs nothing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image, ImageColor, ImageOps, ImageSequence, UnidentifiedImageError

from easel_api.errors import InvalidInput, Unsupported
from easel_api.generationjob import CLIP_FORMATS, PICTURE_FORMATS
from easel_api.tasks import TAKES, Task
from easel_inference.generation import Expand, GenerationRequest, Inputs

MAX_PIXELS = 64 * 10**6
MAX_CLIP_FRAMES = 256
FORMATS = tuple(name.upper() for name in PICTURE_FORMATS)
ANIMATED = tuple(name.upper() for name in CLIP_FORMATS if name != "mp4")
"""Pillow's names of what it reads."""
MASK_THRESHOLD = 128
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Decoded inputs: `image` and `control` in RGB, `mask` in grey (white is drawn anew), a clip's frames in RGB."""

    image: Image.Image | None = None
    mask: Image.Image | None = None
    control: Image.Image | None = None
    clip: tuple[Image.Image, ...] = ()

    @property
    def size(self) -> Size | None:
        """Width and height that the result has where the request names none: the first input's."""
        inputs = [picture for picture in (self.image, self.control, *self.clip[:1]) if picture is not None]
        return inputs[0].size if inputs else None

    def fitted(self, request: GenerationRequest, size: Size) -> Pictures:
        """All of the size of the result: an outpainted picture on its larger canvas, others scaled to cover it."""
        if request.expand is not None and self.image is not None:
            return _on_canvas(self.image, request.expand)
        # Colours of a segmentation map name classes: blending them would invent others.
        exact = Image.Resampling.NEAREST
        smooth = exact if request.task is Task.SEGMENTATION_TO_IMAGE else Image.Resampling.LANCZOS
        return Pictures(
            _fit(self.image, size, Image.Resampling.LANCZOS),
            _fit(self.mask, size, exact),
            _fit(self.control, size, smooth),
            tuple(ImageOps.fit(frame, size, Image.Resampling.LANCZOS) for frame in self.clip),
        )


def decode(request: GenerationRequest, inputs: Inputs) -> Pictures:
    """The inputs that the request's task takes; `InvalidInput` names what is wrong with which."""
    takes = TAKES[request.task]
    for name, data in inputs.named().items():
        wanted = getattr(takes, name)
        if wanted and data is None:
            raise InvalidInput(f"{request.task} needs one", where=name)
        if data is not None and not wanted:
            raise Unsupported(f"{request.task} takes no {name}", where=name, fix="Leave it out")
    image = None if inputs.image is None else _colour(_open(inputs.image, "image"))
    mask = None if inputs.mask is None else _mask(_open(inputs.mask, "mask"), request.mask_colours)
    control = None if inputs.control is None else _colour(_open(inputs.control, "control"))
    if image and mask and image.size != mask.size:
        raise InvalidInput(
            "the mask has another size than its image",
            where="mask",
            found=f"{_size(mask.size)}, the image has {_size(image.size)}",
            fix="Give both the same size",
        )
    return Pictures(image, mask, control, () if inputs.clip is None else decode_clip(inputs.clip))


def decode_clip(data: bytes) -> tuple[Image.Image, ...]:
    """The frames of an MP4, a GIF or an animated WebP, in RGB."""
    moving = data[:4] in (b"GIF8", b"RIFF")
    try:
        frames = _animation(data) if moving else _video(data)
    except (av.error.FFmpegError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InvalidInput(
            "not a whole clip",
            where="clip",
            found=f"{len(data)} bytes, {type(error).__name__}",
            fix="Send MP4, GIF or animated WebP",
        ) from error
    if len(frames) < 2:
        raise InvalidInput("a clip has at least two frames", where="clip", found=f"{len(frames)}")
    return tuple(frames)


def _animation(data: bytes) -> list[Image.Image]:
    picture = Image.open(io.BytesIO(data), formats=ANIMATED)
    _check_frame(picture.size, getattr(picture, "n_frames", 1))
    return [_colour(frame.copy()) for frame in ImageSequence.Iterator(picture)]


def _video(data: bytes) -> list[Image.Image]:
    frames: list[Image.Image] = []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            _check_frame((frame.width, frame.height), len(frames) + 1)
            frames.append(frame.to_image())
    return frames


def _check_frame(size: Size, frames: int) -> None:
    if size[0] * size[1] > MAX_PIXELS // 16:
        raise _too_large("clip", f"{_size(size)} pixels a frame")
    if frames > MAX_CLIP_FRAMES:
        raise InvalidInput(
            f"a clip has at most {MAX_CLIP_FRAMES} frames", where="clip", found=str(frames), fix="Cut it"
        )


def _mask(picture: Image.Image, colours: tuple[str, ...]) -> Image.Image:
    """White where the picture has one of the colours, or without colours where it is light."""
    if not colours:
        return picture.convert("L").point(lambda grey: 255 * (grey >= MASK_THRESHOLD))
    pixels = np.asarray(_colour(picture))
    chosen = np.zeros(pixels.shape[:2], bool)
    for colour in colours:
        chosen |= (pixels == np.array(ImageColor.getrgb(colour), np.uint8)).all(-1)
    if not chosen.any():
        raise InvalidInput(
            "the mask has no pixel of these colours", where="mask_colours", found=", ".join(colours), fix=_COLOURS
        )
    return Image.fromarray(chosen.astype(np.uint8) * 255)


_COLOURS = "Name colours of the segmentation map exactly, and store it without losses (PNG)"


def _on_canvas(image: Image.Image, expand: Expand) -> Pictures:
    """The picture on its larger canvas, whose new parts begin as what stands at its edges, and their mask."""
    sides = ((expand.top, expand.bottom), (expand.left, expand.right))
    canvas = Image.fromarray(np.pad(np.asarray(image), (*sides, (0, 0)), mode="edge"))
    kept = np.zeros((image.height, image.width), np.uint8)
    return Pictures(canvas, Image.fromarray(np.pad(kept, sides, constant_values=255)))


def _open(data: bytes, where: str) -> Image.Image:
    """The first frame, upright, with every pixel decoded."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise _too_large(where, f"{_size(picture.size)} pixels")
        picture.load()
        return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise InvalidInput(
            "not a picture", where=where, found=f"{len(data)} bytes", fix=f"Send {', '.join(FORMATS)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(where, str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidInput("the picture is damaged or cut off", where=where, found=str(error)) from error


def _too_large(where: str, found: str) -> InvalidInput:
    return InvalidInput(f"the picture has more than {MAX_PIXELS // 10**6} megapixels", where=where, found=found)


def _colour(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white, not whatever colour hides there."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _fit(picture: Image.Image | None, size: Size, method: Image.Resampling) -> Image.Image | None:
    if picture is None or picture.size == size:
        return picture
    return ImageOps.fit(picture, size, method)


def _size(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
