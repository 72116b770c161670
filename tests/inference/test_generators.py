"""Generators in ONNX: what their folder must hold, and what they draw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from asking import Submit, opened, request, submitter
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scenes import frames

from easel_api.errors import BackendFault, BadOutput, EaselError, InvalidInput, NotFound, UnsafeModel, Unsupported
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import Task
from easel_inference.engine.generators import Generator, Wish, check_generator
from easel_inference.engine.sources import BUILTINS
from easel_inference.generation import Finished
from easel_inference.miniature.judge import load_judge, pictures_of
from easel_inference.miniature.studio import PRODUCTS

pytestmark = pytest.mark.engine

GAN = BUILTINS["builtin://miniature/generator-gan"]
LATENT, SIDE = 4, 8


def tiny(folder: Path, *, classes: int = 0, scale: float = 0.1, **document: Any) -> Path:
    """A generator whose pixels are a matrix times z (and the class): as small as the contract allows."""
    weights = np.random.default_rng(0).normal(size=(LATENT, 3 * SIDE * SIDE)).astype(np.float32) * scale
    nodes = [
        helper.make_node("MatMul", ["z", "weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", LATENT])]
    if classes:
        inputs.append(helper.make_tensor_value_info("class", TensorProto.INT64, ["N"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1, 3, SIDE, SIDE], np.int64), "shape"),
        ],
    )
    folder.mkdir(exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "generator.onnx"
    )
    described = {"_class_name": "OnnxGenerator", "latent": LATENT, "width": SIDE, "height": SIDE} | document
    if classes:
        described["classes"] = [f"class {index}" for index in range(classes)]
    (folder / "generator.json").write_text(json.dumps(described))
    return folder


def edit(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_model(folder / "generator.onnx")
    change(model)
    onnx.save(model, folder / "generator.onnx")


def outside(model: onnx.ModelProto) -> None:
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_latent(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = LATENT + 1


def no_latent(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "noise"


def flat_latent(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim.pop()


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "picture"
    model.graph.node[1].output[0] = "picture"


@pytest.mark.parametrize(
    ("change", "error", "where"),
    [
        (outside, UnsafeModel, "generator.onnx: weights"),
        (foreign, UnsafeModel, "generator.onnx: MatMul"),
        (fixed_batch, InvalidInput, "generator.onnx: z"),
        (other_latent, InvalidInput, "generator.onnx: z"),
        (no_latent, InvalidInput, "generator.onnx"),
        (flat_latent, InvalidInput, "generator.onnx: z"),
        (other_output, InvalidInput, "generator.onnx"),
    ],
)
def test_a_graph_outside_the_contract_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], error: type[EaselError], where: str
) -> None:
    folder = tiny(tmp_path / "model")
    edit(folder, change)
    with pytest.raises(error) as caught:
        check_generator(folder)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"latent": 0}, "generator.json: latent"),
        ({"range": [1, -1]}, "generator.json"),
        ({"file": "../model.onnx"}, "generator.json: file"),
        ({"zebra": 1}, "generator.json: zebra"),
    ],
)
def test_a_wrong_document_is_refused(tmp_path: Path, document: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_generator(tiny(tmp_path / "model", **document))
    assert caught.value.where == where


def test_missing_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "model")
    (folder / "generator.onnx").write_bytes(b"not a protobuf message at all")
    with pytest.raises(InvalidInput, match="not a whole ONNX model"):
        check_generator(folder)
    (folder / "generator.onnx").unlink()
    with pytest.raises(NotFound):
        check_generator(folder)
    other = tiny(tmp_path / "other", _class_name="StyleGAN3")
    with pytest.raises(Unsupported, match="StyleGAN3"):
        check_generator(other)
    pickled = tiny(tmp_path / "pickled")
    (pickled / "weights.pkl").write_bytes(b"x")
    with pytest.raises(UnsafeModel):
        check_generator(pickled)


def test_a_pinned_digest_that_differs_stops_the_load(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "model")
    digest = check_generator(folder).digest
    assert check_generator(folder, digest=digest).digest == digest
    with pytest.raises(InvalidInput, match="pinned"):
        check_generator(folder, digest="sha256:" + "0" * 64)


def test_values_that_are_no_numbers_are_never_a_picture(tmp_path: Path) -> None:
    generator = Generator(check_generator(tiny(tmp_path / "model", scale=float("nan"))))
    with pytest.raises(BadOutput, match="no numbers"):
        generator.generate(Wish(1))


def test_a_graph_that_fails_is_a_typed_error(tmp_path: Path) -> None:
    def broken(model: onnx.ModelProto) -> None:
        (shape,) = [tensor for tensor in model.graph.initializer if tensor.name == "shape"]
        shape.CopyFrom(numpy_helper.from_array(np.array([-1, 3, SIDE, SIDE + 1], np.int64), "shape"))

    folder = tiny(tmp_path / "model")
    edit(folder, broken)
    with pytest.raises((BackendFault, InvalidInput)):
        Generator(check_generator(folder)).generate(Wish(1))


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        (Wish(-1), "seed"),
        (Wish(1, frames=0), "frames"),
        (Wish(1, frames=100_000, end_seed=2), "frames"),
        (Wish(1, frames=2), "frames"),
        (Wish(1, truncation=1.5), "truncation"),
        (Wish(1, class_index=3), "class_index"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_names_its_field(tmp_path: Path, wish: Wish, where: str) -> None:
    generator = Generator(check_generator(tiny(tmp_path / "model")))
    with pytest.raises(InvalidInput) as caught:
        generator.generate(wish)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        (Wish(1, class_index=3), "class_index"),
        (Wish(1, class_index=-1), "class_index"),
        (Wish(1, frames=2, end_class=3), "end_class"),
    ],
)
def test_a_class_that_the_model_lacks_is_refused(tmp_path: Path, wish: Wish, where: str) -> None:
    generator = Generator(check_generator(tiny(tmp_path / "model", classes=3)))
    with pytest.raises(InvalidInput, match="no such class") as caught:
        generator.generate(wish)
    assert caught.value.where == where


def test_frames_do_not_depend_on_how_many_are_drawn_at_once(tmp_path: Path) -> None:
    checked = check_generator(tiny(tmp_path / "model"))
    wish = Wish(3, frames=11, end_seed=4)
    one, many = Generator(checked, batch_limit=1).generate(wish), Generator(checked, batch_limit=16).generate(wish)
    assert np.abs(one.astype(int) - many).max() <= 1


def test_truncation_makes_pictures_more_alike(tmp_path: Path) -> None:
    generator = Generator(check_generator(tiny(tmp_path / "model")))

    def spread(truncation: float) -> float:
        drawn = [generator.generate(Wish(seed, truncation=truncation))[0] for seed in range(8)]
        return float(np.std(drawn, axis=0).mean())

    assert spread(1.0) > 2 * spread(0.3) > spread(0.0) == 0


@pytest.fixture(scope="module")
def gan() -> Iterator[Any]:
    from easel_inference.engine.engine import Engine

    spec = ModelDeploymentSpec.model_validate({"model": {"source": "builtin://miniature/generator-gan"}})
    engine = Engine(spec, claims=Path("/nowhere"), threads=1, retained_bytes=0)
    yield engine
    engine.close()


@pytest.fixture
def submit(gan: Any) -> Submit:
    return submitter(gan)


def test_the_gan_draws_the_class_that_the_prompt_names(submit: Submit) -> None:
    asked = [
        request(product, Task.LATENT_TO_IMAGE, seed=seed, truncation=0.7) for seed in range(4) for product in PRODUCTS
    ]
    messages = [running.result() for running in [submit(each) for each in asked]]
    pictures = [opened(message.payload).resize((128, 128), Image.Resampling.BICUBIC) for message in messages]
    answers = [answer["product"] for answer in load_judge().read(pictures_of(pictures))]
    agreed = sum(answer == each.prompt for answer, each in zip(answers, asked, strict=True)) / len(asked)
    assert agreed >= 0.8, answers


def test_the_ends_of_a_walk_are_the_pictures_of_its_seeds(submit: Submit) -> None:
    walk = request("mug", Task.LATENT_TO_VIDEO, seed=1, end_seed=2, frames=24, encoding="webp")
    shown = frames(submit(walk))
    for frame, seed in ((shown[0], 1), (shown[-1], 2)):
        alone = np.asarray(opened(submit(request("mug", Task.LATENT_TO_IMAGE, seed=seed)).result().payload), np.int16)
        assert np.abs(frame - alone).mean() < 6


def test_a_walk_through_a_vae_is_smooth() -> None:
    """A GAN of one place for each environment jumps between them; a VAE's latents have no such borders."""
    generator = Generator(check_generator(BUILTINS["builtin://miniature/generator-vae"]))
    for seed in range(5):
        shown = generator.generate(Wish(seed, frames=25, end_seed=seed + 100)).astype(np.int16)
        steps = np.abs(np.diff(shown, axis=0)).mean((1, 2, 3))
        assert steps.max() < max(4.0, np.abs(shown[0] - shown[-1]).mean() / 3)


def test_equal_requests_give_equal_bytes_whatever_else_runs(submit: Submit) -> None:
    asked = request("chair", Task.LATENT_TO_IMAGE, seed=9)
    alone = submit(asked).result().payload
    others = [submit(request("ball", Task.LATENT_TO_IMAGE, seed=seed)) for seed in range(6)]
    assert submit(asked).result().payload == alone
    assert all(isinstance(each.result().event, Finished) for each in others)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (request("zebra", Task.LATENT_TO_IMAGE), "prompt"),
        (request("mug", Task.TEXT_TO_IMAGE), "task"),
        (request("mug", Task.LATENT_TO_IMAGE, width=128, height=128), "width"),
        (request("mug", Task.LATENT_TO_VIDEO, end_prompt="zebra", frames=4), "end_prompt"),
        (request("mug", Task.LATENT_TO_IMAGE, negative_prompt="blurry"), "negative_prompt"),
    ],
)
def test_what_a_generator_cannot_do_is_refused_with_its_field(submit: Submit, asked: Any, where: str) -> None:
    error = submit(asked).result().event.error
    assert error.where == where


def test_a_cancelled_walk_stops_between_passes(submit: Submit) -> None:
    running = submit(request("mug", Task.LATENT_TO_VIDEO, frames=256, end_seed=3))
    running.until("step")
    running.handle.cancel()
    assert running.result().event.error.reason == "Cancelled"


def test_the_built_in_generators_hold_nothing_of_the_machine_that_made_them(tmp_path: Path) -> None:
    for name in ("generator-gan", "generator-vae"):
        folder = Path(shutil.copytree(BUILTINS[f"builtin://miniature/{name}"], tmp_path / name))
        assert check_generator(folder).parameters > 10_000
        assert b".py" not in (folder / "generator.onnx").read_bytes()
