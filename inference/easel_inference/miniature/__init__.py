"""The built-in model: a small diffusion model of a product studio, in the stock diffusers format, and its judge.

    weights      the model, its motion adapter and the judge, as package data
    studio       the renderer and the captions: everything the model knows comes from here
    judge        says what a picture shows; tests and demos check pictures with it, not stubs
    train        how the weights were made
    evaluate     how well they do
    MODEL_CARD.md

The engine serves it as `builtin://miniature`. Importing this package loads no torch.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
