"""What a provider delivered, as it is kept."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from easel_api.errors import BilledBadOutput
from easel_api.tasks import Task
from easel_inference.backends.delivered import delivered
from easel_inference.generation import GenerationRequest

CUT_OUT = GenerationRequest(id="i", task=Task.REMOVE_BACKGROUND, prompt="")


def picture(mode: str, kind: str) -> bytes:
    """Half of it transparent, where the mode has that."""
    shown = Image.new(mode, (32, 16), "red")
    if mode == "RGBA":
        shown.paste((0, 255, 0, 0), (0, 0, 16, 16))
    target = io.BytesIO()
    shown.save(target, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    return target.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_stays_so_whatever_it_came_as(kind: str) -> None:
    result = delivered("a", CUT_OUT, picture("RGBA", kind), model="m", provider="p", seconds=1)
    with Image.open(io.BytesIO(result.payload)) as kept:
        assert (kept.format, kept.mode, kept.size) == ("PNG", "RGBA", (32, 16))
        alpha = kept.getchannel("A")
        assert [alpha.getpixel((left, 8)) for left in (4, 28)] == [0, 255]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_an_opaque_picture_is_no_removed_background(kind: str) -> None:
    with pytest.raises(BilledBadOutput, match="transparent"):
        delivered("a", CUT_OUT, picture("RGB", kind), model="m", provider="p", seconds=1)
