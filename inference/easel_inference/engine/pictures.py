"""Input pictures and masks: decoded by Pillow, guarded against what people and attackers send.

The size is read from the header and refused before any pixel is decoded, so that a small file that unfolds to gigabytes
costs nothing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from easel_api.errors import InvalidInput, Unsupported
from easel_api.tasks import TAKES
from easel_inference.generation import GenerationRequest, Inputs

MAX_PIXELS = 64 * 10**6
FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Decoded inputs: `image` in RGB, `mask` in grey (white is drawn anew), both of one size."""

    image: Image.Image | None = None
    mask: Image.Image | None = None

    def scaled(self, size: tuple[int, int]) -> Pictures:
        """Both scaled to cover `size` and cut to it around the middle."""
        return Pictures(
            _fit(self.image, size, Image.Resampling.LANCZOS), _fit(self.mask, size, Image.Resampling.NEAREST)
        )


def decode(request: GenerationRequest, inputs: Inputs) -> Pictures:
    """The pictures that the request's task takes; `InvalidInput` names what is wrong with which."""
    takes = TAKES[request.task]
    for name, data, wanted in (("image", inputs.image, takes.image), ("mask", inputs.mask, takes.mask)):
        if wanted and data is None:
            raise InvalidInput(f"{request.task} needs a picture here", where=name)
        if data is not None and not wanted:
            raise Unsupported(f"{request.task} takes no {name}", where=name, fix="Leave it out")
    image = None if inputs.image is None else _colour(_open(inputs.image, "image"))
    mask = None if inputs.mask is None else _open(inputs.mask, "mask").convert("L")
    if image and mask and image.size != mask.size:
        raise InvalidInput(
            "the mask has another size than its image",
            where="mask",
            found=f"{_size(mask.size)}, the image has {_size(image.size)}",
            fix="Give both the same size",
        )
    return Pictures(image, mask)


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


def _fit(picture: Image.Image | None, size: tuple[int, int], method: Image.Resampling) -> Image.Image | None:
    if picture is None or picture.size == size:
        return picture
    return ImageOps.fit(picture, size, method)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
