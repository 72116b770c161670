"""The engine around the miniature: the four tasks, joined equals alone, cancellation, duplicates, retention."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import MINIATURE, Submit, opened, png, request, submitter
from PIL import Image
from scenes import clip_of, frames, overlap, rendered, seen, shapes_of
from waiting import held, until

from easel_api.errors import InvalidInput
from easel_api.modeldeployment import Engine, ModelDeploymentSpec
from easel_api.tasks import OWN, TAKES, Task
from easel_inference.generation import Expand, Failed, Finished, GenerationRequest, PreviewOptions
from easel_inference.miniature.judge import load_judge, pictures_of

pytestmark = pytest.mark.engine

TOLERANCE = 2
"""Grey values of 255 by which a joined result may differ: sums of another batch size round otherwise."""


PICTURE = png(rendered(product="ball", colour="blue", environment="studio", view="front"))
BOX = Image.new("L", (128, 128))
BOX.paste(255, (20, 16, 116, 112))
MASK = png(BOX)


MAP = shapes_of(product="bottle", colour="blue", environment="studio", view="front", shift=0.2)
CLIP = clip_of(product="ball", colour="blue", environment="studio", view="front")

ASKED: dict[Task, tuple[dict[str, Any], dict[str, bytes]]] = {
    Task.TEXT_TO_IMAGE: ({}, {}),
    Task.IMAGE_TO_IMAGE: ({"strength": 0.6}, {"image": PICTURE}),
    Task.INPAINT: ({}, {"image": PICTURE, "mask": MASK}),
    Task.OUTPAINT: ({"expand": Expand(left=32, right=32)}, {"image": PICTURE}),
    Task.SEGMENTATION_TO_IMAGE: ({}, {"control": MAP}),
    Task.CONTROL_TO_IMAGE: ({}, {"control": MAP}),
    Task.UPSCALE: ({"scale": 2, "steps": 10}, {"image": PICTURE}),
    Task.INTERPOLATION: ({"frames": 3, "end_seed": 7, "encoding": "webp"}, {}),
    Task.TEXT_TO_VIDEO: ({"steps": 3, "frames": 4, "encoding": "webp"}, {}),
    Task.IMAGE_TO_VIDEO: ({"steps": 4, "frames": 4, "encoding": "webp"}, {"image": PICTURE}),
    Task.VIDEO_TO_VIDEO: ({"steps": 4, "frames": 4, "encoding": "webp"}, {"clip": CLIP}),
}


def test_the_miniature_does_every_task_but_those_of_generators(engine: Any) -> None:
    assert set(engine.info.tasks) == set(ASKED) == {task for task in OWN if TAKES[task].prompt}


@pytest.mark.parametrize("task", list(ASKED))
def test_joined_equals_alone(submit: Submit, engine: Any, task: Task) -> None:
    fields, inputs = ASKED[task]
    prompts = ["a red mug on grass, front view", "a blue cone at night, left view", "a green box on a beach, back view"]
    requests = [request(prompt, task, seed=seed, **fields) for seed, prompt in enumerate(prompts)]
    alone = [frames(submit(each, **inputs)) for each in requests]
    before, batcher = engine.counts.joined, engine._model._batcher
    # Whether two are worth a pass was measured at start-up; here two are joined in any case.
    budgets, batcher._budgets = batcher._budgets, {}
    try:
        with held(batcher, len(requests)):
            running = [submit(each, **inputs) for each in requests]
        joined = [frames(each) for each in running]
    finally:
        batcher._budgets = budgets
    passes = {size: count - before.get(size, 0) for size, count in engine.counts.joined.items()}
    assert sum(count for size, count in passes.items() if size > 1) > 0, "nothing was joined, so nothing was compared"
    for one, other in zip(alone, joined, strict=True):
        assert one.shape == other.shape
        # An animated WebP is lossy and may turn one grey value into a few.
        assert np.abs(one - other).max() <= (12 if TAKES[task].video else TOLERANCE)


def test_requests_of_unlike_length_and_guidance_join_too(submit: Submit, engine: Any) -> None:
    requests = [request(seed=1, steps=6), request(seed=2, steps=9), request(seed=3, steps=12, guidance_scale=1.0)]
    alone = [frames(submit(each)) for each in requests]
    joined = [frames(each) for each in [submit(each) for each in requests]]
    for one, other in zip(alone, joined, strict=True):
        assert np.abs(one - other).max() <= TOLERANCE


def test_pictures_show_what_their_prompts_ask(submit: Submit) -> None:
    prompts = [
        "a red mug on a beach, front view", "a blue bottle in a studio, front view", "a green lamp on grass, left view",
        "a yellow chair at night, right view", "a purple box on a wooden table, front right view",
        "an orange ball on grass, front view", "a white cone on a beach, back view", "a black donut in a studio, front view",
    ]  # fmt: skip
    running = [submit(request(prompt, steps=20, seed=seed)) for seed, prompt in enumerate(prompts)]
    pictures = [opened(each.result().payload) for each in running]
    assert seen(pictures, prompts).share("product", "colour") >= 0.9


def test_image_to_image_repaints_and_keeps_the_place(submit: Submit) -> None:
    prompt = "a red mug in a studio, front view"
    source = rendered(product="mug", colour="yellow", environment="studio", view="front")
    result = opened(submit(request(prompt, Task.IMAGE_TO_IMAGE, steps=20), png(source)).result().payload)
    assert seen([result], [prompt]).share("product", "colour") == 1
    assert overlap(source, result) > 0.7


def test_inpaint_changes_the_inside_alone(submit: Submit) -> None:
    prompt = "a yellow cone in a studio, front view"
    result = opened(submit(request(prompt, Task.INPAINT, steps=20), PICTURE, MASK).result().payload)
    assert seen([result], [prompt]).share("product", "colour") == 1
    outside = np.asarray(BOX) == 0
    assert np.array_equal(np.asarray(result)[outside], np.asarray(opened(PICTURE))[outside])


def test_a_clip_has_its_frames_and_moves(submit: Submit) -> None:
    prompt = "a red mug sliding left on a beach, front view"
    fields = {"steps": 12, "frames": 8, "fps": 6, "encoding": "mp4", "seed": 4}
    message = submit(request(prompt, Task.TEXT_TO_VIDEO, **fields)).result()
    assert isinstance(message.event, Finished)
    assert (message.event.frames, message.event.fps, message.event.media_type) == (8, 6, "video/mp4")
    import av

    with av.open(io.BytesIO(message.payload)) as container:
        shown = [frame.to_image() for frame in container.decode(video=0)]
    assert len(shown) == 8
    masks = load_judge().silhouettes(pictures_of(shown)).float()
    middle = (masks.sum(1) * torch.arange(64)).sum(1) / masks.sum((1, 2)).clamp(min=1)
    assert middle[-1] < middle[0] - 8, f"did not slide left: {middle.tolist()}"


def test_a_result_names_the_digests_of_the_adapters_that_took_part(submit: Submit, engine: Any) -> None:
    clip = submit(request(task=Task.TEXT_TO_VIDEO, steps=1, frames=2, encoding="webp")).result().event
    picture = submit(request(steps=1)).result().event
    path = submit(request(task=Task.INTERPOLATION, steps=1, frames=2, end_seed=7, encoding="webp")).result().event
    assert clip.adapters == {"motion": engine.info.adapters["motion"]}
    assert picture.adapters == path.adapters == {}


def test_a_named_size_scales_the_input(submit: Submit) -> None:
    photo = png(rendered(product="ball", colour="red", environment="grass", view="front").resize((300, 201)))
    asked = request("a blue ball on grass", Task.IMAGE_TO_IMAGE, width=192, height=128)
    event = submit(asked, photo).result().event
    assert isinstance(event, Finished)
    assert (event.width, event.height) == (192, 128)


def test_events_tell_of_each_step_and_the_result_is_described(submit: Submit) -> None:
    running = submit(request(previews=PreviewOptions(every_steps=3, size=64)))
    message = running.result()
    event = message.event
    assert running.kinds() == ["accepted", *["step"] * 3, "preview", *["step"] * 3, "preview", *["step"] * 2, "result"]
    assert isinstance(event, Finished)
    assert event.sha256 == hashlib.sha256(message.payload).hexdigest()
    assert (event.width, event.height, event.steps, event.reused) == (128, 128, 8, False)
    assert event.timings.total >= event.timings.denoise > 0
    for preview in (each for each in running.messages if each.event.kind == "preview"):
        picture = opened(preview.payload)
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


def test_a_late_preview_already_looks_like_the_result(submit: Submit) -> None:
    running = submit(request("a red mug on a beach", steps=20, previews=PreviewOptions(every_steps=14, size=128)))
    result = opened(running.result().payload)
    preview = next(opened(each.payload) for each in running.messages if each.event.kind == "preview")
    distance = np.abs(np.asarray(preview, np.int16) - np.asarray(result, np.int16)).mean()
    assert distance < 16, "the preview shows noise, not the expected result"


def test_cancelling_stops_at_the_next_step(submit: Submit, engine: Any) -> None:
    before = engine.counts
    running = submit(request(steps=200))
    running.until("step")
    running.handle.cancel()
    last = running.result().event
    assert isinstance(last, Failed)
    assert last.error.reason == "Cancelled"
    submit(request(steps=1)).result()  # a whole request later the cancelled one is long over
    after = engine.counts
    assert after.steps - before.steps <= len([kind for kind in running.kinds() if kind == "step"]) + 2
    assert after.generations["cancelled"] == before.generations["cancelled"] + 1
    assert running.messages[-1].event == last


def test_a_waiting_request_is_cancelled_at_once() -> None:
    spec = MINIATURE.model_copy(update={"engine": MINIATURE.engine.model_copy(update={"max_concurrent_requests": 1})})
    with fresh_engine(spec) as engine:
        submit = submitter(engine)
        first, second = submit(request(steps=60)), submit(request(seed=9))
        first.until("step")
        assert engine.counts.waiting == 1
        second.handle.cancel()
        assert second.result().event.error.reason == "Cancelled"
        assert second.kinds() == ["accepted", "error"]
        assert engine.counts.waiting == 0
        assert isinstance(first.result().event, Finished)


def test_one_bad_neighbour_fails_alone(submit: Submit, engine: Any) -> None:
    """A request whose forward pass always fails, among others that are joined with nobody of its shape or all."""

    def fail(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        if arguments["sample"].shape[-1] == 8 or len(arguments["sample"]) > 4:
            raise RuntimeError("a kernel failed")

    hook = engine._model._shared.model.parts["unet"].register_forward_pre_hook(fail, with_kwargs=True)
    try:
        good = [submit(request(seed=seed)) for seed in range(3)]
        bad = submit(request(width=64, height=64))
        outcomes = [each.result().event for each in good]
    finally:
        hook.remove()
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    event = bad.result().event
    assert isinstance(event, Failed)
    assert event.error.reason == "BackendFault"


@pytest.mark.parametrize(
    ("asked", "image", "reason", "where"),
    [
        (request(width=1024, height=1024), None, "Unsupported", "width"),
        (request(strength=0.5), None, "Unsupported", "strength"),
        (request(frames=8), None, "Unsupported", "frames"),
        (request(prompt="a red mug " * 30), None, "Unsupported", "prompt"),
        (request(prompt="", task=Task.IMAGE_TO_VIDEO, encoding="mp4"), PICTURE, "Unsupported", "prompt"),
        (request(negative_prompt="blurry " * 80), None, "Unsupported", "negative_prompt"),
        (request(negative_prompt="blurry", guidance_scale=1.0), None, "Unsupported", "negative_prompt"),
        (request(encoding="mp4"), None, "Unsupported", "encoding"),
        (request(task=Task.TEXT_TO_VIDEO, encoding="png"), None, "Unsupported", "encoding"),
        (request(task=Task.TEXT_TO_VIDEO, frames=64), None, "Unsupported", "frames"),
        (request(task=Task.IMAGE_TO_IMAGE), None, "InvalidInput", "image"),
        (request(task=Task.IMAGE_TO_IMAGE), b"text", "InvalidInput", "image"),
        (request(task=Task.IMAGE_TO_IMAGE, steps=2, strength=0.1), PICTURE, "InvalidInput", "strength"),
    ],
)
def test_refusals_name_the_field(
    submit: Submit, engine: Any, asked: GenerationRequest, image: bytes | None, reason: str, where: str
) -> None:
    steps = engine.counts.steps
    running = submit(asked, image)
    assert running.kinds() == ["error"]
    error = running.result().event.error
    assert (error.reason, error.where) == (reason, where)
    assert engine.counts.steps == steps


def test_a_retry_gets_the_very_same_bytes_without_a_second_generation() -> None:
    with fresh_engine(MINIATURE) as engine:
        submit = submitter(engine)
        first = submit(request(id="first life")).result()
        again = submit(request(id="second life", previews=PreviewOptions(every_steps=1)))
        assert again.kinds() == ["accepted", "result"]
        assert again.result().payload == first.payload
        assert again.result().event.reused
        counts = engine.counts
        assert (counts.generations["succeeded"], counts.reused_results, counts.steps) == (1, 1, 8)


def test_a_duplicate_in_flight_waits_for_the_first(submit: Submit, engine: Any) -> None:
    before = engine.counts
    first = submit(request(steps=20, seed=77))
    first.until("step")
    second = submit(request(steps=20, seed=77))
    first.handle.cancel()  # the worker's first life is gone; its second one still wants the result
    assert first.result().event.error.reason == "Cancelled"
    event = second.result().event
    assert isinstance(event, Finished)
    after = engine.counts
    assert after.generations["succeeded"] == before.generations["succeeded"] + 1
    assert after.steps == before.steps + 20


def test_a_draining_engine_refuses_new_requests_and_finishes_the_others() -> None:
    with fresh_engine(MINIATURE) as engine:
        submit = submitter(engine)
        running = submit(request(steps=20))
        running.until("step")
        engine.drain()
        late = submit(request(seed=5)).result().event
        assert isinstance(late, Failed)
        assert late.error.to_error().retryable
        assert isinstance(running.result().event, Finished)


def test_a_draining_engine_hands_back_what_would_not_be_done_in_time() -> None:
    with fresh_engine(MINIATURE.model_copy(update={"engine": Engine(max_concurrent_requests=2)})) as engine:
        submit = submitter(engine)
        long, short = submit(request(steps=200, width=256, height=256)), submit(request(steps=3, seed=3))
        # As long: should the short one end before the drain begins, this one has begun, and is late all the same.
        waiting = submit(request(steps=200, width=256, height=256, seed=4))
        long.until("step")
        short.until("step")
        # Two steps are left of the short one, and nearly two hundred of each of the others: the machine may be ten times slower or faster.
        end = time.monotonic() + 8.0

        def drained() -> bool:
            # Again and again, as the server does: one that has just begun cannot tell yet how long it takes.
            engine.drain(end - time.monotonic())
            return engine.counts.running == engine.counts.waiting == 0

        until(drained, "nothing is left")
        for given in (long, waiting):
            failed = given.result().event
            assert isinstance(failed, Failed)
            assert (failed.error.reason, failed.error.to_error().retryable) == ("HandedBack", True)
        assert isinstance(short.result().event, Finished)


def test_prompts_reach_no_log(submit: Submit, capfd: pytest.CaptureFixture[str]) -> None:
    submit(request("zebra " * 200, steps=1)).result()
    output = capfd.readouterr()
    assert "zebra" not in output.out + output.err


def test_a_pinned_digest_that_differs_stops_the_load() -> None:
    from easel_inference.engine.engine import Engine

    spec = ModelDeploymentSpec.model_validate(
        {"model": {"source": "builtin://miniature", "digest": "sha256:" + "0" * 64}}
    )
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        Engine(spec, claims=Path("/nowhere"), threads=1)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A folder that lacks a tensor would draw noise without a word."""
    import shutil

    from safetensors.torch import load_file, save_file

    from easel_inference.engine.engine import Engine
    from easel_inference.engine.sources import BUILTINS

    folder = Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file)
    spec = ModelDeploymentSpec.model_validate({"model": {"source": f"file://{folder}"}})
    with pytest.raises(InvalidInput, match=r"conv_in\.weight"):
        Engine(spec, claims=Path("/nowhere"), threads=1)


class fresh_engine:  # noqa: N801 - reads as a function
    """An engine of its own, closed at the end."""

    def __init__(self, spec: ModelDeploymentSpec) -> None:
        from easel_inference.engine.engine import Engine

        self._engine = Engine(spec, claims=Path("/nowhere"), threads=1)

    def __enter__(self) -> Any:
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.close()
