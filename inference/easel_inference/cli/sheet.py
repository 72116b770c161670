"""The contact sheet: all results of a job in one picture, each with its caption.

A clip shows as four of its frames. MP4 needs PyAV, which the `local` extra brings; without it the sheet says what it is.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from easel_inference.artifacts.manifest import ManifestItem

CELL = 176
GAP = 12
SEAM = 4
CAPTION = 44
MOST_COLUMNS = 8
BACKGROUND, INK, FAINT = (250, 250, 248), (32, 32, 32), (128, 128, 128)
MAX_PICTURES = 256
"""A sheet of more would not be looked at; it says how many are left out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result with its encoded bytes."""

    item: ManifestItem
    data: bytes


def contact_sheet(title: str, entries: Iterable[Entry]) -> bytes:
    """A PNG."""
    everything = list(entries)
    shown = everything[:MAX_PICTURES]
    columns, rows = _grid(len(shown))
    header = 48
    size = (GAP + columns * (CELL + GAP), header + rows * (CELL + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    left_out = f"  (first {MAX_PICTURES} of {len(everything)})" if len(everything) > MAX_PICTURES else ""
    draw.text((GAP, 14), title + left_out, fill=INK, font=_font(20))
    for number, entry in enumerate(shown):
        row, column = divmod(number, columns)
        left, top = GAP + column * (CELL + GAP), header + row * (CELL + CAPTION + GAP)
        sheet.paste(_cell(entry), (left, top))
        _write_caption(draw, entry.item, left, top + CELL + 4)
    target = io.BytesIO()
    sheet.save(target, "PNG")
    return target.getvalue()


def _grid(count: int) -> tuple[int, int]:
    """Columns and rows of a sheet about as wide as high, with the fewest empty places."""
    wanted = min(MOST_COLUMNS, max(1, math.ceil(math.sqrt(count))))
    columns = min(range(wanted, min(MOST_COLUMNS, wanted + 2) + 1), key=lambda number: (-count % number, number))
    return columns, max(1, math.ceil(count / columns))


def _cell(entry: Entry) -> Image.Image:
    frames = _frames(entry.data, entry.item.delivered.media_type if entry.item.delivered else "")
    cell = Image.new("RGB", (CELL, CELL), (232, 232, 228))
    if len(frames) == 1:
        _paste(cell, frames[0], (0, 0), CELL)
    half = (CELL - SEAM) // 2
    for number, frame in enumerate(frames if len(frames) > 1 else ()):
        _paste(cell, frame, (number % 2 * (half + SEAM), number // 2 * (half + SEAM)), half)
    return cell


def _paste(cell: Image.Image, picture: Image.Image, corner: tuple[int, int], side: int) -> None:
    """The whole picture, as large as it fits, in the middle of a square."""
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    cell.paste(fitted, (corner[0] + (side - size[0]) // 2, corner[1] + (side - size[1]) // 2))


def _frames(data: bytes, media_type: str) -> list[Image.Image]:
    """The picture, or four frames from all over the clip; none when they cannot be read here."""
    if media_type == "video/mp4":
        return _mp4_frames(data)
    picture = Image.open(io.BytesIO(data))
    count = int(getattr(picture, "n_frames", 1))
    chosen = []
    for number in _spread(count):
        picture.seek(number)
        chosen.append(picture.convert("RGB"))
    return chosen


def _mp4_frames(data: bytes) -> list[Image.Image]:
    try:
        import av
    except ImportError:
        return []
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return [frames[number] for number in _spread(len(frames))]


def _spread(count: int) -> list[int]:
    return [0] if count == 1 else sorted({round(part * (count - 1) / 3) for part in range(4)})


def _write_caption(draw: ImageDraw.ImageDraw, item: ManifestItem, left: int, top: int) -> None:
    small = _font(12)
    words = ", ".join(item.variables.values()) or item.prompt
    draw.text((left, top), _fitted(draw, words, small), fill=INK, font=small)
    draw.text((left, top + 17), f"{item.id}  seed {item.seed}", fill=FAINT, font=_font(11))


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    one_line = " ".join(text.split())
    if draw.textlength(one_line, font=font) <= CELL:
        return one_line
    while one_line and draw.textlength(one_line + "…", font=font) > CELL:
        one_line = one_line[:-1]
    return one_line + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
