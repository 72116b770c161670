"""Triton: the model repository writer, the launcher with its probes, `model.py`, and the wire contract.

`wire` is imported by both sides of the wire and must stay free of torch and Triton; only `model` runs inside
Triton's Python backend and imports the engine.
"""
