"""Which size a request gets."""

from __future__ import annotations

import pytest
from asking import request

from easel_api.errors import Unsupported
from easel_api.tasks import Task
from easel_inference.engine.sizes import Limits

LIMITS = Limits(native=128, frames=32)


def test_without_a_size_it_is_the_models_own() -> None:
    assert LIMITS.size_of(request(), None) == (128, 128)


def test_a_named_size_wins_over_the_picture() -> None:
    asked = request(task=Task.IMAGE_TO_IMAGE, width=256, height=64)
    assert LIMITS.size_of(asked, (1000, 751)) == (256, 64)


def test_a_picture_gives_its_own_size() -> None:
    assert LIMITS.size_of(request(task=Task.IMAGE_TO_IMAGE), (192, 96)) == (192, 96)


def test_a_picture_of_an_odd_size_needs_a_named_one() -> None:
    with pytest.raises(Unsupported, match="multiples of 8 from 64 to 256") as caught:
        LIMITS.size_of(request(task=Task.IMAGE_TO_IMAGE), (1000, 751))
    assert caught.value.where == "image"
    assert caught.value.found == "1000 pixels"
    assert "Name width and height" in caught.value.fix


def test_a_size_beyond_the_model_is_refused_with_the_numbers() -> None:
    with pytest.raises(Unsupported, match="from 64 to 256") as caught:
        LIMITS.size_of(request(height=512), None)
    assert (caught.value.where, caught.value.found) == ("height", "512 pixels")


def test_more_frames_than_the_adapter_knows_are_refused() -> None:
    assert LIMITS.frames_of(request(task=Task.TEXT_TO_VIDEO)) == 8
    with pytest.raises(Unsupported) as caught:
        LIMITS.frames_of(request(task=Task.TEXT_TO_VIDEO, frames=33))
    assert caught.value.where == "frames"
