"""Model folders that must not be loaded: code, pickles, damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from easel_api.errors import EaselError, InvalidInput, NotFound, UnsafeModel, Unsupported
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import AdapterKind
from easel_inference.engine.inspection import check, check_adapter, check_model, digest_of, weights_of
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


def test_the_weights_that_will_be_loaded_are_counted_from_their_headers(folder: Path) -> None:
    (folder / "unet" / "not-loaded.safetensors").write_bytes((folder / UNET).read_bytes())
    weights = weights_of(check_model(folder))
    assert weights is not None
    parts = {
        part: sum(tensor.size for tensor in load_file(next(folder.glob(f"{part}/*model.safetensors"))).values())
        for part in ("unet", "vae", "text_encoder")
    }
    assert weights.denoisers == parts["unet"]
    assert weights.others == parts["vae"] + parts["text_encoder"]
    assert weights_of(check_model(BUILTINS["builtin://miniature/generator-gan"])) is None


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
    edit(folder / "model_index.json", lambda index: index.update(_class_name="KandinskyPipeline"))
    with pytest.raises(Unsupported) as caught:
        check_model(folder)
    assert "KandinskyPipeline" in caught.value.found


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


@pytest.mark.parametrize("kind", [AdapterKind.MOTION, AdapterKind.CONTROL_NET])
def test_a_model_is_no_adapter(kind: AdapterKind) -> None:
    with pytest.raises(EaselError):
        check_adapter(BUILTINS["builtin://miniature"], kind)


def test_an_adapter_of_another_kind_is_refused() -> None:
    assert check_adapter(BUILTINS["builtin://miniature/motion"], AdapterKind.MOTION).class_name == "MotionAdapter"
    with pytest.raises(Unsupported, match="not a ControlNet adapter") as caught:
        check_adapter(BUILTINS["builtin://miniature/motion"], AdapterKind.CONTROL_NET)
    assert caught.value.found == "MotionAdapter"


def lora(folder: Path, **metadata: str) -> dict[str, str]:
    """The entry of a manifest for a LoRA of one tensor."""
    folder.mkdir()
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "unet.conv_in.lora_A.weight": tensor}).encode()
    (folder / "style.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return {"name": "style", "kind": "LoRA", "source": f"file://{folder}"}


def spec(model: str, *adapters: dict[str, str]) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"source": model}, "adapters": list(adapters)})


MINIATURE = "builtin://miniature"
CONTROL = {"name": "seg", "kind": "ControlNet", "source": "builtin://miniature/controlnet-segmentation"}


def test_adapters_are_checked_by_name(tmp_path: Path) -> None:
    checked = check(spec(MINIATURE, CONTROL, lora(tmp_path / "lora")), tmp_path)
    assert {name: adapter.class_name for name, adapter in checked.adapters.items()} == {
        "seg": "ControlNetModel",
        "style": "",
    }
    assert checked.adapters["style"].weights == tmp_path / "lora" / "style.safetensors"
    assert checked.adapters["style"].digest == digest_of(tmp_path / "lora")
    assert list(checked.of_kind(AdapterKind.LORA)) == ["style"]


@pytest.mark.parametrize("names", [[], ["a.safetensors", "b.safetensors"]])
def test_a_lora_is_exactly_one_file(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidInput, match="exactly one") as caught:
        check_adapter(tmp_path, AdapterKind.LORA)
    assert caught.value.found == (", ".join(names) or "none")


def test_a_lora_of_this_model_is_fine_and_one_of_another_is_refused_with_both_digests(tmp_path: Path) -> None:
    digest, other = check_model(BUILTINS[MINIATURE]).digest, "sha256:" + "1" * 64
    check(spec(MINIATURE, lora(tmp_path / "own", base_model_digest=digest)), tmp_path)
    with pytest.raises(InvalidInput, match="another model") as caught:
        check(spec(MINIATURE, lora(tmp_path / "strange", base_model_digest=other)), tmp_path)
    assert digest in caught.value.found
    assert other in caught.value.found
    assert "style" in caught.value.where


def test_a_pickle_in_an_adapters_folder_is_refused(tmp_path: Path) -> None:
    entry = lora(tmp_path / "lora")
    (tmp_path / "lora" / "old.pt").write_bytes(b"")
    with pytest.raises(UnsafeModel, match="pickle"):
        check(spec(MINIATURE, entry), tmp_path)


def test_a_family_without_adapters_refuses_them_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "generator.json").write_text("{}")
    with pytest.raises(Unsupported, match="Onnx models take no such adapter") as caught:
        check(spec(f"file://{tmp_path}", CONTROL), tmp_path)
    assert (caught.value.where, caught.value.found) == ("spec.adapters[0].kind", "ControlNet")


def test_a_generators_folder_is_checked_for_what_may_lie_in_it(tmp_path: Path) -> None:
    (tmp_path / "generator.json").write_text("{}")
    assert check_model(tmp_path).family == "Onnx"
    with pytest.raises(InvalidInput, match="another family"):
        check_model(tmp_path, family="StableDiffusion")
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(UnsafeModel):
        check_model(tmp_path)


def test_a_setting_that_nobody_knows_is_not_dropped_in_silence(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(boundary_ratio=0.5))
    with pytest.raises(Unsupported) as caught:
        check_model(folder)
    assert caught.value.where == "model_index.json: boundary_ratio"


def test_half_precision_and_sharded_weights_are_weights(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    vae = folder / "vae"
    name = "diffusion_pytorch_model-00001-of-00001.safetensors"
    (vae / "diffusion_pytorch_model.safetensors").rename(vae / name)
    index = {"weight_map": {"a": name}}
    (vae / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    check_model(folder)
    (vae / name).unlink()
    with pytest.raises(NotFound) as caught:
        check_model(folder)
    assert caught.value.where == f"vae/{name}"


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
