"""An account at the emulated Vertex AI, and what its tests ask for alike."""

from __future__ import annotations

import io
import ssl
import threading
import traceback
from pathlib import Path
from typing import Any

from easel_emulators.google_tokens import PROJECT, service_account
from easel_emulators.vertex import REGION, Vertex
from PIL import Image

from easel_api.errors import EaselError
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.artifacts.encoding import encode
from easel_inference.backends.base import OnEvent, Setup
from easel_inference.backends.polled import Pace
from easel_inference.catalog.loading import Row, surfaces
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
PACE = Pace(first=0.02, longest=0.05)
NEVER = threading.Event()
"""A stop that never comes."""


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


def clip() -> bytes:
    import numpy as np

    return encode(np.zeros((8, 64, 64, 3), np.uint8), "mp4", 8)


def request(task: Task = Task.TEXT_TO_IMAGE, **asks: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": task, "prompt": PROMPT, "seed": 9} | asks))


def setup(
    service: Vertex,
    folder: Path,
    family: str,
    model: str,
    resolved: Resolved | None = None,
    *,
    key: str | None = None,
    offer: dict[str, Any] | None = None,
    trusted: bool = True,
    **spec: Any,
) -> Setup:
    """What a worker would make of a Provider; `key` is the Secret's, `spec` fields of the Provider."""
    secret = folder / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "SERVICE_ACCOUNT_JSON").write_text(service_account(service.url) if key is None else key)
    told = {
        "family": family,
        "region": REGION,
        "endpoint": service.url,
        "project": PROJECT,
        "credentials": {"secretRef": {"name": "google"}},
        "offers": [{"model": model, **(offer or {})}],
    } | spec
    found = ProviderSpec.model_validate({name: value for name, value in told.items() if value is not None})
    authority = str(service.authority) if trusted else None
    return Setup(f"vertex/{model}", found, model, resolved or Resolved(), secret, authority)


def row(model: str) -> Row:
    return next(each for each in surfaces()["vertex"].offers if each.model == model)


def shows_nothing(error: EaselError, *others: str) -> None:
    """Neither prompt nor token nor key is in what a person sees of it."""
    said = str(error) + "".join(traceback.format_exception(error))
    for secret in ("zebra", "ya29.", "PRIVATE KEY", *others):
        assert secret not in said, secret


def official(service: Vertex, version: str = "v1") -> Any:
    """Google's own client, which the emulator takes for one of Vertex AI."""
    import google.auth.credentials
    from google import genai

    class Known(google.auth.credentials.Credentials):
        """With a token that the emulator gave out."""

        def refresh(self, _: object) -> None:
            self.token = service.tokens.given()["access_token"]

    known = Known()
    known.refresh(None)
    return genai.Client(
        vertexai=True,
        project=PROJECT,
        location=REGION,
        credentials=known,
        http_options={
            "base_url": service.url,
            "api_version": version,
            "client_args": {"verify": ssl.create_default_context(cafile=str(service.authority))},
        },
    )


__all__ = [
    "NEVER",
    "PACE",
    "PROMPT",
    "Inputs",
    "OnEvent",
    "clip",
    "official",
    "png",
    "request",
    "row",
    "setup",
    "shows_nothing",
]
