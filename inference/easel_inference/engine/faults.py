"""What a library's exception means to a request: one of the error tree, without the library's own words.

A library's message may quote values that came from a prompt or an input, so only its type is shown.
"""

from __future__ import annotations

import torch

from easel_api.errors import BackendFault, EaselError


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def fault(error: Exception) -> EaselError:
    """The error that the request ends with."""
    if isinstance(error, EaselError):
        return error
    if out_of_memory(error):
        return BackendFault("out of memory", fix="Ask for a smaller picture or fewer frames")
    return BackendFault("the model failed on this request", found=type(error).__name__)
