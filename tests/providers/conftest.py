"""Emulators for these tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from easel_emulators.bedrock import Bedrock, bedrock


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Bedrock]:
    """Amazon Bedrock on this machine."""
    with bedrock(tmp_path) as service:
        yield service
