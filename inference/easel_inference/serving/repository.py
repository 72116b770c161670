"""Writes the Triton model repository: one decoupled Python model, whose code is `serving.model`.

No request is batched by Triton: with a decoupled model its scheduler would run one at a time, so `execute` hands each
request to the engine at once and the engine joins them step by step.
"""

from __future__ import annotations

from pathlib import Path

from .wire import EVENT, INPUTS, MODEL_NAME, MODEL_VERSION, PAYLOAD, REQUEST

_OPTIONAL = ",\n".join(f'  {{ name: "{name}" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }}' for name in INPUTS)

CONFIG = f"""name: "{MODEL_NAME}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
input [
  {{ name: "{REQUEST}" data_type: TYPE_UINT8 dims: [ -1 ] }},
{_OPTIONAL}
]
output [
  {{ name: "{EVENT}" data_type: TYPE_UINT8 dims: [ -1 ] }},
  {{ name: "{PAYLOAD}" data_type: TYPE_UINT8 dims: [ -1 ] }}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
"""KIND_CPU on GPUs too: Triton only places tensors by it, ours are on the host; the engine chooses its own device."""

CODE = '''"""Triton loads this file; the model is in the package."""

from easel_inference.serving.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_repository(folder: Path) -> Path:
    """The repository in `folder`; written anew each time."""
    version = folder / MODEL_NAME / MODEL_VERSION
    version.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(CODE)
    return folder
