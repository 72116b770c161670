"""fal's queue over TLS, against an emulator that checks every request, and that fal's own client drives."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from easel_emulators.base import WORDS
from easel_emulators.fal import ENDPOINTS, KEY, SUBJECTS, Answer, Fal, Response, fal
from PIL import Image

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    BilledBadOutput,
    Cancelled,
    EaselError,
    InvalidInput,
    Throttled,
    Unsupported,
)
from easel_api.offers import Honours
from easel_api.provider import ProviderSpec
from easel_api.tasks import Task
from easel_inference.artifacts.encoding import encode
from easel_inference.backends.base import Cancellable, Expired, PaidBlock, Result, Resumable, Setup, StillOut
from easel_inference.backends.fal_queue import SPOKEN, app, client
from easel_inference.backends.polled import CancellablePolled, Pace
from easel_inference.backends.rest import Rest
from easel_inference.catalog.loading import surfaces
from easel_inference.generation import GenerationRequest, Handed, Inputs, Message
from easel_inference.routing.request import Resolved

PROMPT = "a zebra-striped teapot"
(SUBJECT,) = SUBJECTS
FAST = Pace(first=0.02, longest=0.05)
FLUX = "fal-ai/flux/dev"
KLING = "fal-ai/kling-video/v2.5-turbo/pro"
OFFERS = {str(offer["model"]): offer for offer in SUBJECT.offers}
SIZED = Resolved(size=(512, 256))
CLIP = Resolved(aspect_ratio="9:16", seconds=5)


def png(colour: str = "white") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=png(), mask=png("black"), control=png("grey"))
CASES: dict[str, tuple[Task, Resolved, dict[str, Any], dict[str, Any]]] = {
    FLUX: (
        Task.TEXT_TO_IMAGE,
        SIZED,
        {"steps": 30},
        {
            "seed": 9,
            "num_inference_steps": 30,
            "guidance_scale": 4.0,
            "image_size": {"width": 512, "height": 256},
            "num_images": 1,
            "output_format": "png",
        },
    ),
    f"{FLUX}/image-to-image": (
        Task.IMAGE_TO_IMAGE,
        Resolved(),
        {"strength": 0.5},
        {"seed": 9, "strength": 0.5, "num_images": 1, "output_format": "png", "image_url": ...},
    ),
    "fal-ai/flux-pro/v1/fill": (
        Task.INPAINT,
        Resolved(),
        {"encoding": "jpeg"},
        {"seed": 9, "num_images": 1, "output_format": "jpeg", "image_url": ..., "mask_url": ...},
    ),
    "fal-ai/qwen-image": (
        Task.TEXT_TO_IMAGE,
        Resolved(),
        {"negative_prompt": "blur"},
        {"seed": 9, "negative_prompt": "blur", "num_images": 1, "output_format": "png"},
    ),
    f"{KLING}/text-to-video": (
        Task.TEXT_TO_VIDEO,
        CLIP,
        {"encoding": "mp4"},
        {"aspect_ratio": "9:16", "duration": "5"},
    ),
    f"{KLING}/image-to-video": (
        Task.IMAGE_TO_VIDEO,
        Resolved(seconds=10),
        {"encoding": "mp4"},
        {"duration": "10", "image_url": ...},
    ),
}
"""For each endpoint a task, what the plan made of it, what a job sets, and what is asked beside the prompt."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Fal]:
    with fal(tmp_path) as made:
        yield made


def setup(service: Fal, model: str = FLUX, resolved: Resolved | None = None, key: str = KEY, **offer: Any) -> Setup:
    secret = service.authority.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "API_KEY").write_text(key)
    spec = {"family": "FalQueue", "endpoint": service.url, "credentials": {"secretRef": {"name": "fal"}}}
    offered = OFFERS.get(model, {"model": model, "tasks": ["text-to-image"]}) | offer
    provider = ProviderSpec.model_validate(spec | {"offers": [offered]})
    return Setup(f"fal/{model}", provider, model, resolved or Resolved(), secret, str(service.authority))


def wanted(**asks: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))


def run(made: CancellablePolled, request: GenerationRequest | None = None, inputs: Inputs = INPUTS) -> Result:
    return made.generate(request or wanted(), inputs, lambda _: None, threading.Event())


def make(service: Fal, model: str = FLUX, resolved: Resolved | None = None, **asks: Any) -> Result:
    return run(client(setup(service, model, resolved), FAST), wanted(**asks))


@pytest.mark.parametrize("model", CASES)
def test_every_endpoint_is_asked_in_the_names_of_its_schema(service: Fal, model: str) -> None:
    task, resolved, asks, told = CASES[model]
    result = make(service, model, resolved, task=task, **asks)
    assert service.refused == [], "the real service would have dropped a name in silence"
    assert service.paid == [model]
    (sent,) = service.calls
    assert {name: ... if name.endswith("_url") else value for name, value in sent.items()} == {"prompt": PROMPT} | told
    assert all(value.startswith("data:image/png;base64,") for name, value in sent.items() if name.endswith("_url"))
    if resolved.size:
        assert (result.finished.width, result.finished.height) == resolved.size
    if resolved.seconds:
        assert (result.finished.media_type, result.finished.frames) == ("video/mp4", 8 * resolved.seconds)
    assert result.billed is None, "fal says units, and not money"


def test_every_endpoint_of_the_emulator_is_tried_and_none_is_in_the_catalogue() -> None:
    assert set(CASES) == set(ENDPOINTS) == set(SUBJECT.rows) == set(OFFERS)
    assert surfaces()["fal"].offers == []
    assert set(SUBJECT.ends) | set(SUBJECT.never) == set(WORDS)


def test_what_other_endpoints_take_has_its_name(service: Fal) -> None:
    """Refused by the emulator's endpoints, none of which has these names."""
    clip = encode(np.zeros((8, 64, 64, 3), np.uint8), "mp4", 8)
    for task, resolved, asks, offer, name, value in (
        (Task.CONTROL_TO_IMAGE, Resolved(), {}, {}, "control_image_url", "data:image/png;"),
        (Task.VIDEO_TO_VIDEO, Resolved(), {"encoding": "mp4"}, {}, "video_url", "data:video/mp4;"),
        (Task.TEXT_TO_IMAGE, Resolved(tier="2K"), {}, {}, "resolution", "2K"),
        (
            Task.TEXT_TO_VIDEO,
            Resolved(),
            {"encoding": "mp4", "frames": 40},
            {"honours": ["frames"]},
            "num_frames",
            "40",
        ),
    ):
        made = client(setup(service, resolved=resolved, **offer), FAST)
        with pytest.raises(BilledBadOutput):
            run(made, wanted(task=task, **asks), Inputs(image=png(), control=png(), clip=clip))
        assert str(service.calls[-1][name]).startswith(value)


@pytest.mark.parametrize("word", [word for word in SUBJECT.ends if word not in ("throttled", "asks to wait")])
def test_each_word_ends_as_it_is_said_and_is_asked_for_once(service: Fal, word: str) -> None:
    ends = SUBJECT.ends[word]
    service.next.append(word)
    if not ends.reason:
        make(service)
    else:
        with pytest.raises(EaselError) as caught:
            make(service)
        assert caught.value.reason == ends.reason, str(caught.value)
        counts = isinstance(caught.value, AmbiguousSubmit | BilledBadOutput | PaidBlock)
        assert counts == bool(ends.paid), "the ledger counts what the provider bills"
        assert not isinstance(caught.value, Expired)
        assert not (ends.paid and caught.value.retryable)
        shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
        assert "zebra" not in shown
        assert KEY not in shown
    assert len(service.calls) == 1, "nothing asks twice behind our back"
    assert service.paid == [FLUX] * ends.paid
    assert service.refused == []
    assert service.polls >= {"slow poll": 5, "lost poll": 3, "throttled poll": 3}.get(word, 0)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(500, {"detail": [{"loc": ["body"], "msg": "zebra", "type": "internal_server_error"}]}), "Transient"),
        (Response(504, {"detail": "Timed out", "error_type": "request_timeout"}), "Transient"),
        (Response(422, {"detail": "zebra"}), "BilledBadOutput"),
        (Response(422, {"detail": [{"type": "zebra striped"}]}), "BilledBadOutput"),
        (
            Response(422, {"detail": [{"type": "image_too_large"}, {"type": "content_policy_violation"}]}),
            "ContentBlocked",
        ),
        (Response(400, {"detail": "client", "error_type": "client_cancelled"}), "AmbiguousSubmit"),
        (Response(404, {"detail": "gone"}), "AmbiguousSubmit"),
        (Response(200, {"video": {"url": 7}, "images": [None], "image": "x"}), "BilledBadOutput"),
        (Response(200, ["x"]), "BilledBadOutput"),
    ],
)
def test_each_end_of_a_request_is_read_from_its_answer(service: Fal, response: Response, reason: str) -> None:
    service.next.append(response)
    with pytest.raises(EaselError) as caught:
        make(service)
    assert caught.value.reason == reason
    assert "zebra" not in str(caught.value)
    assert isinstance(caught.value, PaidBlock) == (reason == "ContentBlocked")


def test_a_gateway_that_fails_by_itself_is_no_end_of_the_call(service: Fal) -> None:
    """Its answer may be there the next time, and is paid for."""
    service.next.append(Response(502, "<html>nginx</html>"))
    made = client(setup(service), Pace(first=0.02, longest=0.05, patience=0.2))
    with pytest.raises(AmbiguousSubmit, match="has not finished"):
        run(made)
    assert service.polls > 3


def test_other_shapes_of_results_are_found(service: Fal) -> None:
    service.next.append("result")
    make(service)
    (name,) = service.requests
    made = {"url": f"{service.url}/files/{name}/result.png"}
    for body in ({"image": made}, {"images": [made, made]}, {"image": made, "seed": 5}):
        service.next.append(Response(200, body))
        assert make(service).finished.seed == body.get("seed", 9)


def test_results_are_asked_to_be_gone_after_a_day(service: Fal) -> None:
    make(service)
    assert [json.loads(each or "") for each in service.lifecycles] == [{"expiration_duration_seconds": 86400}]


def test_how_long_to_wait_is_told(service: Fal) -> None:
    for headers, expected in (({"Retry-After": "17"}, 17.0), (None, None)):
        service.next.append(Answer(429, headers=headers))
        with pytest.raises(Throttled) as caught:
            make(service)
        assert caught.value.retry_after == expected
    assert service.paid == []


def test_submissions_that_may_have_been_taken_are_never_made_again(service: Fal) -> None:
    for answer in (Answer(504), Answer(200)):
        service.next.append(answer)
        with pytest.raises(AmbiguousSubmit):
            make(service)
    service.next.append(Answer(403, "Cannot access application"))
    with pytest.raises(AuthConfig):
        make(service)


def stopped(service: Fal) -> str:
    """The handle of a call that is left while it is under way."""
    service.gate.clear()
    stop = threading.Event()
    handles: list[str] = []

    def hear(message: Message) -> None:
        if isinstance(message.event, Handed):
            handles.append(message.event.handle)
            stop.set()

    with pytest.raises(StillOut):
        client(setup(service), FAST).generate(wanted(), INPUTS, hear, stop)
    return handles[-1]


def test_a_call_that_was_left_is_gone_on_with_and_never_made_again(service: Fal) -> None:
    handle = stopped(service)
    service.gate.set()
    later = client(setup(service), FAST)
    assert isinstance(later, Resumable)
    result = later.resume(handle, wanted(), lambda _: None, threading.Event())
    assert (len(service.calls), result.finished.seed) == (1, 9)


def test_a_call_can_be_stopped(service: Fal) -> None:
    handle = stopped(service)
    later = client(setup(service), FAST)
    assert isinstance(later, Cancellable)
    later.cancel(handle)
    assert service.requests[handle].is_cancelled
    later.cancel(handle)
    later.cancel("gone")
    with pytest.raises(AmbiguousSubmit, match="stopped"):
        later.resume(handle, wanted(), lambda _: None, threading.Event())
    with pytest.raises(AuthConfig):
        client(setup(service, key="another"), FAST).cancel(handle)


def test_nothing_was_sent_where_nobody_listens(service: Fal) -> None:
    service.url = "https://127.0.0.1:9"
    with pytest.raises(EaselError) as caught:
        make(service)
    assert (caught.value.reason, caught.value.retryable) == ("Transient", True)


def test_a_wrong_key_and_a_stranger_are_told_apart(service: Fal) -> None:
    with pytest.raises(AuthConfig) as refused:
        run(client(setup(service, key="another"), FAST))
    assert "another" not in str(refused.value)
    known = setup(service)
    stranger = Setup(known.name, known.spec, known.model, known.resolved, known.secret)
    with pytest.raises(EaselError) as caught:
        run(client(stranger, FAST))
    assert caught.value.reason == "EnvironmentFault", "its certificate is not trusted, so that nothing was sent"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Fal) -> None:
    for honour in set(Honours) - SPOKEN:
        with pytest.raises(Unsupported, match=honour.value):
            client(setup(service, honours=["seed", honour.value]))
    for model in ("flux", "fal-ai/../flux", "fal-ai//flux", "comfy/fal-ai"):
        with pytest.raises(Unsupported, match="owner"):
            client(setup(service, model))
    for task in (Task.OUTPAINT, Task.UPSCALE, Task.INTERPOLATION, Task.LATENT_TO_IMAGE):
        with pytest.raises(Unsupported):
            make(service, task=task)
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.mask"):
        run(client(setup(service), FAST), wanted(task=Task.INPAINT), Inputs(image=png()))
    with pytest.raises(InvalidInput, match=r"spec\.inputs\.image"):
        run(client(setup(service), FAST), wanted(task=Task.IMAGE_TO_IMAGE), Inputs(image=b"no picture"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client(setup(service), FAST).generate(wanted(), INPUTS, lambda _: None, stop)
    assert (service.calls, service.refused) == ([], [])


def test_a_deployment_is_called_in_the_models_place(service: Fal) -> None:
    assert run(client(setup(service, "flux", deployment=FLUX), FAST)).finished.model_digest == "fal/flux"
    assert service.paid == [FLUX]
    assert app("workflows/me/flow/run") == "/workflows/me/flow"


def test_the_emulator_refuses_what_an_endpoint_would(service: Fal) -> None:
    api = Rest("it", service.url, {"Authorization": f"Key {KEY}"}, str(service.authority))
    for endpoint, body in (
        (FLUX, {}),
        (FLUX, {"prompt": PROMPT, "width": 512}),
        (FLUX, {"prompt": PROMPT, "num_inference_steps": 51}),
        (f"{FLUX}/image-to-image", {"prompt": PROMPT}),
        (f"{FLUX}/image-to-image", {"prompt": PROMPT, "image_url": "data:image/png;base64,AAAA"}),
        (f"{KLING}/text-to-video", {"prompt": PROMPT, "duration": 5}),
    ):
        handle = api.post(f"/{endpoint}", body, endpoint).json()["request_id"]
        assert api.ask("GET", f"{app(endpoint)}/requests/{handle}", endpoint).status == 422, body
    assert api.ask("GET", f"/fal-ai/other/requests/{handle}", FLUX).status == 404


DRIVER = """
import json, sys, fal_client
client = fal_client.SyncClient()
arguments = {"prompt": "a teapot", "image_size": {"width": 64, "height": 64}}
handle = client.submit("fal-ai/flux/dev", arguments)
seen = [type(event).__name__ for event in handle.iter_events(with_logs=True, interval=0.01)]
told = {"seen": seen, "result": handle.get(interval=0.01), "again": client.result("fal-ai/flux/dev", handle.request_id)}
for name in ("failed", "blocked"):
    try:
        client.subscribe("fal-ai/flux/dev", arguments, interval=0.01)
    except fal_client.FalClientHTTPError as error:
        told[name] = [error.status_code, error.error_type]
try:
    handle.cancel()
except fal_client.FalClientHTTPError as error:
    told["cancel"] = error.status_code
print(json.dumps(told))
"""


def test_fals_own_client_drives_the_emulator(service: Fal) -> None:
    service.next += ["slow poll", "failed", "blocked late"]
    environment = {"FAL_QUEUE_RUN_HOST": service.url.removeprefix("https://"), "FAL_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        env=os.environ | environment | {"SSL_CERT_FILE": str(service.authority)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seen"] == ["Queued", "InProgress", "InProgress", "Completed"]
    assert told["result"] == told["again"]
    (picture,) = told["result"]["images"]
    with Image.open(
        io.BytesIO(Rest("it", service.url, {}, str(service.authority)).fetch(picture["url"], FLUX))
    ) as opened:
        assert opened.size == (64, 64)
    assert told["failed"] == [503, "runner_disconnected"]
    assert told["blocked"] == [422, None]
    assert told["cancel"] == 400, "it is over"
    assert service.refused == []
