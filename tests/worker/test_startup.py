"""What starts often starts fast, and without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORKER = "import easel_inference.jobs.__main__, easel_inference.backends.triton"
TRIES = 5


def cpu_seconds(code: str) -> float:
    """User and system time of a fresh interpreter that runs `code`; steadier than the clock on a busy machine."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


@pytest.mark.parametrize(("code", "limit"), [(WORKER, 1.0), ("import easel_inference.cli", 0.3)])
def test_the_start_is_quick(code: str, limit: float) -> None:
    assert any(cpu_seconds(code) < limit for _ in range(TRIES))


@pytest.mark.parametrize(
    "module",
    ["easel_inference.jobs.__main__", "easel_inference.backends.triton", "easel_inference.cli.run", "easel_inference.cli.doctor"],
)  # fmt: skip
def test_nothing_heavy_is_imported(module: str) -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'kubernetes', 'boto3', 'botocore', 'av'}"
    code = f"import sys, {module}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
