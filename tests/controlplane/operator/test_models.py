"""A ModelDeployment on a real API server with the real controllers."""

from __future__ import annotations

import pytest
from operating.place import Place

pytestmark = pytest.mark.apiserver


def test_a_model_gets_its_children_and_serves(working: Place) -> None:
    working.model("studio")
    working.await_condition("mdep", "studio", "Reconciling", "True", "Progressing")
    working.serve("studio")
    for kind in ("deployment", "service", "pdb", "networkpolicy"):
        assert working.get(kind, "studio") is not None, kind
    status = (working.get("mdep", "studio") or {})["status"]
    assert status["observedGeneration"] == 1
    assert status["replicas"] == {"desired": 1, "ready": 1}
    assert status["endpoint"] == f"studio.{working.namespace}.svc:8001"
    assert status["tasks"] == ["image-to-image", "inpaint", "text-to-image"]
    assert {item["type"] for item in status["conditions"]} == {"Ready", "ModelLoaded"}
