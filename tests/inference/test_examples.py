"""The shipped manifests, item by item through the real Triton: every task has one, and each shows what it asks for."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import opened
from PIL import Image
from scenes import seen
from streaming import Stream

from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment
from easel_api.tasks import OWN, TAKES
from easel_api.validation import load_documents
from easel_inference.generation import Finished
from easel_inference.jobs.inputs import Sources, load
from easel_inference.jobs.items import expand

pytestmark = pytest.mark.triton

EXAMPLES = Path(__file__).parents[2] / "examples"

QUESTIONS = {"style-transfer": ("product", "view"), "latent-to-image": ("product",)}
"""What the judge is asked of an example; product and colour where nothing else is said. Ink has one colour alone."""


def jobs() -> dict[str, GenerationJob]:
    """The examples for this machine, by the names of their files."""
    found = {}
    for file in sorted(EXAMPLES.glob("*.yaml")):
        for job in load_documents([file], for_cluster=False).jobs:
            if job.spec.output.store is None:
                found[file.stem] = job
    return found


def model(name: str, file: str) -> ModelDeployment:
    return next(
        each for each in load_documents([EXAMPLES / file], for_cluster=False).models if each.metadata.name == name
    )


JOBS = jobs()


def test_every_task_has_an_example() -> None:
    assert {job.spec.task for job in JOBS.values()} == OWN


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The built-in generators, each behind a Triton of its own."""
    from contextlib import ExitStack

    from easel_inference.serving.local import start_local

    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                start_local(
                    model(name, "generators.yaml").spec,
                    tmp_path_factory.mktemp(name),
                    environment={"EASEL_THREADS": "1"},
                )
            )
            for name in ("studio-gan", "studio-vae")
        }


def results(job: GenerationJob, endpoint: str) -> list[tuple[Any, Finished, bytes]]:
    """Request, event and payload of every item."""
    inputs = load(job.spec, Sources(claims=Path("/nowhere"), files=EXAMPLES, read_s3=lambda *_: None))
    requests = [item.request for item in expand(job.spec)]
    streams = [Stream(endpoint).send_with(request, inputs) for request in requests]
    with ThreadPoolExecutor(len(streams)) as pool:
        messages = list(pool.map(Stream.result, streams))
    done = []
    for request, message in zip(requests, messages, strict=True):
        assert isinstance(message.event, Finished), message.event
        done.append((request, message.event, message.payload))
    return done


def frames_of(payload: bytes, media_type: str) -> list[Image.Image]:
    if media_type != "video/mp4":
        return [opened(payload).convert("RGB")]
    import av

    with av.open(io.BytesIO(payload)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def draw_sheet(name: str, job: GenerationJob, made: list[list[Image.Image]]) -> None:
    """For the documentation: the inputs, then the results; a clip as some of its frames. Written to `EASEL_SHEETS`."""
    folder = os.environ.get("EASEL_SHEETS")
    if not folder:
        return
    sources = load(job.spec, Sources(claims=Path("/nowhere"), files=EXAMPLES, read_s3=lambda *_: None)).named()
    shown = [frames_of(data, "video/mp4" if part == "clip" else "") for part, data in sources.items() if data]
    tiles = [frame for frames in (shown + made)[:9] for frame in (frames[:: max(1, len(frames) // 4)])[:5]][:10]
    sheet = Image.new("RGB", (sum(tile.width + 4 for tile in tiles) - 4, max(tile.height for tile in tiles)), "white")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + 4
    sheet.save(Path(folder) / f"{name}.png")


def check(name: str, job: GenerationJob, endpoint: str) -> None:
    pictures, prompts, made = [], [], []
    for request, event, payload in results(job, endpoint):
        frames = frames_of(payload, event.media_type)
        made.append(frames)
        assert len(frames) == event.frames
        assert frames[0].size == (event.width, event.height)
        assert event.frames == (job.spec.parameters.frames or (8 if TAKES[request.task].video else 1))
        pictures.append(frames[0].resize((128, 128), Image.Resampling.BICUBIC) if frames[0].width != 192 else frames[0])
        prompts.append(request.prompt)
    draw_sheet(name, job, made)
    if not TAKES[job.spec.task].prompt and not all(prompts):
        return  # a generator without classes was asked for nothing
    squares = [picture.crop((32, 0, 160, 128)) if picture.width == 192 else picture for picture in pictures]
    assert (
        seen(squares, prompts).share(*QUESTIONS.get(name, QUESTIONS.get(job.spec.task, ("product", "colour")))) >= 0.75
    )


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if TAKES[job.spec.task].prompt])
def test_an_example_shows_what_it_asks_for(server: Any, name: str) -> None:
    check(name, JOBS[name], server.endpoint)


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if not TAKES[job.spec.task].prompt])
def test_an_example_of_a_generator_shows_what_it_asks_for(generators: dict[str, Any], name: str) -> None:
    check(name, JOBS[name], generators[JOBS[name].spec.backends[0].model_deployment].endpoint)
