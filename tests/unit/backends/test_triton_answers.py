"""What a replica's errors mean for the item that it was given."""

from __future__ import annotations

import pytest

from easel_api.errors import BackendFault, CapacityQueued, EaselError, HandedBack, InvalidInput, Transient
from easel_inference.backends.triton import _failed, _Refused


@pytest.mark.parametrize(
    ("error", "accepted", "tried"),
    [
        (Transient("draining"), False, False),
        (CapacityQueued("full"), False, False),
        (HandedBack("the replica stops"), True, False),
        (Transient("the engine is closing"), True, True),
        (InvalidInput("too wide"), False, True),
        (BackendFault("out of memory"), True, True),
    ],
)
def test_what_counts_as_a_try(error: EaselError, accepted: bool, tried: bool) -> None:
    found = _failed(error.to_report(), accepted=accepted)
    assert isinstance(found, type(error) if tried else _Refused)
