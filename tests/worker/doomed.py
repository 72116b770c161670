"""Workers that kill themselves with SIGKILL at a chosen write.

That of a job of the team's own model is started by test_crashes as a process of its own. Arguments: spec as JSON, endpoint, store (a folder,
or an S3 reference as JSON), which write to die at (0 never), and whether before or after it. That of a job which is bought is `buy`, whose
writes to the API server count, too; test_bought_crashes forks it off a process that has everything imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easel_api.errors import EaselError
from easel_api.generationjob import GenerationJobSpec
from easel_api.generationjob import S3Store as S3Reference
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.s3 import S3Store
from easel_inference.artifacts.stores import Store
from easel_inference.jobs import __main__ as entry
from easel_inference.jobs.access import Api
from easel_inference.jobs.opening import Places, open_sources
from easel_inference.jobs.settings import Settings
from easel_inference.jobs.worker import Job, Worker, generate_at

WHEN = ("before", "after")
KINDS = ("manifest", "picture", "ledger", "status")
"""Of writes: to the store, to the Provider's status, to the job's."""


@dataclass(slots=True)
class Doom:
    """Which write is the last."""

    at: int
    """From 1; 0: none is."""
    when: str
    kind: str = ""
    """Whose writes are counted; empty: those of all kinds together."""
    _writes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def write(self, kind: str) -> Iterator[None]:
        """Around a write."""
        with self._lock:
            self._writes += self.kind in ("", kind)
            last = self._writes == self.at and self.kind in ("", kind)
        if last and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if last:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedStore:
    """The real store, until the chosen write."""

    def __init__(self, real: Store, doom: Doom) -> None:
        self._real, self._doom = real, doom

    def uri(self, key: str) -> str:
        return self._real.uri(key)

    def get(self, key: str, *, limit: int) -> bytes | None:
        return self._real.get(key, limit=limit)

    def put(self, key: str, data: bytes, media_type: str) -> None:
        with self._doom.write("manifest" if key.endswith("manifest.json") else "picture"):
            self._real.put(key, data, media_type)


def buy(environment: Mapping[str, str], at: int, when: str, kind: str) -> None:
    """The whole life of a worker, which ends this process: with 1 when the job has failed."""
    doom = Doom(at, when, kind)

    class DoomedApi(Api):
        def answer(self, method: str, path: str, *rest: Any) -> bytes:
            if method == "GET":
                return super().answer(method, path, *rest)
            with doom.write("ledger" if "/providers/" in path else "status"):
                return super().answer(method, path, *rest)

    def open_doomed(*told: Any) -> tuple[DoomedStore, str]:
        store, prefix = opened(*told)
        return DoomedStore(store, doom), prefix

    os.environ.update(environment)
    opened = entry.open_store
    entry.Api, entry.open_store = DoomedApi, open_doomed  # type: ignore[misc]  # for this process alone
    try:
        entry._run(Settings.read(environment), threading.Event())
    except EaselError as error:
        print(f"{environment['EASEL_JOB_NAME']}: {error.reason}: {error}")
        sys.exit(1)


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
    worker = Worker(
        Job("mugs", "art", "u-1", spec, "mugs/"), DoomedStore(real, Doom(int(at), when)), sources, time.monotonic
    )
    outcome = generate_at(worker, worker.claim(), endpoint, "studio-mini", stop)
    print(outcome.succeeded)


if __name__ == "__main__":
    main()
