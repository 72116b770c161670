"""Requests to the miniature, and what they say until they end."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import TAKES, Task
from easel_api.validation import load_documents
from easel_inference.generation import GenerationRequest, Inputs, Message

SECONDS = 120

EXAMPLE = Path(__file__).parents[2] / "examples" / "modeldeployment.yaml"

MINIATURE: ModelDeploymentSpec = load_documents([EXAMPLE], for_cluster=False).models[0].spec
"""The miniature with all its adapters, as people are told to serve it."""


def request(
    prompt: str = "a red mug on a beach, front view", task: Task = Task.TEXT_TO_IMAGE, **fields: Any
) -> GenerationRequest:
    """A request of few steps, enough for the miniature to draw what the prompt asks."""
    values = {"id": "item", "steps": 8, "encoding": "gif" if TAKES[task].video else "png"} | fields
    return GenerationRequest(task=task, prompt=prompt, **values)


def png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@dataclass
class Running:
    """A submitted request and what it has said so far."""

    messages: list[Message] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    heard: queue.SimpleQueue[Message] = field(default_factory=queue.SimpleQueue)
    handle: Any = None

    def emit(self, message: Message) -> None:
        self.messages.append(message)
        self.heard.put(message)
        if message.is_last:
            self.ended.set()

    def until(self, kind: str) -> Message:
        """The next message of this kind."""
        while (message := self.heard.get(timeout=SECONDS)).event.kind != kind:
            assert not message.is_last, f"ended with {message.event} before a {kind}"
        return message

    def result(self) -> Message:
        """The last message."""
        assert self.ended.wait(SECONDS), "the request did not end"
        return self.messages[-1]

    def kinds(self) -> list[str]:
        return [message.event.kind for message in self.messages]


Submit = Callable[..., Running]


def submitter(engine: Any) -> Submit:
    def submit(
        request: GenerationRequest, image: bytes | None = None, mask: bytes | None = None, **more: bytes
    ) -> Running:
        running = Running()
        running.handle = engine.submit(request, Inputs(image, mask, **more), running.emit)
        return running

    return submit
