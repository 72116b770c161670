"""Generators that draw a picture in one pass, GANs and VAE decoders, by ONNX Runtime; no torch.

A model folder holds two files:

    generator.json    what the model is: `GeneratorDocument`
    generator.onnx    inputs   z           float32 [N, latent]
                               class       int64 [N]       if the document names classes
                               truncation  float32 [N]     if the model truncates by itself (StyleGAN does, in w)
                      output   image       float32 [N, 3, height, width]

An ONNX file is a graph of known operators: it holds no code. What could still lead out of it is refused by
`check_generator` before ONNX Runtime sees it: operators of other domains than ONNX's own (ONNX Runtime's include one
that loads compiled kernels from a path) and weights in other files, whose names may point anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from easel_api.errors import BackendFault, BadOutput, EnvironmentFault, InvalidInput, NotFound, UnsafeModel, Unsupported

from .folders import check_files, checked_digest, files_of, read_json
from .latents import class_of, latent_of, path, truncate

if TYPE_CHECKING:
    import onnx
    import onnxruntime

DOCUMENT = "generator.json"
CLASS_NAME = "OnnxGenerator"
MAX_ONNX_BYTES = 2**31 - 1
"""Of a protobuf message; larger models keep weights in other files, which are refused."""

BATCH_LIMIT = 16
"""Pictures of one pass: a cancelled request waits for one pass at most."""

MAX_FRAMES = 1024
"""Of one request: all frames are held until the last is done."""

Frames = NDArray[np.uint8]
"""[frames, height, width, 3]."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]


class GeneratorDocument(BaseModel):
    """`generator.json`.

    `latent` is the length of z, `range` the values of black and white in the model's output, and `classes` the names
    of the classes in the order of their numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: Literal["OnnxGenerator"] = Field(alias="_class_name")
    file: str = Field("generator.onnx", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")
    latent: int = Field(ge=2, le=65536)
    classes: tuple[Name, ...] | None = Field(None, min_length=1, max_length=65536)
    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    range: tuple[float, float] = (-1.0, 1.0)

    @model_validator(mode="after")
    def _consistent(self) -> GeneratorDocument:
        low, high = self.range
        if not -1e6 <= low < high <= 1e6:
            raise ValueError("range is the values of black and of white, the lower one first")
        if self.classes and len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        return self


@dataclass(frozen=True, slots=True)
class CheckedGenerator:
    """A generator's folder that may be loaded. `inputs` are the names of the graph's inputs."""

    folder: Path
    document: GeneratorDocument
    inputs: frozenset[str]
    parameters: int
    digest: str

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return self.folder / self.document.file


def is_generator(folder: Path) -> bool:
    """Whether the folder says that it holds a generator; nothing of it is checked."""
    return (folder / DOCUMENT).is_file()


def check_generator(folder: Path, *, digest: str | None = None, hashed: bool = True) -> CheckedGenerator:
    """A generator's folder, checked whole; each refusal names the file and the field.

    Without `hashed` the digest stays empty; the ONNX file is read all the same, for there is no telling without.
    """
    files = list(files_of(folder))
    check_files(folder, files)
    document = _document(folder)
    model = _model(folder / document.file)
    _check_model(model, document.file)
    inputs = _check_signature(model.graph, document)
    found = checked_digest(folder, files, digest) if hashed else ""
    return CheckedGenerator(folder, document, inputs, _parameters(model.graph), found)


def _document(folder: Path) -> GeneratorDocument:
    value = read_json(folder / DOCUMENT, folder)
    if value.get("_class_name") != CLASS_NAME:
        raise Unsupported(
            "this engine does not serve this kind of generator",
            where=DOCUMENT,
            found=f"_class_name {value.get('_class_name')!r}",
            fix=f"Served is {CLASS_NAME}",
        )
    try:
        return GeneratorDocument.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            first["msg"], where=f"{DOCUMENT}: {field}" if field else DOCUMENT, found=repr(first["input"])
        ) from error


# --------------------------------------------------------------------------- the graph
def _model(file: Path) -> onnx.ModelProto:
    """The ONNX file as a message; reads no other file."""
    import onnx

    if not file.is_file():
        raise NotFound("the model folder lacks a file", where=file.name)
    size = file.stat().st_size
    if size > MAX_ONNX_BYTES:
        raise Unsupported("an ONNX file this large holds no whole model", where=file.name, found=f"{size} bytes")
    try:
        model = onnx.load_model(file, load_external_data=False)
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise _not_onnx(file.name, str(error)) from error
    if not model.graph.node:
        raise _not_onnx(file.name, "no operators")
    return model


def _not_onnx(where: str, found: str) -> InvalidInput:
    return InvalidInput("not a whole ONNX model", where=where, found=found, fix="Copy the file again")


def _check_model(model: onnx.ModelProto, where: str) -> None:
    """Refuse what leads out of the file."""
    import onnx

    for message in _messages(model):
        match message:
            case onnx.NodeProto() if message.domain not in ("", "ai.onnx"):
                raise UnsafeModel(
                    "an operator that is not ONNX's own",
                    where=f"{where}: {message.name or message.op_type}",
                    found=f"{message.domain}.{message.op_type}",
                    fix="Export the model with standard operators; inline the model's own functions",
                )
            case onnx.TensorProto() if message.external_data or message.data_location == onnx.TensorProto.EXTERNAL:
                raise UnsafeModel(
                    "weights in another file",
                    where=f"{where}: {message.name}",
                    found=next((entry.value for entry in message.external_data if entry.key == "location"), ""),
                    fix="Save the model with its weights inside",
                )


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages inside it: operators also stand in the branches of others, and in functions."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                yield from _messages(part)


def _check_signature(graph: onnx.GraphProto, document: GeneratorDocument) -> frozenset[str]:
    """Names of the inputs; `InvalidInput` names an input or output that is not as the module's docstring says."""
    import onnx

    where, float32, int64 = document.file, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    known: dict[str, tuple[int, tuple[int, ...]]] = {
        "z": (float32, (document.latent,)),
        "class": (int64, ()),
        "truncation": (float32, ()),
    }
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    wanted = {"z", "class"} if document.classes else {"z"}
    if not wanted <= inputs.keys() <= wanted | {"truncation"}:
        raise InvalidInput(
            "the model's inputs are not those of a generator with the document's classes",
            where=where,
            found=", ".join(inputs) or "none",
            fix=f"Inputs are {', '.join(sorted(wanted))} and, optionally, truncation",
        )
    for name, value in inputs.items():
        _check_value(value, *known[name], where)
    if [value.name for value in graph.output] != ["image"]:
        found = ", ".join(value.name for value in graph.output)
        raise InvalidInput("the model's only output must be image", where=where, found=found)
    _check_value(graph.output[0], float32, (3, document.height, document.width), where)
    return frozenset(inputs)


def _check_value(value: onnx.ValueInfoProto, kind: int, shape: tuple[int, ...], where: str) -> None:
    """`shape` without the batch; a side that the graph leaves open is checked when a picture is there."""
    import onnx

    tensor = value.type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    fits = len(sides) == len(shape) + 1 and all(
        side in (None, want) for side, want in zip(sides[1:], shape, strict=True)
    )
    if tensor.elem_type != kind or not fits or sides[0] is not None:
        names = onnx.TensorProto.DataType.Name
        raise InvalidInput(
            "an input or output of another type or shape than the document says",
            where=f"{where}: {value.name}",
            found=f"{names(tensor.elem_type)} {_shape(sides)}",
            fix=f"It must be {names(kind)} {_shape([None, *shape])}, N any number of pictures",
        )


def _shape(sides: list[int | None] | list[int]) -> str:
    return f"[{', '.join('N' if side is None else str(side) for side in sides)}]"


def _parameters(graph: onnx.GraphProto) -> int:
    return sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)


# --------------------------------------------------------------------------- drawing
@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks of a generator.

    One frame is the picture of `seed`. More are a path of equal steps from `seed`'s latent to `end_seed`'s. A class has
    no middle between two, so on a path from `class_index` to `end_class` it changes half-way; `end_class` left out is
    `class_index`, and `class_index` left out is drawn by the seed.
    """

    seed: int
    frames: int = 1
    end_seed: int | None = None
    truncation: float = 1.0
    class_index: int | None = None
    end_class: int | None = None


class Generator:
    """A checked generator on a device.

    ONNX Runtime runs calls of several threads at a time, so one generator may serve several requests at once; `threads`
    is how many cores a single pass uses.
    """

    def __init__(
        self, checked: CheckedGenerator, *, threads: int = 1, gpu: bool = False, batch_limit: int = BATCH_LIMIT
    ) -> None:
        self.checked = checked
        self.document = checked.document
        self._batch_limit = batch_limit
        self._session = _session(checked, threads, gpu=gpu)

    def generate(
        self,
        wish: Wish,
        *,
        check: Callable[[], None] = lambda: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Frames:
        """The pictures [frames, height, width, 3] of a wish.

        `check` is called before each pass and ends the request by raising; `progress` gets the number of finished
        frames and of all after each. Equal wishes give equal pictures on one machine. Raises `InvalidInput` or
        `Unsupported` for a wish that this model cannot fulfil, before anything is drawn, `BackendFault` when ONNX
        Runtime fails and `BadOutput` when its pictures are not of the promised shape or hold no numbers.
        """
        _check_wish(wish, self.document)
        inputs = self._inputs(wish)
        frames = np.empty((wish.frames, self.document.height, self.document.width, 3), np.uint8)
        for first in range(0, wish.frames, self._batch_limit):
            check()
            rows = slice(first, min(first + self._batch_limit, wish.frames))
            frames[rows] = self._draw({name: value[rows] for name, value in inputs.items()})
            progress(rows.stop, wish.frames)
        return frames

    def _inputs(self, wish: Wish) -> dict[str, NDArray[Any]]:
        """The graph's inputs for all frames. A graph without `truncation` gets latents that are truncated already."""
        size, end_seed = self.document.latent, wish.seed if wish.end_seed is None else wish.end_seed
        latents = path(latent_of(wish.seed, size), latent_of(end_seed, size), wish.frames)
        inputs: dict[str, NDArray[Any]] = {}
        if "truncation" in self.checked.inputs:
            inputs["truncation"] = np.full(wish.frames, wish.truncation, np.float32)
        else:
            latents = truncate(latents, wish.truncation)
        if self.document.classes:
            inputs["class"] = _classes(wish, len(self.document.classes))
        return inputs | {"z": latents.astype(np.float32)}

    def _draw(self, inputs: Mapping[str, NDArray[Any]]) -> Frames:
        try:
            (pictures,) = self._session.run(["image"], dict(inputs))
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise BackendFault("ONNX Runtime failed", where=self.document.file, found=_first_line(error)) from error
        wanted = (len(inputs["z"]), 3, self.document.height, self.document.width)
        if pictures.shape != wanted:
            found = f"{_shape(list(pictures.shape))}, promised {_shape(list(wanted))}"
            raise BadOutput("pictures of another shape", where=self.document.file, found=found)
        if not np.isfinite(pictures).all():
            raise BadOutput("the model's pictures hold values that are no numbers", where=self.document.file)
        return _bytes(pictures, self.document.range)


def _session(checked: CheckedGenerator, threads: int, *, gpu: bool) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session; a file that it cannot load is `InvalidInput`."""
    import onnxruntime

    provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise EnvironmentFault(
            "this ONNX Runtime cannot use a GPU",
            where="spec.resources.gpus",
            found=", ".join(onnxruntime.get_available_providers()),
            fix="Install onnxruntime-gpu in place of onnxruntime, or set gpus to 0 to serve on the CPU",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone: what matters of a warning is checked above
    # Idle threads that spin for the next pass would take the cores of everything else in the pod.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(os.fspath(checked.file), options, providers=[provider])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise InvalidInput(
            "ONNX Runtime cannot load the model", where=checked.document.file, found=_first_line(error)
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _check_wish(wish: Wish, document: GeneratorDocument) -> None:
    """Refuse what this model cannot fulfil; nothing of a wish is dropped in silence."""
    for name, seed in (("seed", wish.seed), ("end_seed", wish.end_seed)):
        if seed is not None and seed < 0:
            raise InvalidInput("a seed is 0 or more", where=name, found=str(seed))
    if not 1 <= wish.frames <= MAX_FRAMES:
        raise InvalidInput(f"a generator draws 1 to {MAX_FRAMES} frames", where="frames", found=str(wish.frames))
    if not 0 <= wish.truncation <= 1:
        raise InvalidInput("truncation is from 0 to 1", where="truncation", found=str(wish.truncation))
    has_end = wish.end_seed is not None or wish.end_class is not None
    if has_end != (wish.frames > 1):
        raise InvalidInput(
            "a path of several frames needs an end, a single picture has none",
            where="frames",
            found=f"{wish.frames} frames {'with' if has_end else 'without'} an end",
            fix="Name end_seed or end_class for several frames, and neither for one",
        )
    for name, number in (("class_index", wish.class_index), ("end_class", wish.end_class)):
        if number is not None:
            _check_class(number, document.classes, name)


def _check_class(number: int, classes: tuple[str, ...] | None, where: str) -> None:
    if classes is None:
        raise Unsupported("this generator has no classes", where=where, found=str(number), fix="Leave it out")
    if not 0 <= number < len(classes):
        raise InvalidInput("no such class", where=where, found=str(number), fix=f"Classes are 0 to {len(classes) - 1}")


def _classes(wish: Wish, count: int) -> NDArray[np.int64]:
    """The class of each frame [frames]: the first up to the middle, the last from there on."""
    first = class_of(wish.seed, count) if wish.class_index is None else wish.class_index
    last = first if wish.end_class is None else wish.end_class
    return np.where(np.arange(wish.frames) * 2 < wish.frames, first, last).astype(np.int64)


def _bytes(pictures: NDArray[np.float32], limits: tuple[float, float]) -> Frames:
    """[N, 3, H, W] between `limits` to bytes [N, H, W, 3]; what lies outside becomes black or white."""
    low, high = limits
    scaled = (pictures.transpose(0, 2, 3, 1) - low) * (255 / (high - low))
    return np.asarray(np.rint(scaled).clip(0, 255), np.uint8)
