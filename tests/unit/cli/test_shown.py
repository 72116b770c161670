"""What a person sees: the contact sheet, and progress on a terminal and in a log."""

from __future__ import annotations

import contextlib
import io
import os
import pty
from typing import Any

import numpy as np
import pytest
from PIL import Image

from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.manifest import Delivered, ItemState, ManifestItem, Requested
from easel_inference.cli import terminal
from easel_inference.cli.sheet import CAPTION, CELL, GAP, Entry, contact_sheet
from easel_inference.generation import MEDIA_TYPES, Encoding
from easel_inference.jobs.progress import Snapshot


def entry(number: int, encoding: Encoding = "png", frames: int = 1, size: tuple[int, int] = (64, 64)) -> Entry:
    colour = np.array([250, 10 * number % 250, 20], np.uint8)
    data = encode(np.broadcast_to(colour, (frames, size[1], size[0], 3)).copy(), encoding, 8 if frames > 1 else None)
    delivered = Delivered(
        uri="u", key="k", sha256="0", bytes=len(data), media_type=MEDIA_TYPES[encoding], width=size[0], height=size[1],
        frames=frames, steps=1, model_digest="d", dtype="f", device="c",
    )  # fmt: skip
    requested = Requested(steps=1, guidance_scale=1)
    item = ManifestItem(
        id=f"{number:04d}-aaaaaaaa", state=ItemState.SUCCEEDED, prompt="a mug " * 40, seed=1, requested=requested,
        delivered=delivered, variables={"colour": "red"} if number % 2 else {},
    )  # fmt: skip
    return Entry(item, data)


def sheet(*entries: Entry) -> Image.Image:
    return Image.open(io.BytesIO(contact_sheet("mugs", entries))).convert("RGB")


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(0, 1, 1), (1, 1, 1), (4, 2, 2), (16, 4, 4), (7, 4, 2), (64, 8, 8)]
)
def test_the_grid_holds_everything_with_few_gaps(count: int, columns: int, rows: int) -> None:
    picture = sheet(*(entry(number) for number in range(count)))
    assert picture.size == (GAP + columns * (CELL + GAP), 48 + rows * (CELL + CAPTION + GAP))


def test_each_picture_is_in_its_place() -> None:
    picture = sheet(*(entry(number) for number in range(4)))
    for number in range(4):
        row, column = divmod(number, 2)
        middle = (GAP + column * (CELL + GAP) + CELL // 2, 48 + row * (CELL + CAPTION + GAP) + CELL // 2)
        assert picture.getpixel(middle) == (250, 10 * number, 20)


def test_a_wide_picture_is_shown_whole() -> None:
    picture = sheet(entry(0, size=(128, 32)))
    assert picture.getpixel((GAP + 2, 48 + CELL // 2)) == (250, 0, 20)
    assert picture.getpixel((GAP + CELL // 2, 48 + 4)) == (232, 232, 228)


@pytest.mark.parametrize("encoding", ["mp4", "gif", "webp"])
def test_a_clip_shows_some_of_its_frames(encoding: Encoding) -> None:
    red, _, blue = sheet(entry(0, encoding, frames=8)).getpixel((GAP + 20, 48 + 20))
    assert red > 200
    assert blue < 90


def test_a_sheet_has_its_limit() -> None:
    entries = [entry(0)] * 300
    assert sheet(*entries).height == 48 + 32 * (CELL + CAPTION + GAP)


def snapshot(**changes: Any) -> Snapshot:
    fields = {
        "total": 16, "succeeded": 5, "failed": 0, "running": 3, "steps_done": 120, "steps_total": 320,
        "eta_seconds": 65, "manifest": "m", "artifacts": (), "last_failure": None,
    }  # fmt: skip
    return Snapshot(**(fields | changes))


def test_a_log_gets_a_line_for_each_change_and_no_more() -> None:
    log = io.StringIO()
    with terminal.reporter(log) as reporter:
        reporter.show(snapshot())
        reporter.show(snapshot(steps_done=121, eta_seconds=64))
        reporter.show(snapshot(succeeded=6, failed=1))
        reporter.show(snapshot(succeeded=16, eta_seconds=0))
    assert log.getvalue().splitlines() == [
        "  5/16 made  37 %  1:05 left",
        "  6/16 made, 1 failed  37 %  1:05 left",
        "  16/16 made  100 %",
    ]


def everything(terminal: int) -> str:
    """All that was written to a pseudo-terminal whose other end is closed; one read may give a part alone."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends it with EIO
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, terminal.reporter(stream) as reporter:
        reporter.show(snapshot())
        reporter._progress.refresh()  # type: ignore[attr-defined]  # what its own thread does ten times a second
    shown = everything(ours)
    assert "5/16 made" in shown
    assert "1:05 left" in shown
    assert shown.rstrip().endswith(("\x1b[2K", "\x1b[?25h")) or "\x1b[2K" in shown
