"""Model folders that must not be loaded: code, pickles, damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from easel_api.errors import EaselError, InvalidInput, NotFound, UnsafeModel, Unsupported
from easel_inference.engine.inspection import check_adapter, check_model, digest_of
from easel_inference.engine.sources import BUILTINS, folder_of

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the miniature to spoil."""
    return Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_the_miniature_is_fine(folder: Path) -> None:
    checked = check_model(folder)
    assert checked.family == "StableDiffusion"
    assert checked.classes["scheduler"] == "DDIMScheduler"
    assert checked.digest == check_model(BUILTINS["builtin://miniature"]).digest


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.bin", "a.ckpt", "text_encoder/x.PT", "w.pth", "vae/w.h5", "w.pkl", "w.npz"]
)
def test_pickles_are_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeModel, match="pickle") as caught:
        check_model(folder)
    assert caught.value.where == name
    assert "safetensors" in caught.value.fix


@pytest.mark.parametrize("name", ["pipeline.py", "unet/modeling.py", "vae/native.so"])
def test_code_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).write_text("raise SystemExit('code of the folder ran')")
    with pytest.raises(UnsafeModel, match="hold code") as caught:
        check_model(folder)
    assert caught.value.where == name


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "unet" / "notes.txt").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeModel, match="leaves the model folder") as caught:
        check_model(folder)
    assert (caught.value.where, caught.value.found) == ("unet/notes.txt", "/etc/hostname")


def test_a_link_to_a_folder_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "unet", tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeModel, match="leaves the model folder"):
        check_model(folder)


def test_a_link_inside_the_folder_is_fine(folder: Path) -> None:
    (folder / "copy.json").symlink_to("model_index.json")
    check_model(folder)


@pytest.mark.parametrize(
    "entry",
    [["my_pipeline", "UNet"], ["diffusers", "FluxTransformer2DModel"], ["os", "system"], ["diffusers"], [1, 2, 3]],
)
def test_unknown_components_are_refused(folder: Path, entry: list[Any]) -> None:
    edit(folder / "model_index.json", lambda index: index.update(unet=entry))
    with pytest.raises(UnsafeModel) as caught:
        check_model(folder)
    assert caught.value.where == "model_index.json: unet"


def test_an_unknown_name_of_a_component_is_refused(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(extra=["diffusers", "UNet2DConditionModel"]))
    with pytest.raises(UnsafeModel):
        check_model(folder)


@pytest.mark.parametrize(
    ("file", "key"), [("model_index.json", "custom_pipeline"), ("text_encoder/config.json", "auto_map")]
)
def test_requests_for_remote_code_are_refused(folder: Path, file: str, key: str) -> None:
    edit(folder / file, lambda value: value.update({key: "somebody/pipeline"}))
    with pytest.raises(UnsafeModel, match=key) as caught:
        check_model(folder)
    assert caught.value.where == file


def test_another_pipeline_is_unsupported_not_unsafe(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(_class_name="FluxPipeline"))
    with pytest.raises(Unsupported) as caught:
        check_model(folder)
    assert "FluxPipeline" in caught.value.found


@pytest.mark.parametrize("name", ["model_index.json", UNET, "vae/config.json", "scheduler/scheduler_config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFound) as caught:
        check_model(folder)
    assert caught.value.where == name


@pytest.mark.parametrize("keep", [0, 4, 200, 1_000_000])
def test_a_truncated_file_is_named(folder: Path, keep: int) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:keep])
    with pytest.raises(InvalidInput) as caught:
        check_model(folder)
    assert caught.value.where == UNET
    assert "Copy the file again" in caught.value.fix


def test_a_damaged_header_is_named(folder: Path) -> None:
    data = bytearray((folder / UNET).read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    (folder / UNET).write_bytes(data)
    with pytest.raises(InvalidInput, match="damaged") as caught:
        check_model(folder)
    assert caught.value.where == UNET


def test_a_configuration_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(InvalidInput, match="not valid JSON") as caught:
        check_model(folder)
    assert caught.value.where == "unet/config.json"


def test_a_shard_that_leaves_the_folder_is_refused(folder: Path) -> None:
    index = {"weight_map": {"a": "../../other.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeModel, match="shard"):
        check_model(folder)


def test_another_digest_than_the_pinned_one_is_refused_with_both(folder: Path) -> None:
    pinned = digest_of(folder)
    assert check_model(folder, digest=pinned).digest == pinned
    edit(folder / "scheduler" / "scheduler_config.json", lambda config: config.update(beta_end=0.03))
    with pytest.raises(InvalidInput) as caught:
        check_model(folder, digest=pinned)
    assert caught.value.where == "spec.model.digest"
    assert pinned in caught.value.found
    assert digest_of(folder) in caught.value.found


def test_a_renamed_file_changes_the_digest(folder: Path) -> None:
    before = digest_of(folder)
    (folder / "model_index.json").rename(folder / "index.json")
    assert digest_of(folder) != before


def test_a_model_is_no_adapter() -> None:
    with pytest.raises(EaselError):
        check_adapter(BUILTINS["builtin://miniature"])
    check_adapter(BUILTINS["builtin://miniature/motion"])


def test_a_claim_holds_its_paths(tmp_path: Path) -> None:
    (tmp_path / "models" / "sd").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    assert folder_of("pvc://models/sd", tmp_path) == tmp_path / "models" / "sd"
    with pytest.raises(InvalidInput, match="leaves its claim"):
        folder_of("pvc://models/../secret", tmp_path)
    with pytest.raises(NotFound, match="not mounted"):
        folder_of("pvc://other/sd", tmp_path)
    with pytest.raises(NotFound, match="does not exist"):
        folder_of("pvc://models/nothing", tmp_path)


def test_an_unknown_builtin_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        folder_of("builtin://flux", tmp_path)
    assert "builtin://miniature" in caught.value.fix
