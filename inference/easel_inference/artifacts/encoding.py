"""Pictures and clips to bytes: PNG, JPEG and WebP with Pillow, GIF with Pillow, MP4 with PyAV.

Frames come as numpy `uint8` of shape [frames, height, width, 3], or 4 with what is transparent, which PNG alone takes here. Equal
frames give equal bytes: no clock, no name and no thread count goes into a file, since a retried item must be the very same object.
No torch here: the worker and the command line import this too. PyAV is imported when a clip is written, for only the runtime image
carries it.
"""

from __future__ import annotations

import io
from typing import Any, assert_never

import numpy as np
from PIL import Image

from easel_api.errors import BackendFault, Unsupported
from easel_inference.generation import Encoding

DEFAULT_FPS = 8
JPEG_QUALITY = 92
WEBP_QUALITY = 90
H264_QUALITY = "18"  # CRF; x264's own scale on which 18 is called visually lossless

Frames = np.ndarray[Any, np.dtype[np.uint8]]


def encode(frames: Frames, encoding: Encoding, fps: int | None = None) -> bytes:
    """One file of these frames; `fps` counts for clips alone.

    Raises `Unsupported` when a clip is asked for in a format that holds one picture.
    """
    _check(frames, encoding)
    match encoding:
        case "png":
            return _picture(frames, "PNG", optimize=False, compress_level=6)
        case "jpeg":
            return _picture(frames, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        case "webp":
            return _animation(frames, "WEBP", fps, quality=WEBP_QUALITY, method=4)
        case "gif":
            return _animation(frames, "GIF", fps, optimize=False)
        case "mp4":
            return _mp4(frames, fps or DEFAULT_FPS)
        case _:
            assert_never(encoding)


def thumbnail(frame: Frames, size: int) -> bytes:
    """A small JPEG of one frame [height, width, 3], `size` pixels on the longest side at most."""
    picture = Image.fromarray(frame)
    picture.thumbnail((size, size), Image.Resampling.BILINEAR)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=80)
    return target.getvalue()


def _check(frames: Frames, encoding: Encoding) -> None:
    channels = (3, 4) if encoding == "png" else (3,)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in channels or len(frames) == 0:
        raise BackendFault(
            "frames must be uint8 of shape [frames, height, width, 3]", found=f"{frames.dtype} {frames.shape}"
        )
    if len(frames) > 1 and encoding in ("png", "jpeg"):
        raise Unsupported(
            f"{encoding} holds one picture, not a clip",
            where="encoding",
            found=f"{len(frames)} frames",
            fix="Ask for mp4, gif or webp",
        )


def _picture(frames: Frames, name: str, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frames[0]).save(target, name, **options)
    return target.getvalue()


def _animation(frames: Frames, name: str, fps: int | None, **options: Any) -> bytes:
    target = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    if rest:
        options |= {"save_all": True, "append_images": rest, "duration": round(1000 / (fps or DEFAULT_FPS)), "loop": 0}
    first.save(target, name, **options)
    return target.getvalue()


def _mp4(frames: Frames, fps: int) -> bytes:
    """H.264 in 4:2:0, which every browser plays; odd sides lose their last row or column, which 4:2:0 cannot hold."""
    import av

    height, width = (side - side % 2 for side in frames.shape[1:3])
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: x264's result depends on how many slice the work.
        stream.options = {"crf": H264_QUALITY, "threads": "1", "flags": "+bitexact"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[:height, :width], format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()
