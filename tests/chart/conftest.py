"""The chart under test, by the real helm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from easel_cluster import debian, tools
from easel_installed.chart import Helm

from easel_api.errors import EnvironmentFault


@pytest.fixture(scope="session")
def helm(progress: Callable[[str], None]) -> Helm:
    try:
        return Helm(tools.ensure(["helm"], progress)["helm"])
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build helm: {fault}")


@pytest.fixture(scope="session")
def promtool(progress: Callable[[str], None]) -> Path:
    try:
        return debian.unpacked("prometheus", "promtool", progress)
    except EnvironmentFault as fault:
        pytest.skip(f"no promtool: {fault}")
