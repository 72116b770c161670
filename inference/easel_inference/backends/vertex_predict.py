"""Google Vertex AI, predict: models of the team's own on an endpoint of the account, a picture for a call; Google's own is `vertex_try_on`.

The method is that of Google's Discovery document (aiplatform v1, revision 20261106): `{instances}` in, `{predictions}` out. What an instance
and a prediction are is up to the model, and written down in docs/custom-models.md. A shared endpoint takes 1.5 MB and answers within a
minute, one with a name of its own 10 MB (docs.cloud.google.com, choose an endpoint type).
"""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import quote

from easel_api.errors import BilledBadOutput, EaselError, Unsupported
from easel_inference.generation import GenerationRequest, Inputs

from . import custom_models, google, vertex_try_on
from .base import Backend, OnEvent, Result, Setup
from .delivered import check_format, delivered
from .rest import Answer

LARGEST_SHARED, LARGEST_OWN = 1_500_000, 10_000_000
"""Bytes of a request."""


def client(setup: Setup) -> Backend:
    """The client of a model; see `families.client_of`."""
    return vertex_try_on.VertexTryOn(setup) if setup.model == vertex_try_on.MODEL else VertexPredict(setup)


class VertexPredict:
    """One endpoint; safe to call from many threads."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._account, self._model = setup, google.account(setup), setup.model
        self._path = f"/v1/{self._account.place}/endpoints/{quote(setup.deployment, safe='')}:predict"
        self._largest = LARGEST_OWN if setup.spec.endpoint else LARGEST_SHARED

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        body = {"instances": [custom_models.asked(request, inputs, self._setup)]}
        size = len(json.dumps(body))
        if size > self._largest:
            raise Unsupported("the inputs are too large for the endpoint", where="spec.inputs", found=f"{size} bytes")
        answer, began = google.called(self._account, self._path, body, self._model, on_event, stop)
        if answer.status != 200:
            raise _refused(answer, self._model)
        return delivered(
            self._setup.name,
            request,
            _read(answer, self._model),
            model=f"vertex/{self._model}",
            provider=f"Google Vertex AI, {self._account.region}",
            seconds=time.monotonic() - began,
        )


def _read(answer: Answer, model: str) -> bytes:
    predictions = answer.json().get("predictions")
    if not isinstance(predictions, list) or not predictions:
        raise BilledBadOutput("the model answered without a prediction", where=model)
    return custom_models.found(predictions, model)


def _refused(answer: Answer, model: str) -> EaselError:
    """The model's own words come as they are, or as the message of Google's error."""
    told = answer.json().get("error")
    message = str(told.get("message", "")) if isinstance(told, dict) else ""
    blocked = custom_models.refused(answer.body, model) or custom_models.refused(message, model)
    return blocked or google.refused(answer, model)
