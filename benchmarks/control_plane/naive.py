"""What one writes after an hour with kopf's tutorial: handlers of creation and change, progress kept in annotations.

It does less than Easel: it does not wait for models, checks nothing, and repairs nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import kopf
from kubernetes import client, config

config.load_kube_config(os.environ["KUBECONFIG"])
BATCH, APPS, CORE, CUSTOM = client.BatchV1Api(), client.AppsV1Api(), client.CoreV1Api(), client.CustomObjectsApi()
GROUP, VERSION = "easel.dev", "v1alpha1"
CONTAINER = {"name": "main", "image": "docker.io/easel/operator:dev"}


@kopf.on.create(GROUP, VERSION, "modeldeployments")
@kopf.on.update(GROUP, VERSION, "modeldeployments", field="spec")
async def model(name: str, namespace: str, spec: Any, patch: kopf.Patch, **_: Any) -> None:
    labels = {"model": name}
    deployment: dict[str, Any] = {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": spec.get("replicas", 1),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}},
        },
    }
    service = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"clusterIP": "None", "selector": labels, "ports": [{"port": 8001}]},
    }
    kopf.adopt(deployment)
    kopf.adopt(service)
    await asyncio.to_thread(APPS.create_namespaced_deployment, namespace, deployment)
    await asyncio.to_thread(CORE.create_namespaced_service, namespace, service)
    patch.status["conditions"] = [_condition("Ready", "False", "Progressing")]


@kopf.on.create(GROUP, VERSION, "generationjobs")
async def job(name: str, namespace: str, patch: kopf.Patch, **_: Any) -> None:
    body: dict[str, Any] = {
        "metadata": {"name": name, "labels": {"job": name}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}},
    }
    kopf.adopt(body)
    await asyncio.to_thread(BATCH.create_namespaced_job, namespace, body)
    patch.status["phase"] = "Pending"


@kopf.on.field("batch", "v1", "jobs", field="status.succeeded", labels={"job": kopf.PRESENT})
async def done(name: str, namespace: str, new: Any, **_: Any) -> None:
    if new:
        status = {"status": {"phase": "Complete", "conditions": [_condition("Complete", "True", "Complete")]}}
        await asyncio.to_thread(
            CUSTOM.patch_namespaced_custom_object_status, GROUP, VERSION, namespace, "generationjobs", name, status
        )


def _condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    moment = "2026-01-01T00:00:00Z"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": moment,
        "observedGeneration": 1,
    }
