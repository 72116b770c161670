"""The data plane: generates, serves and stores.

    cli        the `easel` command                                     may import everything below
    jobs       the worker: expand, generate, verify, store, report     imports backends and artifacts
    backends   one module per wire family                              imports serving.wire
    artifacts  stores, keys, manifest, encoding
    serving    Triton: repository writer, launcher, model.py, the wire contract
    engine     torch and diffusers; the only folder that imports torch
    miniature  the built-in model: weights, renderer, judge, training
    ending     how a pod's command ends: signals and last words        imported by jobs and serving
    generation neutral request and event types, imported by all of the above

Everything but `engine`, `miniature` and `serving.model` must import without torch: the worker starts in under a second.
It never imports `easel_operator`.
"""
