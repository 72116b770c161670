"""The wire's two directions are each other's inverse, and refuse what is not theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import ERRORS, BadOutput, ErrorReport
from easel_api.tasks import Task
from easel_inference.generation import (
    Accepted,
    Failed,
    Finished,
    GenerationRequest,
    Inputs,
    Message,
    Preview,
    PreviewOptions,
    StepDone,
)
from easel_inference.serving import wire

texts = st.text(max_size=200)
data = st.none() | st.binary(max_size=500)
requests = st.builds(
    GenerationRequest,
    id=st.text("abc-0", min_size=1, max_size=20),
    task=st.sampled_from(Task),
    prompt=texts,
    negative_prompt=texts,
    seed=st.integers(0, 2**32 - 1),
    width=st.none() | st.integers(8, 512).map(lambda side: 8 * side),
    steps=st.integers(1, 200),
    guidance_scale=st.floats(0, 50),
    strength=st.none() | st.floats(0.01, 1),
    encoding=st.sampled_from(["png", "jpeg", "webp", "mp4", "gif"]),
    previews=st.none() | st.builds(PreviewOptions, every_steps=st.integers(1, 200), size=st.integers(32, 256)),
)
events = st.one_of(
    st.just(Accepted()),
    st.builds(StepDone, step=st.integers(0, 200), steps=st.integers(1, 200)),
    st.builds(Preview, step=st.integers(0, 200), steps=st.integers(1, 200)),
    st.builds(Failed, error=st.builds(ErrorReport, reason=st.sampled_from(sorted(ERRORS)), what=texts, found=texts)),
    st.builds(
        Finished,
        media_type=st.just("image/png"),
        sha256=texts,
        width=st.integers(64, 4096),
        height=st.integers(64, 4096),
        seed=st.integers(0, 2**32 - 1),
        model_digest=texts,
        dtype=st.just("float32"),
        device=texts,
        steps=st.integers(1, 200),
        reused=st.booleans(),
    ),
)


@given(requests, data, data)
def test_a_request_comes_back(request: GenerationRequest, image: bytes | None, mask: bytes | None) -> None:
    tensors = wire.encode_request(request, Inputs(image, mask))
    assert all(tensor.dtype == np.uint8 and tensor.ndim == 1 for tensor in tensors.values())
    decoded = wire.decode_request(tensors[wire.REQUEST], {name: tensors.get(name) for name in wire.INPUTS})
    assert decoded == (request, Inputs(image, mask))


@given(events, st.binary(max_size=500))
def test_a_message_comes_back(event: Accepted | StepDone | Preview | Failed | Finished, payload: bytes) -> None:
    message = Message(event, payload)
    tensors = wire.encode_message(message)
    assert wire.decode_message(tensors[wire.EVENT], tensors[wire.PAYLOAD]) == message


@pytest.mark.parametrize("text", [b"", b"{}", b'{"kind": "dance"}', b"\xff"])
def test_an_unknown_event_is_bad_output(text: bytes) -> None:
    with pytest.raises(BadOutput):
        wire.decode_message(np.frombuffer(text, np.uint8), np.array([], np.uint8))
