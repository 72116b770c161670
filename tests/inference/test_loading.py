"""What a checked folder becomes: parts on a device, adapters by name, and what the engine says of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from easel_api.errors import EnvironmentFault, InvalidInput
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import Task
from easel_inference.engine import memory
from easel_inference.engine.inspection import check
from easel_inference.engine.loading import LoadedModel, load
from easel_inference.engine.sources import BUILTINS

pytestmark = pytest.mark.engine

MOTION = {"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}
CONTROL = {"name": "seg", "kind": "ControlNet", "source": "builtin://miniature/controlnet-segmentation"}


def spec(source: str = "builtin://miniature", *adapters: dict[str, str], **engine: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate(
        {"model": {"source": source}, "adapters": list(adapters), "engine": {"dtype": "float32"} | engine}
    )


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load(spec("builtin://miniature", MOTION, CONTROL), Path("/nowhere"))


def test_the_parts_are_those_of_the_folder(model: LoadedModel) -> None:
    assert sorted(model.parts) == ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
    assert model.settings == {"requires_safety_checker": False}
    assert not model.parts["unet"].training
    assert not any(weight.requires_grad for weight in model.parts["unet"].parameters())


def test_adapters_have_the_names_of_the_manifest(model: LoadedModel) -> None:
    assert list(model.controlnets) == ["seg"]
    assert type(model.controlnets["seg"]).__name__ == "ControlNetModel"
    assert sorted(model.info.adapters) == ["motion", "seg"]
    assert all(digest.startswith("sha256:") for digest in model.info.adapters.values())
    assert {Task.TEXT_TO_VIDEO, Task.SEGMENTATION_TO_IMAGE} <= set(model.info.tasks)


def test_the_motion_unet_shares_the_unets_memory(model: LoadedModel) -> None:
    own = dict(model.parts["unet"].named_parameters())["conv_in.weight"]
    assert model.motion_unet is not None
    assert dict(model.motion_unet.named_parameters())["conv_in.weight"].data_ptr() == own.data_ptr()


def test_weights_that_models_share_count_once(model: LoadedModel) -> None:
    alone = load(spec(), Path("/nowhere")).info.parameters
    control = sum(weight.numel() for weight in model.controlnets["seg"].parameters())
    motion = torch.tensor([weight.numel() for weight in model.motion_unet.parameters()]).sum()  # type: ignore[union-attr]  # fixture has one
    assert alone < model.info.parameters < alone + control + int(motion)


def test_the_limits_are_the_configurations_own(model: LoadedModel) -> None:
    assert model.limits.native == (128, 128)
    assert (model.limits.factor, model.limits.multiple, model.limits.frames) == (8, 8, 32)
    assert (model.info.width, model.info.height) == (128, 128)


def test_folders_that_were_checked_are_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = check(spec(), Path("/nowhere"), hashed=False)
    assert load(spec(), Path("/nowhere"), folders).info.digest == ""


def test_half_precision_weights_are_found_by_their_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))
    for file in folder.rglob("*model.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    loaded = load(spec(f"file://{folder}"), tmp_path)
    expected = load(spec(), tmp_path).parts["unet"].conv_in.weight
    assert torch.equal(loaded.parts["unet"].conv_in.weight, expected)


@pytest.mark.parametrize(
    ("part", "file"), [("text_encoder", "model.safetensors"), ("vae", "diffusion_pytorch_model.safetensors")]
)
def test_weights_that_are_missing_are_refused_by_the_first_name(tmp_path: Path, part: str, file: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))
    weights = load_file(folder / part / file)
    name = min(weights)
    del weights[name]
    save_file(weights, folder / part / file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="1 weights missing") as caught:
        load(spec(f"file://{folder}"), tmp_path)
    assert caught.value.where == part


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named() -> None:
    wanted = spec().model_copy(update={"resources": spec().resources.model_copy(update={"gpus": 1})})
    with pytest.raises(EnvironmentFault, match="no CUDA device"):
        load(wanted, Path("/nowhere"))


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{16 * 2**20}\n")
    monkeypatch.setattr(memory, "GROUP_LIMITS", (limit,))
    with pytest.raises(InvalidInput, match=r"[0-9]+ MiB of weights in float32, of 16 MiB") as caught:
        load(ModelDeploymentSpec.model_validate({"model": {"source": "builtin://miniature"}}), tmp_path)
    assert caught.value.where == "spec.resources.memory"
