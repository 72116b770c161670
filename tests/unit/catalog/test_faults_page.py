"""docs/faults.md is what tests/worker/test_faults.py holds every family to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "emulators"))

from easel_emulators.base import WORDS, Ends, Subject
from easel_emulators.subjects import subjects

PAGE = Path(__file__).parents[3] / "docs/faults.md"
HEAD = """# What becomes of a paid call

Every wire family goes through every fault that can happen to it, in `tests/worker/test_faults.py`: a job of one item on a real API server, a worker, an emulator of the
provider that counts what it would bill, a real bucket. No item is billed twice there (in life, except where [two workers of one job](limits.md#known-weaknesses) live at once), and the Provider's ledger holds the emulator's own count to the
cent. Each family also has its
worker killed in the middle of a call: a call with a handle is picked up and delivered, of another one nobody knows, and the item ends as `AmbiguousSubmit`.

*Delivered* is a result in the bucket; all else is the reason that the item ends with. **paid** is behind what is billed. With `fallback.when: [BackendFailure]`
most of what is not paid goes to the next backend of the class instead. This page is written from the same table (`make golden`).
"""


def page() -> str:
    found = subjects()
    lines = [HEAD]
    for start in range(0, len(found), 5):
        some = found[start : start + 5]
        lines += ["| what happens | " + " | ".join(each.title for each in some) + " |", "|---" * (len(some) + 1) + "|"]
        lines += [f"| {said} | " + " | ".join(cell(each, word) for each in some) + " |" for word, said in WORDS.items()]
        lines.append("")
    lines += ["## What cannot happen", ""]
    lines += [f"- **{each.title}**: {'; '.join(reasons(each))}." for each in found]
    return "\n".join(lines) + "\n"


def cell(subject: Subject, word: str) -> str:
    ends = subject.ends.get(word)
    return "" if ends is None else told(ends)


def told(ends: Ends) -> str:
    return (ends.reason or "delivered") + (", **paid**" if ends.paid else "")


def reasons(subject: Subject) -> Iterator[str]:
    for reason in dict.fromkeys(subject.never.values()):
        words = ", ".join(f"*{word}*" for word, why in subject.never.items() if why == reason)
        yield f"{words}: {reason}"


def test_golden_page_of_faults() -> None:
    if os.environ.get("EASEL_GOLDEN") == "write":
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "make golden writes the page anew"
