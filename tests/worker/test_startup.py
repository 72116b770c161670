"""What starts often starts fast, and without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORKER = "import easel_inference.jobs.__main__, easel_inference.backends.triton"
LIBRARIES = "import pydantic, grpc, numpy, PIL.Image, urllib3"
"""What no worker does without."""
TRIES = 5


def cpu_seconds(code: str) -> float:
    """User and system time of a fresh interpreter that runs `code`; steadier than the clock on a busy machine."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


@pytest.mark.parametrize(("code", "limit"), [(WORKER, 3.5), ("import easel_inference.cli", 1.2)])
def test_the_start_is_quick(code: str, limit: float) -> None:
    """By the least of a few tries, and of those of its libraries: how fast a busy machine is says nothing of the code."""
    tries = [(cpu_seconds(code), cpu_seconds(LIBRARIES)) for _ in range(TRIES)]
    took, libraries = (min(each) for each in zip(*tries, strict=True))
    assert took < limit * libraries, f"{took:.2f} s, and its libraries {libraries:.2f} s"


@pytest.mark.parametrize(
    "module",
    ["easel_inference.jobs.__main__", "easel_inference.backends.triton", "easel_inference.cli.run", "easel_inference.cli.doctor"],
)  # fmt: skip
def test_nothing_heavy_is_imported(module: str) -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'kubernetes', 'boto3', 'botocore', 'av'}"
    code = f"import sys, {module}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
