"""Whole jobs: the worker with the real Triton and real stores."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from easel_api.errors import InvalidInput
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.headers import read_header
from easel_inference.artifacts.stores import sha256_of
from easel_inference.jobs.worker import Outcome, Worker, generate_at

pytestmark = [pytest.mark.triton, pytest.mark.engine]

Build = Callable[..., Worker]


def run(worker: Worker, serving: Any) -> Outcome:
    return generate_at(worker, worker.claim(), serving.endpoint, "studio-mini", threading.Event())


@pytest.mark.s3
def test_a_job_ends_with_every_object_in_the_bucket_and_in_the_manifest(
    serving: Any, bucket: Any, spec: Any, worker_for: Build
) -> None:
    job = spec(
        prompts=[{"text": "a {{colour}} mug on a beach, front view", "negative": "blurry"}],
        matrix={"colour": ["red", "blue"]},
        parameters={"steps": 4, "seeds": [7, 8]},
    )
    outcome = run(worker_for(job, bucket.store()), serving)
    assert (outcome.succeeded, outcome.failed) == (4, 0)
    manifest = json.loads(bucket.bytes_of("mugs/manifest.json"))
    assert manifest["total"] == 4
    keys = [item["delivered"]["key"] for item in manifest["items"]]
    assert keys == sorted(keys)
    assert set(bucket.objects()) == {"mugs/manifest.json", *keys}
    for item in manifest["items"]:
        data, delivered = bucket.bytes_of(item["delivered"]["key"]), item["delivered"]
        assert (len(data), sha256_of(data)) == (delivered["bytes"], delivered["sha256"])
        assert (delivered["width"], delivered["height"], delivered["mediaType"]) == (128, 128, "image/png")
        assert delivered["modelDigest"].startswith("sha256:")
        assert {"torch", "diffusers", "transformers"} <= set(delivered["versions"])
        assert delivered["threads"] >= 1
        assert delivered["timings"]["denoise"] > 0
        assert item["state"] == "Succeeded"
        assert item["negative"] == "blurry"
        assert item["variables"]["colour"] in item["prompt"]
    assert len({item["delivered"]["sha256"] for item in manifest["items"]}) == 4


def test_a_second_run_makes_nothing(serving: Any, tmp_path: Path, spec: Any, worker_for: Build) -> None:
    store = DirectoryStore(tmp_path)
    run(worker_for(spec(), store), serving)
    before, manifest = serving.generations(), (tmp_path / "mugs/manifest.json").read_bytes()
    again = worker_for(spec(), store)
    assert run(again, serving).succeeded == 4
    assert serving.generations() == before
    assert (tmp_path / "mugs/manifest.json").read_bytes() == manifest
    assert again.tally.snapshot().percent == 100


def test_only_what_is_missing_or_damaged_is_made_again(
    serving: Any, tmp_path: Path, spec: Any, worker_for: Build
) -> None:
    store = DirectoryStore(tmp_path)
    run(worker_for(spec(), store), serving)
    first, second, *_ = sorted((tmp_path / "mugs").glob("*.png"))
    whole = {path: path.read_bytes() for path in (first, second)}
    first.unlink()
    second.write_bytes(whole[second][:-10])
    worker = worker_for(spec(), store)
    missing = worker.claim()
    assert [item.id for item in missing] == [first.stem, second.stem]
    generate_at(worker, missing, serving.endpoint, "studio-mini", threading.Event())
    assert {path: path.read_bytes() for path in (first, second)} == whole  # the same seed, the same bytes


def test_another_spec_in_the_same_place_is_refused_and_nothing_is_touched(
    serving: Any, tmp_path: Path, spec: Any, worker_for: Build
) -> None:
    store = DirectoryStore(tmp_path)
    run(worker_for(spec(), store), serving)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InvalidInput, match="results of another job are already here") as caught:
        worker_for(spec(parameters={"steps": 5}), store).claim()
    assert caught.value.where == "spec"
    assert str(tmp_path / "mugs/manifest.json") in caught.value.found
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_previews_of_unfinished_work_are_kept(serving: Any, tmp_path: Path, spec: Any, worker_for: Build) -> None:
    job = spec(output={"previews": {"everySteps": 2, "size": 64}}, parameters={"steps": 6, "seeds": [5]})
    run(worker_for(job, DirectoryStore(tmp_path)), serving)
    (preview,) = (tmp_path / "mugs/previews").iterdir()
    assert read_header(preview.read_bytes()).media_type == "image/jpeg"


def test_image_to_image_and_inpaint_start_from_pictures(
    serving: Any, tmp_path: Path, spec: Any, worker_for: Build
) -> None:
    Image.new("RGB", (128, 128), "red").save(tmp_path / "in.png")
    Image.new("L", (128, 128), 255).save(tmp_path / "mask.png")
    inputs = {"image": {"uri": "file://in.png"}}
    job = spec(task="image-to-image", inputs=inputs, parameters={"steps": 4, "strength": 0.5})
    worker = worker_for(job, DirectoryStore(tmp_path), folder="changed/")
    assert run(worker, serving).succeeded == 1
    assert worker.tally.snapshot().steps_done == worker.tally.snapshot().steps_total
    job = spec(task="inpaint", inputs=inputs | {"mask": {"uri": "file://mask.png"}}, parameters={"steps": 4})
    assert run(worker_for(job, DirectoryStore(tmp_path), folder="filled/"), serving).succeeded == 1


def test_a_changed_input_picture_is_another_job(serving: Any, tmp_path: Path, spec: Any, worker_for: Build) -> None:
    job = spec(task="image-to-image", inputs={"image": {"uri": "file://in.png"}}, parameters={"steps": 2})
    Image.new("RGB", (128, 128), "red").save(tmp_path / "in.png")
    run(worker_for(job, DirectoryStore(tmp_path)), serving)
    Image.new("RGB", (128, 128), "blue").save(tmp_path / "in.png")
    with pytest.raises(InvalidInput) as caught:
        worker_for(job, DirectoryStore(tmp_path)).claim()
    assert caught.value.where == "spec.inputs"


@pytest.mark.parametrize("encoding", ["mp4", "gif"])
def test_clips(serving: Any, tmp_path: Path, spec: Any, worker_for: Build, encoding: str) -> None:
    job = spec(
        task="text-to-video",
        prompts=[{"text": "a red ball in a studio, sliding left"}],
        parameters={"steps": 2, "frames": 8, "fps": 8, "seeds": [1]},
        output={"format": encoding},
    )
    assert run(worker_for(job, DirectoryStore(tmp_path)), serving).succeeded == 1
    (clip,) = (tmp_path / "mugs").glob(f"*.{encoding}")
    header = read_header(clip.read_bytes())
    assert (header.width, header.height) == (128, 128)
    assert header.frames > 1
