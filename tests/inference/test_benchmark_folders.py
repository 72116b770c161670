"""The benchmark's large folders: as many parameters as the models whose size they claim."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "engine"))

PARAMETERS = {
    "sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
    "flux": {
        "transformer": 11_901_408_320,
        "vae": 83_819_683,
        "text_encoder": 123_060_480,
        "text_encoder_2": 4_762_310_656,
    },
}
"""Of stabilityai/stable-diffusion-xl-base-1.0 and black-forest-labs/FLUX.1-dev, from the headers of their safetensors."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_large_folder_has_the_parameters_of_the_model(name: str) -> None:
    import folders

    components = folders.made(name, "meta").components
    counted = {part: sum(weight.numel() for weight in components[part].parameters()) for part in PARAMETERS[name]}
    assert counted == PARAMETERS[name]
    assert {weight.dtype for part in PARAMETERS[name] for weight in components[part].parameters()} == {folders.DTYPE}
