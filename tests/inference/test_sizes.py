"""Which size a request gets."""

from __future__ import annotations

import pytest
from asking import request

from easel_api.errors import Unsupported
from easel_api.tasks import Task
from easel_inference.engine.sizes import Limits
from easel_inference.generation import Expand

LIMITS = Limits(128, 128, frames=32)
CLIPS = Limits(832, 480, multiple=16, frames=81, default_frames=81, frame_multiple=4)


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


def test_a_model_of_clips_has_two_native_sides_and_its_own_multiple() -> None:
    asked = request(task=Task.TEXT_TO_VIDEO)
    assert CLIPS.size_of(asked, None) == (832, 480)
    with pytest.raises(Unsupported, match="multiples of 16 from 64 to 1664") as caught:
        CLIPS.size_of(request(task=Task.TEXT_TO_VIDEO, height=488), None)
    assert (caught.value.where, caught.value.found) == ("height", "488 pixels")


def test_an_outpainted_picture_grows_by_what_was_asked() -> None:
    asked = request(task=Task.OUTPAINT, expand=Expand(left=16, bottom=32))
    assert LIMITS.size_of(asked, (128, 96)) == (144, 128)


def test_a_picture_that_grows_to_an_odd_size_is_refused_by_the_field_that_lets_it_grow() -> None:
    with pytest.raises(Unsupported, match="multiples of 8") as caught:
        LIMITS.size_of(request(task=Task.OUTPAINT, expand=Expand(left=3)), (128, 128))
    assert (caught.value.where, caught.value.found) == ("expand", "131 pixels")


def test_an_upscaled_picture_may_have_four_times_the_native_side() -> None:
    assert LIMITS.size_of(request(task=Task.UPSCALE, scale=4), (128, 64)) == (512, 256)
    assert LIMITS.size_of(request(task=Task.UPSCALE, width=512, height=512), (128, 128)) == (512, 512)
    with pytest.raises(Unsupported, match="from 64 to 512") as caught:
        LIMITS.size_of(request(task=Task.UPSCALE, scale=4), (136, 128))
    assert (caught.value.where, caught.value.found) == ("scale", "544 pixels")


def test_another_size_beside_the_scale_is_refused() -> None:
    asked = request(task=Task.UPSCALE, scale=2, width=512)
    with pytest.raises(Unsupported, match="grows to 256x128") as caught:
        LIMITS.size_of(asked, (128, 64))
    assert (caught.value.where, caught.value.found) == ("width", "512")


def test_a_table_of_positions_ends_before_four_times() -> None:
    limits = Limits(128, 128, longest=192)
    with pytest.raises(Unsupported, match="from 64 to 192"):
        limits.size_of(request(task=Task.UPSCALE, scale=2), (128, 128))


def test_more_frames_than_the_adapter_knows_are_refused() -> None:
    assert LIMITS.frames_of(request(task=Task.TEXT_TO_VIDEO)) == 8
    with pytest.raises(Unsupported) as caught:
        LIMITS.frames_of(request(task=Task.TEXT_TO_VIDEO, frames=33))
    assert (caught.value.where, caught.value.fix) == ("frames", "Ask for 32")


@pytest.mark.parametrize(
    ("frames", "fix"), [(2, "Ask for 5"), (16, "Ask for 13 or 17"), (80, "Ask for 77 or 81"), (200, "Ask for 81")]
)
def test_frames_between_the_rule_are_refused_with_the_nearest(frames: int, fix: str) -> None:
    with pytest.raises(Unsupported) as caught:
        CLIPS.frames_of(request(task=Task.TEXT_TO_VIDEO, frames=frames))
    assert (caught.value.found, caught.value.fix) == (str(frames), fix)


def test_frames_of_the_rule_are_taken() -> None:
    assert CLIPS.frames_of(request(task=Task.TEXT_TO_VIDEO)) == 81
    assert CLIPS.frames_of(request(task=Task.TEXT_TO_VIDEO, frames=17)) == 17
    assert CLIPS.frames_of(request()) == 1


def test_an_interpolation_needs_no_model_of_clips() -> None:
    pictures = Limits(128, 128)
    assert pictures.frames_of(request(task=Task.INTERPOLATION)) == 8
    assert pictures.frames_of(request(task=Task.INTERPOLATION, frames=50)) == 50
