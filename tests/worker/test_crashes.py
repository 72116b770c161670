"""A worker that dies at any moment, again and again, makes nothing twice and loses nothing.

The worker is a process of its own and dies by SIGKILL at the n-th write to its store; the engine's own metrics say how often
something was generated.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from easel_inference.artifacts.stores import sha256_of

pytestmark = [pytest.mark.triton, pytest.mark.engine]

DOOMED = Path(__file__).parent / "doomed.py"
ITEMS = 4


def work(spec: Any, serving: Any, place: str, environment: dict[str, str], at: int, when: str) -> int:
    """One life of a worker; its exit status."""
    arguments = [spec.model_dump_json(by_alias=True, exclude_none=True), serving.endpoint, place, str(at), when]
    done = subprocess.run(
        [sys.executable, DOOMED, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def seeds_of(place: int) -> list[int]:
    """Seeds of a test's own, so that the engine does not remember another test's results."""
    return [1000 * place + number for number in range(ITEMS)]


def check_complete(files: dict[str, bytes]) -> None:
    """Exactly the job's objects, each as its manifest says, all different."""
    manifest = json.loads(files.pop("mugs/manifest.json"))
    assert [item["state"] for item in manifest["items"]] == ["Succeeded"] * ITEMS
    assert {item["delivered"]["key"]: item["delivered"]["sha256"] for item in manifest["items"]} == {
        key: sha256_of(data) for key, data in files.items()
    }
    assert len(set(files.values())) == ITEMS


@pytest.mark.s3
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7])
def test_killed_at_any_write_and_started_again(
    serving: Any, bucket: Any, spec: Any, eventually: Any, at: int, when: str
) -> None:
    job = spec(parameters={"steps": 2, "seeds": seeds_of(2 * at + (when == "after"))})
    place, before = bucket.reference.model_dump_json(by_alias=True, exclude_none=True), serving.generations()
    assert work(job, serving, place, bucket.environment, at, when) == -signal.SIGKILL
    eventually(lambda: serving.running() == 0, "the engine is done with the dead worker's items")
    stored, asked = sum(key.endswith(".png") for key in bucket.objects()), serving.asked()
    assert work(job, serving, place, bucket.environment, 0, when) == 0
    assert serving.asked() - asked == ITEMS - stored  # what reached the bucket is not even asked for again
    check_complete({key: bucket.bytes_of(key) for key in bucket.objects()})
    assert serving.generations() - before == ITEMS


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_every_life_it_still_ends(serving: Any, tmp_path: Path, spec: Any, when: str) -> None:
    """Each life gets as far as its first object, or a write further than the last four did.

    How many items are announced before the first object is a matter of timing: on a busy machine several are.
    """
    job = spec(parameters={"steps": 2, "seeds": seeds_of(100 + (when == "after"))})
    before, lives = serving.generations(), 1
    at = 3 if when == "after" else 4  # the claim, an announcement, and one object
    while work(job, serving, str(tmp_path), {}, at + lives // 4, when) != 0:
        lives += 1
        assert lives < 60, "no progress from life to life"
    assert lives > 2
    check_complete(
        {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    )
    assert serving.generations() - before == ITEMS


@pytest.mark.s3
def test_killed_while_generating(serving: Any, bucket: Any, spec: Any, eventually: Any) -> None:
    """Dead in the middle of denoising: what was in flight is cancelled in the engine and made once, later."""
    job = spec(parameters={"steps": 60, "seeds": seeds_of(200)})
    place, before = bucket.reference.model_dump_json(by_alias=True, exclude_none=True), serving.generations()
    arguments = [job.model_dump_json(by_alias=True, exclude_none=True), serving.endpoint, place, "0", "after"]
    worker = subprocess.Popen([sys.executable, DOOMED, *arguments], env={**os.environ, **bucket.environment})
    eventually(lambda: serving.running() == ITEMS, "all items generate")
    worker.kill()
    worker.wait()
    eventually(lambda: serving.running() == 0, "the engine lets go of them")
    assert work(job, serving, place, bucket.environment, 0, "after") == 0
    check_complete({key: bucket.bytes_of(key) for key in bucket.objects()})
    assert serving.generations() - before == ITEMS
