"""Whether what came is what was asked: nothing is stored on a backend's word alone."""

from __future__ import annotations

from easel_api.errors import BadOutput
from easel_api.generationjob import DEFAULT_SCALE
from easel_api.tasks import TAKES, Quality
from easel_inference.artifacts.headers import Header, read_header
from easel_inference.artifacts.stores import sha256_of
from easel_inference.backends.base import Result
from easel_inference.generation import MEDIA_TYPES, Expand, Finished, GenerationRequest, Inputs
from easel_inference.routing.request import Resolved


def verify(request: GenerationRequest, inputs: Inputs, result: Result) -> None:
    """Raises `BadOutput` when hash, format, size, frames, seed or care differ from what was promised or asked."""
    finished = result.finished
    if sha256_of(result.payload) != finished.sha256:
        raise _bad("other bytes arrived than the backend sent", f"{len(result.payload)} bytes of another hash")
    header = read_header(result.payload)
    _same("format", header.media_type, MEDIA_TYPES[request.encoding])
    _same("format", finished.media_type, header.media_type)
    _same("size", _size(header), _size(finished))
    if result.paid is not None:
        _check_bought(finished, result.paid.resolved)
        return
    width, height = _wanted_size(request, inputs)
    _same("width", finished.width, width or finished.width)
    _same("height", finished.height, height or finished.height)
    _same("seed", finished.seed, request.seed)
    _check_frames(header, finished, request)
    _check_care(finished, request)


def _check_bought(finished: Finished, resolved: Resolved) -> None:
    """Of a provider, what it was asked for; all else that the job wants it honours, or the plan says that it does not."""
    if resolved.size is not None:
        width, height = resolved.size
        _same("size", f"{finished.width}×{finished.height}", f"{width}×{height}")


def _wanted_size(request: GenerationRequest, inputs: Inputs) -> tuple[int | None, int | None]:
    """Width and height that the result must have, as far as they were named or follow from the picture that grows."""
    takes = TAKES[request.task]
    grows = takes.expand or takes.scale
    if inputs.image is None or not grows or request.width is not None or request.height is not None:
        return request.width, request.height
    image, expand = read_header(inputs.image), request.expand or Expand()
    scale = (request.scale or DEFAULT_SCALE) if takes.scale else 1
    return (
        image.width * scale + expand.left + expand.right,
        image.height * scale + expand.top + expand.bottom,
    )


def _check_care(finished: Finished, request: GenerationRequest) -> None:
    """No lower quality than asked, the same bytes again where they were asked for, and every adapter that was named."""
    ladder = list(Quality)
    if request.quality is not None and ladder.index(finished.quality) < ladder.index(request.quality):
        raise _bad("the result has a lower quality than asked", f"{finished.quality}, not {request.quality}")
    if request.reproducible and not finished.reproducible:
        raise _bad("the result is not reproducible as asked", "reproducible: false")
    missing = sorted({use.name for use in request.adapters if use.weight} - set(finished.adapters))
    if missing:
        raise _bad("an adapter that was asked for took no part", ", ".join(missing))


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
