"""The engine: torch and diffusers behind one door, `Engine`.

    sources      where a model is: builtin://, pvc://, file:// to a folder                      no torch
    inspection   refuses folders that could run code or are broken; the folder's digest         no torch
    joining      which waiting calls become one forward pass; pure                              no torch
    retention    finished results kept by fingerprint; pure                                     no torch
    counters     what the engine counts, as plain numbers                                       no torch
    pictures     input pictures to arrays, guarded                                              no torch
    sizes        which sizes a model takes, and which one a request gets; pure                  no torch
    words        how long a prompt may be                                                       no torch
    loading      a checked folder to weights on a device
    batcher      the thread that owns the weights, and the proxies that wait for it
    seats        a request's own light pipelines around the shared weights
    tasks        one request from prompt to frames
    engine       bounded concurrency, duplicates, cancellation, events

`serving.model` and tests call it. It knows nothing of Triton, stores, jobs or Kubernetes. Importing this package
alone loads no torch: `sources` and `inspection` also serve the launcher.
"""

import os

# The libraries read these when they are imported; nothing here ever asks a hub for anything.
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_name] = "1"
