"""The wire against the real tritonserver."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from asking import opened, png, request
from PIL import Image
from streaming import Stream, metrics, status
from tritonclient.utils import InferenceServerException
from waiting import until

from easel_api.tasks import Task
from easel_inference.generation import Failed, Finished, PreviewOptions
from easel_inference.miniature.judge import judge_files
from easel_inference.serving import wire

pytestmark = pytest.mark.triton

OUTCOME = 'easel_engine_generations_total{{outcome="{}"}}'
GREY = png(Image.new("RGB", (128, 128), "grey"))


def test_progress_previews_and_the_result_stream(server: Any) -> None:
    stream = Stream(server.endpoint).ask(request(steps=6, previews=PreviewOptions(every_steps=4, size=64)))
    message = stream.result()
    assert stream.kinds() == ["accepted", *["step"] * 4, "preview", *["step"] * 2, "result"]
    assert isinstance(message.event, Finished)
    assert message.event.sha256 == hashlib.sha256(message.payload).hexdigest()
    assert message.event.model_digest == server.info.digest
    assert opened(message.payload).size == (128, 128)
    assert opened(stream.messages[5].payload).format == "JPEG"


def test_events_arrive_while_the_request_runs(server: Any) -> None:
    """Not all at the end: the first step is here before the engine has counted the last."""
    before = metrics(server.metrics_url)["easel_engine_steps_total"]
    stream = Stream(server.endpoint).ask(request(steps=40, seed=11))
    stream.until("step")
    assert metrics(server.metrics_url)["easel_engine_steps_total"] - before < 40
    stream.result()


def test_pictures_show_what_their_prompts_ask(server: Any, tmp_path: Any) -> None:
    """Sixteen prompts at once, judged; and the batcher joined them."""
    products = ["mug", "bottle", "lamp", "chair", "box", "ball", "cone", "donut"]
    colours = ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
    places = ["in a studio", "on a beach", "at night", "on a wooden table", "on grass"]
    prompts = [
        f"a {colours[(i + i // 8) % 8]} {products[i % 8]} {places[i % 5]}, {('front', 'left', 'back right')[i % 3]} view"
        for i in range(16)
    ]
    before = metrics(server.metrics_url)
    streams = [Stream(server.endpoint).ask(request(p, steps=20, seed=i, id=f"p{i}")) for i, p in enumerate(prompts)]
    with ThreadPoolExecutor(16) as pool:
        messages = list(pool.map(Stream.result, streams))
    paths = [tmp_path / f"{i}.png" for i in range(16)]
    for path, message in zip(paths, messages, strict=True):
        path.write_bytes(message.payload)
    agreement = judge_files(paths, prompts)
    assert agreement.share("product", "colour") >= 0.9
    assert len({message.event.sha256 for message in messages}) == 16
    after = metrics(server.metrics_url)
    rose = {name: after[name] - before.get(name, 0) for name in after}
    assert rose[OUTCOME.format("succeeded")] == 16
    assert rose["easel_engine_steps_total"] == 16 * 20
    joined = rose["easel_engine_joined_calls_sum"] / rose["easel_engine_joined_calls_count"]
    assert joined > 1.5, f"{joined:.1f} requests in a forward pass on average"


def test_a_cancelled_stream_stops_its_steps(server: Any) -> None:
    before = metrics(server.metrics_url)
    stream = Stream(server.endpoint).ask(request(steps=200, seed=21))
    stream.until("step")
    stream.close(cancel=True)
    name = OUTCOME.format("cancelled")
    until(lambda: metrics(server.metrics_url)[name] > before[name], "the generation is counted as cancelled")
    after = metrics(server.metrics_url)
    assert after["easel_engine_running_requests"] == 0
    assert after["easel_engine_steps_total"] - before["easel_engine_steps_total"] < 100


def test_a_client_that_dies_takes_its_request_along(server: Any) -> None:
    before = metrics(server.metrics_url)
    stream = Stream(server.endpoint).ask(request(steps=200, seed=22))
    stream.until("step")
    stream._client._client_stub = None
    stream._client._channel.close()  # the connection goes without a goodbye
    name = OUTCOME.format("cancelled")
    until(lambda: metrics(server.metrics_url)[name] > before[name], "the generation is counted as cancelled")


def test_the_same_request_again_is_the_same_result_not_made_again(server: Any) -> None:
    first = Stream(server.endpoint).ask(request(seed=31, id="first")).result()
    before = metrics(server.metrics_url)
    again = Stream(server.endpoint).ask(request(seed=31, id="again")).result()
    after = metrics(server.metrics_url)
    assert again.payload == first.payload
    assert isinstance(again.event, Finished)
    assert again.event.reused
    assert after[OUTCOME.format("succeeded")] == before[OUTCOME.format("succeeded")]
    assert after["easel_engine_reused_results_total"] == before["easel_engine_reused_results_total"] + 1


def test_pictures_travel_in_both_directions(server: Any) -> None:
    mask = Image.new("L", (128, 128))
    mask.paste(255, (32, 32, 96, 96))
    asked = request("a red ball on grass", Task.INPAINT, steps=6)
    result = opened(Stream(server.endpoint).ask(asked, GREY, png(mask)).result().payload)
    outside = np.asarray(mask) == 0
    assert (np.asarray(result)[outside] == 128).all()
    assert (np.asarray(result)[~outside] != 128).any()


def test_a_clip_decodes_with_all_its_frames(server: Any) -> None:
    import io

    import av

    asked = request("a red mug bouncing on a beach, front view", Task.TEXT_TO_VIDEO, frames=8, encoding="mp4", steps=4)
    message = Stream(server.endpoint).ask(asked).result()
    with av.open(io.BytesIO(message.payload)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


@pytest.mark.parametrize(
    ("asked", "image", "reason", "where"),
    [
        (request(width=2048), None, "Unsupported", "width"),
        (request(task=Task.IMAGE_TO_IMAGE), None, "InvalidInput", "image"),
        (request(task=Task.IMAGE_TO_IMAGE), GREY[:60], "InvalidInput", "image"),
    ],
)
def test_errors_keep_their_code_across_the_wire(
    server: Any, asked: Any, image: bytes | None, reason: str, where: str
) -> None:
    event = Stream(server.endpoint).ask(asked, image).result().event
    assert isinstance(event, Failed)
    assert (event.error.reason, event.error.where) == (reason, where)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (b'{"id": "a", "task": "text-to-image", "prompt": "secret", "steps": 0}', "steps"),
        (b'{"id": "a", "task": "paint", "prompt": "secret"}', "task"),
        (b'{"id": "a", "task": "text-to-image", "promt": "secret"}', "prompt"),
        (b"secret", "request"),
    ],
)
def test_a_malformed_request_is_refused_by_field_without_its_text(server: Any, document: bytes, where: str) -> None:
    tensors = {wire.REQUEST: np.frombuffer(document, np.uint8)}
    event = Stream(server.endpoint).send(tensors).result().event
    assert isinstance(event, Failed)
    assert (event.error.reason, event.error.where) == ("InvalidInput", where)
    assert "secret" not in event.model_dump_json()


def test_what_administers_a_server_is_closed(server: Any) -> None:
    client = triton.InferenceServerClient(server.endpoint)
    for call in (
        client.get_model_repository_index,
        client.get_log_settings,
        client.get_trace_settings,
        client.get_system_shared_memory_status,
        lambda: client.unload_model(wire.MODEL_NAME),
        lambda: client.get_model_config(wire.MODEL_NAME),
    ):
        with pytest.raises(InferenceServerException, match="restricted"):
            call()
    assert client.is_model_ready(wire.MODEL_NAME)


def test_the_probes_answer(server: Any) -> None:
    assert [status(f"{server.http_url}/{path}") for path in ("livez", "readyz", "model", "x")] == [200, 200, 200, 404]


def test_the_heartbeat_is_of_now(server: Any) -> None:
    import time

    beat = "easel_engine_heartbeat_timestamp_seconds"
    first = metrics(server.metrics_url)[beat]
    assert abs(time.time() - first) < 10
    until(lambda: metrics(server.metrics_url)[beat] > first, "the heartbeat goes on")


def test_no_prompt_is_in_the_log(server: Any) -> None:
    Stream(server.endpoint).ask(request("zebra " * 200, steps=1)).result()
    assert b"zebra" not in server.log.read_bytes()
