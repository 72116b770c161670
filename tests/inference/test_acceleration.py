"""CUDA graphs and compiled blocks against the plain model; what needs a GPU says so when it skips."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from easel_inference.engine.acceleration import (
    BUCKETS,
    CACHE,
    Graphs,
    bucket,
    compile_blocks,
    keep_compiled_code,
    store_in_float8,
)

pytestmark = pytest.mark.engine

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: graphs exist on GPUs alone")


def unet(device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    from diffusers import UNet2DConditionModel

    from easel_inference.engine.sources import BUILTINS

    folder = BUILTINS["builtin://miniature"] / "unet"
    return UNet2DConditionModel.from_pretrained(folder, torch_dtype=dtype).to(device).eval().requires_grad_(False)


def arguments(rows: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    noise = torch.Generator().manual_seed(rows)
    return {
        "sample": torch.randn(rows, 4, 16, 16, generator=noise).to(device, dtype),
        "timestep": torch.arange(rows, device=device) * 10 + 1,
        "encoder_hidden_states": torch.randn(rows, 77, 192, generator=noise).to(device, dtype),
    }


@given(st.integers(1, 200))
def test_a_bucket_holds_the_rows_and_little_more(rows: int) -> None:
    size = bucket(rows)
    assert size >= rows
    assert size in BUCKETS or size == rows
    assert size <= rows * 3 / 2 + 0.5


@needs_gpu
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16])
def test_a_replayed_graph_gives_what_the_model_gives(rows: int) -> None:
    model = unet("cuda", torch.bfloat16)
    graphs = Graphs(model)
    with torch.inference_mode():
        for _ in range(3):
            asked = arguments(rows, "cuda", torch.bfloat16)
            wanted = model(**asked, return_dict=False)[0]
            assert torch.allclose(graphs(asked)[0].float(), wanted.float(), atol=0.05)
    assert len(graphs) == 1


@needs_gpu
def test_calls_of_one_bucket_share_a_graph_and_results_outlive_the_next_replay() -> None:
    model = unet("cuda", torch.bfloat16)
    graphs = Graphs(model)
    with torch.inference_mode():
        first = graphs(arguments(5, "cuda", torch.bfloat16))[0]
        kept = first.clone()
        graphs(arguments(6, "cuda", torch.bfloat16))
        assert torch.equal(first, kept)
        assert len(graphs) == 1
        assert len(first) == 5


@needs_gpu
def test_compiled_blocks_on_a_gpu_keep_their_code_for_the_next_start(tmp_path: Path) -> None:
    keep_compiled_code(tmp_path)
    model = unet("cuda", torch.bfloat16)
    compile_blocks(model)
    with torch.inference_mode():
        model(**arguments(2, "cuda", torch.bfloat16))
    assert any((tmp_path / CACHE / "inductor").rglob("*.py"))


def test_compiled_blocks_give_what_the_model_gives() -> None:
    """By dynamo alone: that the graph of a block is captured whole does not depend on the device."""
    model, asked = unet(), arguments(2)
    with torch.inference_mode():
        wanted = model(**asked, return_dict=False)[0]
        compile_blocks(model, backend="eager", fullgraph=True)
        assert torch.allclose(model(**asked, return_dict=False)[0], wanted, atol=1e-4)
    torch.compiler.reset()


def test_float8_storage_takes_half_of_bfloat16_and_draws_nearly_the_same() -> None:
    model, asked = unet(dtype=torch.bfloat16), arguments(2, dtype=torch.bfloat16)

    def stored() -> int:
        return sum(weight.nbytes for weight in model.parameters())

    with torch.inference_mode():
        wanted, before = model(**asked, return_dict=False)[0].float(), stored()
        store_in_float8(model, torch.bfloat16)
        given = model(**asked, return_dict=False)[0].float()
    assert stored() < 0.6 * before
    assert torch.nn.functional.cosine_similarity(given.flatten(), wanted.flatten(), dim=0) > 0.98


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> MutableMapping[str, str]:
    """The process's variables, of which torch's own are put back afterwards."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "/elsewhere")
    return os.environ


def test_compiled_code_goes_to_the_volume(tmp_path: Path, variables: MutableMapping[str, str]) -> None:
    keep_compiled_code(tmp_path)
    assert Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(tmp_path / CACHE)
    assert Path(variables["TRITON_CACHE_DIR"]).is_relative_to(tmp_path / CACHE)


@pytest.mark.parametrize("volume", ["missing", "a file", "full"])
def test_a_volume_that_cannot_keep_code_is_left_alone_and_named(
    volume: str,
    tmp_path: Path,
    variables: MutableMapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "volume"
    if volume == "a file":
        folder.write_text("")
    elif volume == "full":
        folder.mkdir()
        monkeypatch.setattr("easel_inference.engine.acceleration.LEAST_FREE", 2**70)
    keep_compiled_code(folder)
    assert variables["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
    assert str(folder) in caplog.text
