"""The miniature, in this process and behind the real tritonserver, each loaded once for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from asking import MINIATURE, Submit, submitter

from easel_api.errors import EnvironmentFault

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The miniature without retention, so that equal requests are made again."""
    from easel_inference.engine.engine import Engine

    engine = Engine(MINIATURE, claims=Path("/nowhere"), threads=1, retained_bytes=0)
    yield engine
    engine.close()


@pytest.fixture
def submit(engine: Any) -> Submit:
    return submitter(engine)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The miniature behind the real tritonserver."""
    from easel_inference.serving import tritonserver
    from easel_inference.serving.local import start_local

    try:
        tritonserver.find(os.environ)
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    with start_local(MINIATURE, tmp_path_factory.mktemp("server"), environment={"EASEL_THREADS": "1"}) as server:
        yield server
