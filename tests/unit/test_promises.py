"""Each promise of docs/promises.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CITED = re.compile(r"`((?:tests/[\w/.]+)?(?:::\w+)?)`")


def citations() -> list[tuple[str, str]]:
    """(file or folder, test name or nothing) of every citation; `::name` alone continues the file before it."""
    found, path = [], ""
    for cited in CITED.findall((ROOT / "docs/promises.md").read_text()):
        if not cited:
            continue
        named, _, test = cited.partition("::")
        path = named or path
        found.append((path, test))
    return found


def test_every_cited_test_exists() -> None:
    cited = citations()
    assert len(cited) > 30
    missing = [
        f"{path}::{test}"
        for path, test in cited
        if not (ROOT / path).exists() or (test and f"def {test}(" not in (ROOT / path).read_text())
    ]
    assert missing == []
