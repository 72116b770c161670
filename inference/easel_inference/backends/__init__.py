"""Backends: whoever makes an item, behind one Protocol; one module per wire family.

    base      the Backend protocol
    replicas  which replica of a model takes the next item
    triton    Easel's own runtime over gRPC

Called by `jobs`. A backend takes a `GenerationRequest`, passes on events and returns the result, or raises an error of
the one tree. It imports `serving.wire` for Triton, and never stores, jobs or the engine.
"""
