"""Whether what came is what was asked: nothing is stored on a backend's word alone."""

from __future__ import annotations

from easel_api.errors import BadOutput
from easel_inference.artifacts.headers import Header, read_header
from easel_inference.artifacts.stores import sha256_of
from easel_inference.backends.base import Result
from easel_inference.generation import MEDIA_TYPES, Finished, GenerationRequest


def verify(request: GenerationRequest, result: Result) -> None:
    """Raises `BadOutput` when hash, format, size, frames or seed differ from what was promised or asked."""
    finished = result.finished
    if sha256_of(result.payload) != finished.sha256:
        raise _bad("other bytes arrived than the backend sent", f"{len(result.payload)} bytes of another hash")
    header = read_header(result.payload)
    _same("format", header.media_type, MEDIA_TYPES[request.encoding])
    _same("format", finished.media_type, header.media_type)
    _same("size", _size(header), _size(finished))
    _same("width", finished.width, request.width or finished.width)
    _same("height", finished.height, request.height or finished.height)
    _same("seed", finished.seed, request.seed)
    _check_frames(header, finished, request)


def _check_frames(header: Header, finished: Finished, request: GenerationRequest) -> None:
    _same("number of frames", finished.frames, request.frames or finished.frames)
    # GIF and WebP writers merge equal neighbours into one longer frame; MP4 keeps each.
    if header.frames > finished.frames or (header.media_type == "video/mp4" and header.frames != finished.frames):
        raise _bad(
            "the clip has another number of frames than the backend said", f"{header.frames}, not {finished.frames}"
        )


def _same(name: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise _bad(f"the result has another {name} than asked", f"{found}, not {wanted}")


def _size(source: Header | Finished) -> str:
    return f"{source.width}×{source.height}"


def _bad(what: str, found: str) -> BadOutput:
    return BadOutput(what, found=found, fix="The item is tried again; if it stays so, see the runtime's logs")
