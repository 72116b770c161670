"""The engine: torch and diffusers behind one door, `Engine`.

    sources        where a model is: builtin://, pvc://, file:// to a folder                    no torch
    folders        a folder's files and digest; refuses what could run code                     no torch
    inspection     a deployment's folders checked whole, before anything is loaded              no torch
    families       what each model family is made of, as data                                   no torch
    joining        which waiting calls become one forward pass; pure                            no torch
    stepplan       which steps a request computes; pure                                         no torch
    latents        paths between latents, truncation; pure                                      no torch
    retention      finished results kept by fingerprint; pure                                   no torch
    counters       what the engine counts, as plain numbers                                     no torch
    pictures       input pictures and clips, guarded                                            no torch
    sizes          which sizes a model takes, and which one a request gets; pure                no torch
    plans          a request checked whole against the model                                    no torch
    words          how long a prompt may be                                                     no torch
    generators     a GAN or VAE decoder in ONNX                                                 no torch
    latentmodel    such a generator as a model of the engine
    loading        checked folders to weights on a device
    acceleration   compiled blocks and CUDA graphs
    memory         what shapes take, measured, and the refusal of what cannot fit
    batcher        the thread that owns the weights; joins what waits
    participant    a request as the batcher sees it
    rows           joining arguments along their rows, and splitting results
    proxies        stand-ins for models, whose calls meet in the batcher
    embeddings     what encoders gave, kept
    loras          LoRA adapters, switched between passes
    seats          a request's own light pipelines around the shared weights
    interpolation  a path between two prompts and two seeds
    tasks          one planned request from prompt to frames
    diffusion      a diffusion model as a model of the engine
    faults         what a model raises, as a typed error
    engine         bounded concurrency, duplicates, cancellation, events

`serving.model` and tests call it. It knows nothing of Triton, stores, jobs or Kubernetes. Importing this package
alone loads no torch: `sources` and `inspection` also serve the launcher.
"""

import os

# The libraries read these when they are imported; nothing here ever asks a hub for anything.
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_name] = "1"
