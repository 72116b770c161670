"""What people and attackers send: a typed error or a right result, and the next request is served as before."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import MINIATURE, Running, Submit, opened, png, request, submitter
from PIL import Image
from streaming import Stream, metrics
from waiting import until

from easel_api.tasks import Quality, Task
from easel_inference.generation import AdapterUse, Failed, Finished, PreviewOptions
from easel_inference.serving import wire

RIGHT = {"id": "a", "task": "text-to-image", "prompt": "a red mug", "steps": 2}


@pytest.mark.triton
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 10_000),
        ("steps", -1),
        ("width", 7),
        ("height", 7),
        ("width", 10**9),
        ("seed", -1),
        ("seed", 2**64),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("strength", float("nan")),
        ("prompt", "mug " * 25_000),
        ("prompt", 7),
        ("frames", 10**6),
        ("adapters", [{"name": "ink", "weight": float("nan")}]),
        ("deadline_seconds", -1),
        ("zebra", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_the_next_request_is_right(
    server: Any, field: str, value: object
) -> None:
    before = metrics(server.metrics_url)["easel_engine_steps_total"]
    document = json.dumps(RIGHT | {field: value}).encode()
    event = Stream(server.endpoint).send({wire.REQUEST: np.frombuffer(document, np.uint8)}).result().event
    assert isinstance(event, Failed)
    assert event.error.reason in ("InvalidInput", "Unsupported")
    assert event.error.where.startswith(field)
    assert metrics(server.metrics_url)["easel_engine_steps_total"] == before
    assert isinstance(
        Stream(server.endpoint).ask(request(steps=1, seed=abs(hash(field)) % 1000)).result().event, Finished
    )


@pytest.mark.triton
@pytest.mark.parametrize(
    "prompt",
    ["", " ", "馬克杯", "כוס אדומה", "🍵" * 5, "a\u0000b", "a\u202eb", "e\u0301" * 8, "<|endoftext|>", "{{colour}}"],
)
def test_any_unicode_is_a_prompt(server: Any, prompt: str) -> None:
    assert isinstance(Stream(server.endpoint).ask(request(prompt, steps=1)).result().event, Finished)


@pytest.mark.triton
@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"null", b"\xff\xfe", b"{" * 100_000, json.dumps(RIGHT | {"prompt": "\ud800"}).encode()],
    ids=["nothing", "list", "null", "no text", "nested", "half a pair"],
)
def test_what_is_no_request_is_refused(server: Any, document: bytes) -> None:
    if not document:
        document = b" "  # Triton itself refuses a tensor of no elements
    event = Stream(server.endpoint).send({wire.REQUEST: np.frombuffer(document, np.uint8)}).result().event
    assert isinstance(event, Failed)
    assert event.error.reason == "InvalidInput"


@pytest.mark.engine
def test_pictures_that_hold_no_numbers_are_an_error_and_never_black(submit: Submit, engine: Any) -> None:
    def spoil(_: Any, __: Any, output: Any) -> Any:
        return (output[0] * float("nan"),)

    hook = engine._model._shared.model.parts["unet"].register_forward_hook(spoil)
    try:
        error = submit(request(seed=400, steps=2)).result().event.error
    finally:
        hook.remove()
    assert error.reason == "BadOutput"
    assert isinstance(submit(request(seed=401, steps=2)).result().event, Finished)


@pytest.mark.engine
def test_a_deadline_that_passes_ends_the_request(submit: Submit) -> None:
    error = submit(request(steps=200, deadline_seconds=0.2)).result().event.error
    assert (error.reason, error.where) == ("Cancelled", "deadline_seconds")


@pytest.mark.engine
def test_a_higher_priority_is_served_first(submit: Submit) -> None:
    order: list[str] = []
    lock = threading.Lock()

    def wait(name: str, running: Running) -> None:
        running.result()
        with lock:
            order.append(name)

    low = submit(request(seed=1, steps=30, width=192))
    low.until("step")
    high = submit(request(seed=2, steps=30, priority=10))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(wait, ("low", "high"), (low, high)))
    assert order == ["high", "low"]


SOAKED = 2000
CONCURRENT = 16
LEAK_BYTES = 150 * 2**20
"""Allocators keep some of what they got; a leak of one small picture's activations a request would be gigabytes."""


def some_request(dice: random.Random, number: int) -> tuple[Any, dict[str, bytes]]:
    """One of many kinds, small and short."""
    fields: dict[str, Any] = {"width": 64, "height": 64, "steps": dice.randint(1, 3), "seed": number}
    inputs: dict[str, bytes] = {}
    task = dice.choice([Task.TEXT_TO_IMAGE] * 4 + [Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.SEGMENTATION_TO_IMAGE])
    if task in (Task.IMAGE_TO_IMAGE, Task.INPAINT):
        inputs["image"] = SMALL
        fields["strength"] = 1.0
    if task is Task.INPAINT:
        inputs["mask"] = SMALL_MASK
    if task is Task.SEGMENTATION_TO_IMAGE:
        inputs["control"] = SMALL
    kind = dice.random()
    if kind < 0.1:
        fields["adapters"] = (AdapterUse(name="ink", weight=dice.choice([0.5, 1.0])),)
    elif kind < 0.2:
        fields |= {"quality": Quality.DRAFT, "steps": 8}
    elif kind < 0.25:
        fields["reproducible"] = True
    elif kind < 0.3:
        fields["width"] = 1024  # refused
    elif kind < 0.35:
        fields["previews"] = PreviewOptions(every_steps=1, size=64)
    elif kind < 0.4:
        fields["deadline_seconds"] = 0.01
    return request(f"a {dice.choice(['red', 'blue'])} mug {dice.randint(0, 50)}", task, **fields), inputs


SMALL = png(Image.new("RGB", (64, 64), "teal"))
SMALL_MASK = png(Image.new("L", (64, 64), 255))


def resident() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_two_thousand_mixed_requests_leak_nothing_and_are_answered_once() -> None:
    from easel_inference.engine.engine import Engine

    engine = Engine(MINIATURE, claims=Path("/nowhere"), threads=1, retained_bytes=2**20)
    submit, dice = submitter(engine), random.Random(7)
    outcomes: Counter[str] = Counter()
    free = threading.Semaphore(CONCURRENT)
    sent: list[Running] = []
    level, threads = 0, 0
    try:
        for number in range(SOAKED):
            if number == SOAKED // 5:  # caches are full by now
                until(lambda: engine.counts.running + engine.counts.waiting == 0, "all are answered")
                level, threads = resident(), threading.active_count()
            assert free.acquire(timeout=60), "the engine stands still"
            asked, inputs = some_request(dice, number)
            running = submit(
                asked, inputs.get("image"), inputs.get("mask"), **{k: v for k, v in inputs.items() if k == "control"}
            )
            sent.append(running)
            threading.Thread(target=lambda running=running: (running.result(), free.release())).start()
            if dice.random() < 0.2:
                running.handle.cancel()
        until(lambda: engine.counts.running + engine.counts.waiting == 0, "all are answered")
        for running in sent:
            last = running.result()
            assert [message.is_last for message in running.messages].count(True) == 1
            assert running.messages[-1] is last
            outcomes[last.event.error.reason if isinstance(last.event, Failed) else "Finished"] += 1
        assert set(outcomes) == {"Finished", "Cancelled", "Unsupported"}, outcomes
        assert sum(outcomes.values()) == SOAKED
        assert outcomes["Finished"] > SOAKED / 2
        until(lambda: threading.active_count() <= threads, "no thread is left over")
        assert resident() - level < LEAK_BYTES, f"{(resident() - level) / 2**20:.0f} MiB more than after a fifth"
        batcher = engine._model._batcher
        assert (batcher._calls, batcher._taking_part, engine._generations) == ([], set(), {})
        assert opened(submit(request(steps=2, seed=5000)).result().payload).size == (128, 128)
    finally:
        engine.close()
