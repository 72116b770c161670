"""Input pictures and clips are checked before anything is made, and what is wrong is named."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from easel_api.errors import EaselError, InvalidInput, NotFound
from easel_inference.artifacts.encoding import encode
from easel_inference.generation import Encoding, Inputs
from easel_inference.jobs.inputs import MAX_BYTES, Sources, load


def png(width: int = 64, height: int = 64) -> bytes:
    target = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(target, "PNG")
    return target.getvalue()


def bomb() -> bytes:
    """A PNG of 30 000 × 30 000 pixels in 3 KB of file."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (3751 * 800))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {"a.png": png(), "mask.png": png(), "small.png": png(32, 32)}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "claims/art").mkdir(parents=True)
    (tmp_path / "claims/art/a.png").write_bytes(png())
    return tmp_path


def sources(folder: Path) -> Sources:
    bucket = {("art", "in/a.png"): png(), ("art", "in/text.png"): b"hello"}
    return Sources(folder / "claims", folder, lambda bucket_name, key: bucket.get((bucket_name, key)))


def check(spec: Any, folder: Path, image: str, mask: str | None = None) -> EaselError:
    inputs = {"image": {"uri": image}} | ({"mask": {"uri": mask}} if mask else {})
    with pytest.raises(EaselError) as caught:
        load(spec(task="inpaint" if mask else "image-to-image", inputs=inputs), sources(folder))
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("uri", ["file://a.png", "pvc://art/a.png", "s3://art/in/a.png"])
def test_pictures_come_from_files_claims_and_buckets(spec: Any, folder: Path, uri: str) -> None:
    loaded = load(spec(task="image-to-image", inputs={"image": {"uri": uri}}), sources(folder))
    assert loaded.image == png()
    assert loaded.mask is None


def test_an_absolute_file_is_found_from_anywhere(spec: Any, folder: Path) -> None:
    uri = f"file://{folder}/a.png"
    assert (
        load(spec(task="image-to-image", inputs={"image": {"uri": uri}}), sources(Path("/nonexistent"))).image == png()
    )


@pytest.mark.parametrize(
    ("content", "what", "found"),
    [
        (b"once upon a time", "not a picture", "a text file of 16 bytes"),
        (b"", "not a picture", "an empty file"),
        (png()[:2000], "damaged or cut off", "a damaged PNG of 2000 bytes"),
        (png()[:30], "not a picture", "a damaged PNG of 30 bytes"),
        (bomb(), "4096 pixels a side", "30000×30000 pixels"),
        (b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b",\0\0\0\0\x08\0\x08\0\0\x02\x02L\x01\0;", "not a picture", "image/gif"),
        (os.urandom(5000), "not a picture", "unknown binary data"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named_with_what_it_is(
    spec: Any, folder: Path, content: bytes, what: str, found: str
) -> None:
    (folder / "bad").write_bytes(content)
    error = check(spec, folder, "file://bad")
    assert isinstance(error, InvalidInput)
    assert error.where == "spec.inputs.image"
    assert what in error.what
    assert found in error.found


def test_a_bomb_takes_no_memory(spec: Any, folder: Path) -> None:
    import tracemalloc

    (folder / "bomb.png").write_bytes(bomb())
    tracemalloc.start()
    check(spec, folder, "file://bomb.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def clip(encoding: Encoding, frames: int = 3) -> bytes:
    return encode(np.random.default_rng(1).integers(0, 255, (frames, 32, 48, 3), dtype=np.uint8), encoding, 8)


@pytest.mark.parametrize("encoding", ["mp4", "gif", "webp"])
def test_clips_come_as_mp4_gif_or_animated_webp(spec: Any, folder: Path, encoding: Encoding) -> None:
    (folder / "clip").write_bytes(clip(encoding))
    loaded = load(spec(task="video-to-video", inputs={"clip": {"uri": "file://clip"}}), sources(folder))
    assert loaded == Inputs(clip=clip(encoding))


@pytest.mark.parametrize(
    ("content", "what", "found"),
    [
        (b"once upon a time", "not a clip", "a text file of 16 bytes"),
        (png(), "not a clip", "image/png"),
        (clip("mp4")[:400], "not a clip", "a damaged MP4"),
        (b"\0\0\0\x08ftyp\0\0\0\x08moov", "not a clip", "an MP4 without a video track"),
        (encode(np.zeros((1, 32, 48, 3), np.uint8), "webp"), "not a clip", "one frame of image/webp"),
        (b"GIF89a" + struct.pack("<HHBBB", 8000, 8, 0, 0, 0) + 2 * b",\0\0\0\0\x08\0\x08\0\0\x02\x02L\x01\0" + b";", "4096 pixels a side", "8000×8 pixels"),
    ],
)  # fmt: skip
def test_what_is_no_clip_is_named_with_what_it_is(
    spec: Any, folder: Path, content: bytes, what: str, found: str
) -> None:
    (folder / "bad").write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        load(spec(task="video-to-video", inputs={"clip": {"uri": "file://bad"}}), sources(folder))
    error = caught.value
    assert (error.where, what in error.what, bool(error.fix)) == ("spec.inputs.clip", True, True)
    assert found in error.found


def test_a_control_picture_is_checked_as_an_image_is(spec: Any, folder: Path) -> None:
    def from_file(name: str) -> Inputs:
        inputs = {"control": {"uri": f"file://{name}"}}
        return load(spec(task="segmentation-to-image", inputs=inputs), sources(folder))

    assert from_file("a.png") == Inputs(control=png())
    (folder / "bad").write_bytes(clip("gif"))
    with pytest.raises(InvalidInput) as caught:
        from_file("bad")
    assert (caught.value.where, caught.value.what) == ("spec.inputs.control", "not a picture")
    with pytest.raises(NotFound) as missing:
        from_file("none.png")
    assert missing.value.where == "spec.inputs.control.uri"


def test_a_mask_of_another_size_is_named_with_both(spec: Any, folder: Path) -> None:
    error = check(spec, folder, "file://a.png", "file://small.png")
    assert error.where == "spec.inputs.mask"
    assert error.found == "mask 32×32, image 64×64"


def test_a_damaged_mask_is_the_masks_fault(spec: Any, folder: Path) -> None:
    (folder / "bad").write_bytes(b"hello")
    assert check(spec, folder, "file://a.png", "file://bad").where == "spec.inputs.mask"


@pytest.mark.parametrize("uri", ["file://none.png", "pvc://art/none.png", "pvc://none/a.png", "s3://art/none.png"])
def test_what_is_missing_is_named(spec: Any, folder: Path, uri: str) -> None:
    error = check(spec, folder, uri)
    assert isinstance(error, NotFound)
    assert error.where == "spec.inputs.image.uri"


def test_a_claim_cannot_be_left(spec: Any, folder: Path) -> None:
    (folder / "claims/art/link.png").symlink_to(folder / "a.png")
    assert "links are not followed" in check(spec, folder, "pvc://art/link.png").what


def test_a_file_that_is_too_large_is_not_read(spec: Any, folder: Path) -> None:
    with (folder / "large.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert str(MAX_BYTES) in check(spec, folder, "file://large.png").what
