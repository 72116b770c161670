"""Triton: the model repository writer, the launcher with its probes, `model.py`, and the wire contract.

    wire          tensors and their names, for both sides
    settings      the launcher's environment
    repository    the model repository that Triton reads
    tritonserver  finds the server and starts it closed
    lifeline      ends the engine's process when its server has gone
    state         the files through which the engine's process and the launcher know of one another
    probes        /livez, /readyz and /model
    launcher      starts, watches, drains: `python -m easel_inference.serving`
    model         the model inside Triton's Python backend
    fetching      what a bucket holds into the cache, before: `python -m easel_inference.serving.fetching`
    local         a served model for the length of a `with` block

`wire` is imported by both sides of the wire and must stay free of torch and Triton; only `model` runs inside
Triton's Python backend and imports the engine.
"""
