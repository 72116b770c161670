"""A call that is out: what questions about it find, and where its result lies. Shared by providers whose calls give a handle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from easel_emulators.base import Emulator, spoiled

Found = Literal["lost", "throttled", "denied", "unfinished", "cancelled", "failed", "blocked late", "done"]
ELSEWHERE = "https://169.254.169.254/latest/meta-data/"


@dataclass
class Work:
    """One call, which does what its word of `base.WORDS` says."""

    name: str
    """Its handle."""
    model: str
    word: str
    data: bytes
    """The result as it would be without the word."""
    body: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    named: int = 0
    """How many addresses of the result were given out."""
    cancelled: bool = False

    def found(self, state: Emulator) -> Found:
        """What one more question finds."""
        self.asked += 1
        match self.word:
            case "lost poll" if self.asked == 1:
                return "lost"
            case "throttled poll" if self.asked == 1:
                return "throttled"
            case "denied poll":
                return "denied"
            case "slow poll" if self.asked <= 3:
                return "unfinished"
        if self.cancelled:
            return "cancelled"
        if not state.gate.is_set():
            return "unfinished"
        if self.word == "failed" or self.word == "blocked late":
            return self.word
        return "done"

    def address(self, base: str) -> str:
        """Where the result lies: another address each time."""
        if self.word == "elsewhere":
            return ELSEWHERE
        self.named += 1
        return f"{base}/files/{self.name}/{self.named}"

    def file(self, named: int) -> bytes | None:
        """What lies at the address of that number; None when it is no longer good."""
        if self.word == "expired for good" or (self.word == "expired" and named == 1):
            return None
        return spoiled(self.word, self.data)
