"""A worker that kills itself with SIGKILL at a chosen write; started by test_crashes as a process of its own.

Arguments: spec as JSON, endpoint, store (a folder, or an S3 reference as JSON), which write to die at (0 never), and
whether before it, after it, or in the middle of the job's own record of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from easel_api.generationjob import GenerationJobSpec
from easel_api.generationjob import S3Store as S3Reference
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.s3 import S3Store
from easel_inference.artifacts.stores import Store
from easel_inference.jobs.opening import Places, open_sources
from easel_inference.jobs.worker import Job, Worker, generate_at

WHEN = ("before", "after")


class DoomedStore:
    """The real store, until the chosen write."""

    def __init__(self, real: Store, at: int, when: str) -> None:
        self._real, self._at, self._when = real, at, when
        self._writes = 0
        self._lock = threading.Lock()

    def uri(self, key: str) -> str:
        return self._real.uri(key)

    def get(self, key: str, *, limit: int) -> bytes | None:
        return self._real.get(key, limit=limit)

    def put(self, key: str, data: bytes, media_type: str) -> None:
        with self._lock:
            self._writes += 1
            last = self._writes == self._at
        if last and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        self._real.put(key, data, media_type)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    spec_text, endpoint, place, at, when = sys.argv[1:]
    spec, stop = GenerationJobSpec.model_validate_json(spec_text), threading.Event()
    real: Store
    if place.startswith("{"):
        reference = S3Reference.model_validate(json.loads(place))
        real = S3Store(reference, reference.bucket, None, stop)
    else:
        real = DirectoryStore(Path(place))
    nowhere = Path("/nonexistent")
    sources = open_sources(spec, Places(nowhere, nowhere, nowhere), stop)
    worker = Worker(Job("mugs", "art", "u-1", spec, "mugs/"), DoomedStore(real, int(at), when), sources, time.monotonic)
    outcome = generate_at(worker, worker.claim(), endpoint, "studio-mini", stop)
    print(outcome.succeeded)


if __name__ == "__main__":
    main()
