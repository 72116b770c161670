"""ControlNets and LoRAs of both families that take them, with tiny random weights: the engine gives what stock gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import torch
from asking import png, request
from comparing import TOLERANCE, Asked, Frames, difference, drawn, drawn_together, grey, joined_passes
from PIL import Image

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import Task
from easel_inference.generation import AdapterUse

pytestmark = pytest.mark.engine

SIDE = 64
STEPS = 3
GUIDANCE = 3.0
DEVIATION = 0.1
"""Of the random weights that a ControlNet has here where it is zero before training: enough to show, and not saturated."""

FOLLOWED = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
SEEDS = (1, 2, 3)


@dataclass
class Served:
    """An engine with both adapters, and the folders of what it serves."""

    engine: Any
    base: Path
    net: Path
    lora: Path

    def stock(self) -> Any:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(self.base)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@pytest.fixture(scope="module", params=["StableDiffusion", "StableDiffusionXL"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from easel_inference.engine.engine import Engine

    folder = tmp_path_factory.mktemp(request.param)
    base = tiny.write(request.param, folder / "base")
    net, lora = tiny.write_controlnet(base, folder / "net", DEVIATION), tiny.write_lora(base, folder / "lora")
    spec = ModelDeploymentSpec.model_validate(
        {
            "model": {"source": f"file://{base}", "family": request.param},
            "adapters": [
                {"name": "net", "kind": "ControlNet", "source": f"file://{net}"},
                {"name": "style", "kind": "LoRA", "source": f"file://{lora}"},
            ],
            "engine": {"dtype": "float32", "shapes": [{"width": SIDE, "height": SIDE}]},
        }
    )
    engine = Engine(spec, claims=Path("/nowhere"), threads=1, retained_bytes=0)
    yield Served(engine, base, net, lora)
    engine.close()


def asked(seed: int, *adapters: AdapterUse, task: Task = Task.TEXT_TO_IMAGE) -> Asked:
    fields: dict[str, Any] = {"steps": STEPS, "width": SIDE, "height": SIDE, "guidance_scale": GUIDANCE}
    wanted = request(f"a red mug {'ab'[seed % 2]}", task, seed=seed, adapters=adapters, **fields)
    return wanted, {"control": png(FOLLOWED)} if task is Task.CONTROL_TO_IMAGE else {}


def styled(seed: int, weight: float) -> Asked:
    return asked(seed, AdapterUse(name="style", weight=weight))


def controlled(seed: int, weight: float = 1.0) -> Asked:
    return asked(seed, AdapterUse(name="net", weight=weight), task=Task.CONTROL_TO_IMAGE)


def made(pipeline: Any, asked: Asked, **more: Any) -> Frames:
    wanted, _ = asked
    with torch.inference_mode():
        return grey(
            pipeline(
                prompt=wanted.prompt, negative_prompt="", width=SIDE, height=SIDE, guidance_scale=GUIDANCE,
                num_inference_steps=STEPS, output_type="pt", return_dict=False,
                generator=torch.Generator().manual_seed(wanted.seed), **more,
            )[0]
        )  # fmt: skip


def steered(served: Served) -> Any:
    """The stock ControlNet pipeline."""
    plain, kind = served.stock(), type(served.stock()).__name__.replace("Pipeline", "ControlNetPipeline")
    cls = getattr(diffusers, kind)
    taken = {name: part for name, part in plain.components.items() if name in inspect.signature(cls).parameters}
    pipeline = cls(**taken, controlnet=diffusers.ControlNetModel.from_pretrained(served.net))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_a_controlnet_steers_as_in_the_stock_pipeline(served: Served, weight: float) -> None:
    expected = made(steered(served), controlled(1), image=FOLLOWED, controlnet_conditioning_scale=weight)
    assert difference(drawn(served.engine, controlled(1, weight)), expected) <= TOLERANCE
    assert difference(expected, made(served.stock(), asked(1))) > TOLERANCE, (
        "it steers nothing, so nothing was compared"
    )


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_a_lora_changes_what_it_changes_in_the_stock_pipeline(served: Served, weight: float) -> None:
    pipeline = served.stock()
    pipeline.load_lora_weights(served.lora, adapter_name="style")
    pipeline.set_adapters(["style"], [weight])
    expected, plain = made(pipeline, asked(1)), made(served.stock(), asked(1))
    assert difference(drawn(served.engine, styled(1, weight)), expected) <= TOLERANCE
    assert difference(expected, plain) > TOLERANCE, "it changes nothing, so nothing was compared"
    assert difference(drawn(served.engine, asked(1)), plain) <= TOLERANCE, "the next request without it still has it"


def test_requests_with_adapters_join_their_like_and_give_what_alone_gives(served: Served) -> None:
    for kind in (controlled, lambda seed: styled(seed, 1.0)):
        alone = [drawn(served.engine, kind(seed)) for seed in SEEDS]
        before = joined_passes(served.engine)
        together = drawn_together(served.engine, [kind(seed) for seed in SEEDS])
        assert joined_passes(served.engine) > before
        for one, other in zip(alone, together, strict=True):
            assert difference(one, other) <= TOLERANCE


def test_requests_of_other_adapters_at_once_keep_to_their_own(served: Served) -> None:
    several = [asked(1), styled(1, 1.0), styled(1, 0.4), controlled(1)]
    alone = [drawn(served.engine, each) for each in several]
    for one, other in zip(alone, drawn_together(served.engine, several), strict=True):
        assert difference(one, other) <= TOLERANCE
