"""An independent look at pictures: the miniature's judge says what each one shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """How many pictures show what their prompts asked."""

    total: int
    agreed: int
    disagreed: tuple[str, ...]

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.agreed / self.total
