"""Emulators for these tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from easel_emulators.bedrock import Bedrock, bedrock

from easel_inference.backends import polled


@pytest.fixture(autouse=True)
def _no_key_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a key was taken back, a call that is out is given up soon; tests of that have more patience."""
    monkeypatch.setattr(polled, "RENEWAL_SECONDS", 0.05)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Bedrock]:
    """Amazon Bedrock on this machine."""
    with bedrock(tmp_path) as service:
        yield service
