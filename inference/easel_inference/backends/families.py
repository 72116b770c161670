"""From a Provider to the client that speaks its wire family. SDKs are imported when a client is made."""

from __future__ import annotations

from importlib import import_module

from easel_api.offers import WireFamily

from .base import Backend, Setup

MODULES = {
    WireFamily.BEDROCK_INVOKE: "bedrock_invoke",
    WireFamily.BEDROCK_ASYNC: "bedrock_async",
    WireFamily.SAGEMAKER: "sagemaker",
    WireFamily.VERTEX_GENERATE_CONTENT: "vertex_generate_content",
    WireFamily.VERTEX_PREDICT: "vertex_predict",
    WireFamily.VERTEX_LONG_RUNNING: "vertex_long_running",
    WireFamily.VERTEX_INTERACTIONS: "vertex_interactions",
    WireFamily.OPENAI_IMAGES: "openai_images",
    WireFamily.AZURE_OPENAI_IMAGES: "openai_images",
    WireFamily.AZURE_ML_SCORE: "azureml_score",
    WireFamily.STABILITY_V2BETA: "stability_v2beta",
    WireFamily.RUNWAY_TASKS: "runway_tasks",
    WireFamily.BFL_POLL: "bfl_poll",
    WireFamily.FAL_QUEUE: "fal_queue",
    WireFamily.REPLICATE_PREDICTIONS: "replicate_predictions",
}
"""Each has a function `client` that takes a `Setup`."""


def client_of(setup: Setup) -> Backend:
    """The client of one model. Raises `Unsupported` for a model that the family does not know, `AuthConfig` for a Secret that lacks a key."""
    made: Backend = import_module(f".{MODULES[setup.spec.family]}", __package__).client(setup)
    return made
