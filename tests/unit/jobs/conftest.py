"""A backend that follows a script, for the worker's decisions; everything about a real one is tested in tests/worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel_api.errors import Cancelled, EaselError
from easel_api.generationjob import GenerationJobSpec
from easel_inference.artifacts.encoding import encode
from easel_inference.artifacts.stores import Store, sha256_of
from easel_inference.backends.base import OnEvent, Result
from easel_inference.generation import (
    MEDIA_TYPES,
    Accepted,
    Finished,
    GenerationRequest,
    Inputs,
    Message,
    StepDone,
)
from easel_inference.jobs.opening import Places, open_sources
from easel_inference.jobs.worker import Job, Worker


def picture(request: GenerationRequest) -> bytes:
    """A noise picture of the seed."""
    size = (1, request.height or 16, request.width or 16, 3)
    return encode(np.random.default_rng(request.seed).integers(0, 255, size, dtype=np.uint8), request.encoding)


def finished(request: GenerationRequest, data: bytes, **changes: Any) -> Finished:
    fields = {
        "media_type": MEDIA_TYPES[request.encoding],
        "sha256": sha256_of(data),
        "width": request.width or 16,
        "height": request.height or 16,
        "seed": request.seed,
        "model_digest": "sha256:0",
        "dtype": "float32",
        "device": "cpu",
        "steps": request.steps,
    }
    return Finished(**(fields | changes))


@dataclass
class ScriptedBackend:
    """Makes noise pictures. `script` has, by seed, what each attempt does first: raise an error, or wait for a flag."""

    script: dict[int, list[EaselError | threading.Event]] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    """Fields that every result states wrongly."""
    asked: list[int] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        with self._lock:
            self.asked.append(request.seed)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            steps = self.script.get(request.seed, [])
            step = steps.pop(0) if steps else None
        try:
            return self._make(request, on_event, stop, step)
        finally:
            with self._lock:
                self._now -= 1

    def _make(
        self,
        request: GenerationRequest,
        on_event: OnEvent,
        stop: threading.Event,
        step: EaselError | threading.Event | None,
    ) -> Result:
        on_event(Message(Accepted()))
        if isinstance(step, EaselError):
            raise step
        while step is not None and not step.wait(0.01):
            if stop.is_set():
                raise Cancelled("stopped")
        for number in range(1, request.steps + 1):
            on_event(Message(StepDone(step=number, steps=request.steps)))
        data = picture(request)
        return Result(finished(request, data, **self.lies), data, "scripted")


@pytest.fixture
def scripted() -> Callable[..., ScriptedBackend]:
    return ScriptedBackend


@pytest.fixture
def spec() -> Callable[..., GenerationJobSpec]:
    def build(**fields: Any) -> GenerationJobSpec:
        base = {
            "task": "text-to-image",
            "backends": [{"modelDeployment": "mini"}],
            "prompts": [{"text": "a mug"}],
            "parameters": {"seeds": [0, 1, 2, 3], "steps": 4},
        }
        return GenerationJobSpec.model_validate(base | fields)

    return build


@pytest.fixture
def worker_for(tmp_path: Path) -> Callable[..., Worker]:
    def build(spec: GenerationJobSpec, store: Store) -> Worker:
        sources = open_sources(spec, Places(tmp_path, tmp_path / "none", tmp_path), threading.Event())
        return Worker(Job("mugs", "art", "u", spec, "mugs/"), store, sources, time.monotonic)

    return build


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from easel_inference.jobs.attempts import Retry

    monkeypatch.setattr(Retry, "wait_seconds", lambda *_: 0.01)
