"""What all emulators have in common: what happens next, what has happened, and what a family must go through.

A test puts words into `next`; each call takes one, and what it does is said in `WORDS`. Behind the last word calls end well.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.encoding import encode

WORDS = {
    "throttled": "429, and nothing about how long",
    "asks to wait": "429 with Retry-After: 1",
    "unavailable": "503, or what the provider says when it is overloaded",
    "internal": "500",
    "denied": "the key is refused",
    "no credit": "the account has none left, or its quota is used up",
    "retired": "the model is gone (404, or what the provider says)",
    "invalid": "the request is refused as wrong",
    "blocked": "a policy refuses it, by an error",
    "blocked as 200": "a policy refuses it, in an answer that looks well",
    "reset": "the connection is reset behind the whole request; the work is done and billed",
    "gateway": "502 of a gateway that waits no longer; the work is done and billed",
    "slow": "the answer takes 2 s, and is right",
    "empty": "an answer that looks well, without a picture",
    "cut": "half of the picture",
    "words": "text where the picture should be, with a content type to match",
    "huge": "a file of 101 MB",
    # Of calls that give a handle:
    "failed": "it ends without a result and without a bill",
    "blocked late": "a policy refuses it behind the submission",
    "expired": "the first address of the result is no longer good; the next answer has a new one",
    "expired for good": "no address of the result is good",
    "elsewhere": "the result is said to lie at https://169.254.169.254/",
    "slow poll": "three questions find it unfinished",
    "lost poll": "a question's answer never comes, by a reset; the next one is answered",
    "throttled poll": "a question is answered with 429, the next one well",
    "denied poll": "every question is refused: the key was taken back",
}
"""What may come next, in each provider's own way of saying it."""
NO_HANDLE = dict.fromkeys(tuple(WORDS)[tuple(WORDS).index("failed") :], "the answer of the call is the result")
"""Why calls without a handle know none of the later words."""

Draw = Callable[[Mapping[str, Any]], bytes]
"""From `prompt`, `negative_prompt`, `seed`, `aspect_ratio` or `width` and `height`, `output_format` (png, jpeg, webp, mp4; png when it is
left out) and `seconds` to an encoded picture or clip."""


@dataclass(kw_only=True)
class Emulator:
    """What happens next, and what has happened."""

    next: deque[Any] = field(default_factory=deque)
    """Words of `WORDS`, one for each paid call; whatever else an emulator knows by itself."""
    paid: list[str] = field(default_factory=list)
    """Models of the calls that an account would be billed for."""
    billed: Decimal = Decimal(0)
    """What an account would be billed, in US dollars, by the emulator's own count."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of paid calls that were accepted as valid."""
    refused: list[str] = field(default_factory=list)
    """Why requests were refused as invalid, or by their key."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Results are handed out while it is set, as it is at first."""
    draw: Draw = field(default=lambda asked: drawn(asked))
    url: str = ""
    """https://ADDRESS:PORT, which is a Provider's `endpoint`."""
    authority: Path = Path()
    """Certificate of the authority that the URL is trusted by."""

    def __post_init__(self) -> None:
        self.gate.set()

    def bill(self, model: str, amount: Decimal) -> None:
        """One paid call more."""
        self.paid.append(model)
        self.billed += amount


class Start(Protocol):
    """Starts an emulator at an address of this machine, until the block ends; its certificates go into the folder."""

    def __call__(
        self, folder: Path, address: str = "127.0.0.1", draw: Draw | None = None
    ) -> AbstractContextManager[Emulator]: ...


@dataclass(frozen=True)
class Ends:
    """How an item ends behind one word, with nothing tried again by a person."""

    reason: str = ""
    """Of the error; empty: it is delivered."""
    paid: int = 1
    """Calls that are billed, in all tries."""


USUAL = {
    "throttled": Ends(),
    "asks to wait": Ends(),
    "unavailable": Ends("Transient", 0),
    "internal": Ends("Transient", 0),
    "denied": Ends("AuthConfig", 0),
    "retired": Ends("ModelRetired", 0),
    "invalid": Ends("InvalidInput", 0),
    "reset": Ends("AmbiguousSubmit"),
    "gateway": Ends("AmbiguousSubmit"),
    "slow": Ends(),
    "empty": Ends("BilledBadOutput"),
    "cut": Ends("BilledBadOutput"),
    "words": Ends("BilledBadOutput"),
    "huge": Ends("BilledBadOutput"),
}
"""How an item ends at most families; one that ends it otherwise, or cannot say it, says so behind this."""
ASKED_ON = {
    "slow poll": Ends(),
    "lost poll": Ends(),
    "throttled poll": Ends(),
    "denied poll": Ends("AmbiguousSubmit"),
}
"""The same, of questions about a call that gave a handle."""


@dataclass(frozen=True)
class Row:
    """A model of the catalogue that works, and how a job asks for it."""

    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A wire family as the table of faults and the table of models go through it. Each emulator's module has `SUBJECTS`."""

    family: str
    """Of `WireFamily`."""
    start: Start
    secret: Mapping[str, str]
    """Keys of the Provider's Secret; `ca.crt` is added."""
    spec: Mapping[str, Any]
    """Fields of the Provider beside family, endpoint, credentials and offers; `{url}` in a value is the emulator's."""
    offers: tuple[Mapping[str, Any], ...]
    """Of the Provider, each with its `model`; the first one goes through the faults."""
    rows: Mapping[str, Row]
    """For each offer that works: the task that is asked for."""
    ends: Mapping[str, Ends]
    """For each of `WORDS` that can happen to the family. What cannot is left out."""
    never: Mapping[str, str] = field(default_factory=dict)
    """Why each of the other words cannot happen."""
    left: str = ""
    """Where results are left, of a family that can answer with them, too."""

    @property
    def title(self) -> str:
        """The family, whether it is its clips that go through the faults, and where they are left: some families speak of them otherwise."""
        clips = TAKES[Task(self.rows[str(self.offers[0]["model"])].task)].video
        return ", ".join(filter(None, (self.family, "clips" if clips else "", self.left)))


def drawn(asked: Mapping[str, Any]) -> bytes:
    """A red picture, or a clip of it, of the shape that was asked for, in the format that was asked for."""
    width, height = size_of(asked)
    name = str(asked.get("output_format") or "png")
    if name == "mp4":
        return clip(width, height, int(asked.get("seconds") or 4))
    picture = Image.new("RGB", (width, height), (200, 30, 30))
    target = io.BytesIO()
    picture.save(target, {"jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP"}.get(name, "PNG"))
    return target.getvalue()


def size_of(asked: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in pixels: as asked where they are named, small where a ratio is."""
    if asked.get("width") and asked.get("height"):
        return int(asked["width"]), int(asked["height"])
    wide, high = (int(side) for side in str(asked.get("aspect_ratio") or "1:1").split(":"))
    return wide * 16, high * 16


@cache
def clip(width: int, height: int, seconds: int) -> bytes:
    """A red clip, 8 frames in a second."""
    width, height = width - width % 2, height - height % 2
    return encode(np.full((8 * seconds, height, width, 3), (200, 30, 30), np.uint8), "mp4", 8)


def spoiled(word: str, data: bytes) -> bytes:
    """The bytes of a result behind one of the words that spoil it; else as they are."""
    match word:
        case "empty":
            return b""
        case "cut":
            return data[: len(data) // 2]
        case "words":
            return b"I'm sorry"
        case "huge":
            return data + b"\0" * (101 * 2**20)
        case _:
            return data
