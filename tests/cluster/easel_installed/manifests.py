"""Objects as a user would write them, shortened for tests."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

SECRET = "art-bucket"  # the name of a Secret, not its content
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")


def namespace(name: str) -> Manifest:
    """A namespace that admits restricted pods alone."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def model(name: str, *, motion: bool = False, **spec: Any) -> Manifest:
    """The built-in model, small enough for two replicas on two cores."""
    adapters = [{"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}] if motion else []
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": {"source": "builtin://miniature"},
            "adapters": adapters,
            "resources": {"gpus": 0, "cpu": "500m", "memory": "3Gi"},
        }
        | spec,
    }


def store(bucket: str, endpoint: str, secret: str = SECRET) -> Manifest:
    """A bucket as a job names it."""
    return {"s3": {"bucket": bucket, "endpoint": endpoint, "credentialsSecretRef": {"name": secret}}}


def job(
    name: str, model_name: str, where: Manifest, *, count: int = 16, steps: int = 8, first_seed: int = 1, **spec: Any
) -> Manifest:
    """A job of `count` pictures (a multiple of 8): mugs in every colour the model knows."""
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name},
        "spec": {
            "task": "text-to-image",
            "backends": [{"modelDeployment": model_name}],
            "prompts": [{"text": "a {{colour}} mug in a studio, front view"}],
            "matrix": {"colour": list(COLOURS)},
            "parameters": {"steps": steps, "seeds": [first_seed + number for number in range(count // len(COLOURS))]},
            "output": {"store": where},
        }
        | spec,
    }
