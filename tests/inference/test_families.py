"""Every family with tiny random weights: the engine gives what the stock pipeline gives, alone and joined."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny
import torch
from asking import Submit, png, request, submitter
from comparing import TOLERANCE, Asked, Frames, difference, drawn, drawn_together, grey, joined_passes
from PIL import Image

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import FAMILIES as CONTRACT
from easel_api.tasks import TAKES, Task
from easel_inference.engine.families import FAMILIES
from easel_inference.generation import Failed

pytestmark = pytest.mark.engine

SIDE = 64
STEPS = 3
GUIDANCE = 9.0
"""No pipeline's default, so that one which never arrives shows."""
GRADIENT = Image.fromarray(np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8))
HALF = Image.fromarray(np.where(np.arange(SIDE) < SIDE // 2, 0, 255).astype(np.uint8)[None].repeat(SIDE, 0))
TASKS = (
    Task.TEXT_TO_IMAGE,
    Task.IMAGE_TO_IMAGE,
    Task.INPAINT,
    Task.TEXT_TO_VIDEO,
    Task.IMAGE_TO_VIDEO,
    Task.VIDEO_TO_VIDEO,
)
FRAMES = {"Wan": 5, "WanImageToVideo": 5, "LTX": 9, "StableVideoDiffusion": 4}


def test_every_family_of_the_contract_is_served_and_tested() -> None:
    assert set(FAMILIES) == set(CONTRACT) - {"Onnx"}
    assert set(FAMILIES) == {family_of(folder) for folder in tiny.PIPELINES}


def family_of(folder: str) -> str:
    return folder.partition(" ")[0]


def side(family: str) -> int:
    return 96 if family == "LTX" else SIDE


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module", params=list(tiny.PIPELINES))
def served(request: pytest.FixtureRequest, folders: Path) -> Iterator[tuple[str, Path, Any]]:
    """A family's name, its folder and an engine that serves it."""
    from easel_inference.engine.engine import Engine

    family = family_of(request.param)
    folder = tiny.write(request.param, folders / request.param)
    spec = ModelDeploymentSpec.model_validate(
        {
            "model": {"source": f"file://{folder}", "family": family},
            "engine": {"dtype": "float32", "shapes": [{"width": side(family), "height": side(family)}]},
        }
    )
    engine = Engine(spec, claims=Path("/nowhere"), threads=1, retained_bytes=0)
    yield family, folder, engine
    engine.close()


def picture(family: str) -> Image.Image:
    return GRADIENT.resize((side(family), side(family)))


def clip(family: str) -> list[Image.Image]:
    return [picture(family).rotate(10 * index) for index in range(FRAMES[family])]


def encoded(shown: list[Image.Image]) -> bytes:
    import io

    target = io.BytesIO()
    shown[0].save(target, "WEBP", save_all=True, append_images=shown[1:], lossless=True)
    return target.getvalue()


def asked(family: str, task: Task, seed: int) -> Asked:
    """A request, and its inputs."""
    takes, size = TAKES[task], side(family)
    fields: dict[str, Any] = {"steps": STEPS, "seed": seed, "width": size, "height": size, "guidance_scale": GUIDANCE}
    if takes.video:
        fields |= {"frames": FRAMES[family], "encoding": "webp"}
    if takes.strength and family in (
        "StableDiffusion",
        "StableDiffusionXL",
        "StableDiffusion3",
        "Flux",
        "QwenImage",
        "ZImage",
        "Wan",
    ):
        fields["strength"] = 0.7
    inputs = {"image": png(picture(family))} if takes.image else {}
    inputs |= {"mask": png(HALF.resize((size, size)))} if takes.mask else {}
    inputs |= {"clip": encoded(clip(family))} if takes.clip else {}
    prompt = "" if family == "StableVideoDiffusion" else f"a red mug {'ab'[seed % 2]}"
    return request(prompt, task, **fields), inputs


def stock(family: str, folder: Path, task: Task, seed: int) -> Frames:
    """What the stock pipeline gives for the same, called as its documentation says."""
    cls = getattr(diffusers, FAMILIES[family].tasks[task])
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    if type(pipeline) is not cls:
        pipeline = cls(
            **{
                name: value
                for name, value in pipeline.components.items()
                if name in inspect.signature(cls.__init__).parameters
            }
        )
    pipeline.set_progress_bar_config(disable=True)
    wanted, _ = asked(family, task, seed)
    offered = {
        "prompt": wanted.prompt,
        "negative_prompt": "",
        "width": side(family),
        "height": side(family),
        "num_frames": FRAMES.get(family),
        "image": picture(family),
        "mask_image": HALF.resize((side(family), side(family))),
        "video": clip(family) if TAKES[task].clip else None,
        "strength": wanted.strength,
        "fps": 8,
        "frame_rate": 8,
    }
    offered[
        {"QwenImage": "true_cfg_scale", "StableVideoDiffusion": "max_guidance_scale"}.get(family, "guidance_scale")
    ] = GUIDANCE
    taken = inspect.signature(cls.__call__).parameters
    arguments = {name: value for name, value in offered.items() if name in taken and value is not None}
    if not TAKES[task].image:
        arguments.pop("image", None)
    with torch.inference_mode():
        result = pipeline(
            num_inference_steps=STEPS,
            output_type="pt",
            generator=torch.Generator().manual_seed(seed),
            return_dict=False,
            **arguments,
        )[0]
    return grey(result)


def tasks_of(engine: Any) -> list[Task]:
    return [task for task in TASKS if task in engine.info.tasks]


def test_a_folder_has_the_tasks_of_its_family_that_use_all_its_denoisers(served: tuple[str, Path, Any]) -> None:
    family, folder, engine = served
    lacking = set(CONTRACT[family]) - set(engine.info.tasks)
    # diffusers' pipeline from clip to clip knows one denoiser: the late steps would be drawn by the wrong one.
    assert lacking == ({Task.VIDEO_TO_VIDEO} if "two denoisers" in folder.name else set())


def test_the_engine_gives_what_the_stock_pipeline_gives(served: tuple[str, Path, Any]) -> None:
    family, folder, engine = served
    for task in tasks_of(engine):
        given, expected = drawn(engine, asked(family, task, 1)), stock(family, folder, task, seed=1)
        if TAKES[task].mask:  # outside the mask the engine keeps the input itself
            given, expected = given[:, :, side(family) * 3 // 4 :], expected[:, :, side(family) * 3 // 4 :]
        assert difference(given, expected) <= TOLERANCE, task


def test_a_wrong_prompt_or_guidance_would_show(served: tuple[str, Path, Any]) -> None:
    """Else the comparisons with the stock pipeline would compare less than they say."""
    family, _, engine = served
    task = tasks_of(engine)[0]
    wanted, inputs = asked(family, task, 1)
    expected = drawn(engine, (wanted, inputs))
    others = [{"guidance_scale": 5.0}, *([] if family == "StableVideoDiffusion" else [{"prompt": "sky over hills"}])]
    for other in others:
        assert difference(drawn(engine, (wanted.model_copy(update=other), inputs)), expected) > TOLERANCE, other


def test_joined_gives_what_alone_gives(served: tuple[str, Path, Any]) -> None:
    family, _, engine = served
    for task in tasks_of(engine):
        several = [asked(family, task, seed) for seed in (1, 2, 3)]
        alone = [drawn(engine, each) for each in several]
        before = joined_passes(engine)
        joined = drawn_together(engine, several)
        assert joined_passes(engine) > before, f"{task}: nothing was joined, so nothing was compared"
        for one, other in zip(alone, joined, strict=True):
            assert difference(one, other) <= TOLERANCE, task


def test_what_a_family_does_not_heed_is_refused(served: tuple[str, Path, Any]) -> None:
    family, _, engine = served
    submit: Submit = submitter(engine)
    wanted, inputs = asked(family, tasks_of(engine)[0], seed=1)
    heeds = family not in ("Flux", "Flux2", "StableVideoDiffusion")
    outcome = submit(wanted.model_copy(update={"negative_prompt": "blurry"}), **inputs).result().event
    assert isinstance(outcome, Failed) is not heeds, outcome
    if family == "StableVideoDiffusion":
        error = submit(wanted.model_copy(update={"prompt": "a mug"}), **inputs).result().event.error
        assert (error.reason, error.where) == ("Unsupported", "prompt")
