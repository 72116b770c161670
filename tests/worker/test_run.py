"""`easel run` from end to end: the real command, the real Triton, pictures that show what the prompts asked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from easel_inference.artifacts.headers import read_header
from easel_inference.artifacts.stores import sha256_of
from easel_inference.miniature import WEIGHTS

pytestmark = [pytest.mark.triton, pytest.mark.engine]

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "easel_inference.cli", "run"]


def run(*arguments: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def small_job(folder: Path, **changes: Any) -> Path:
    """The demo's documents with a job of little work."""
    model, job = yaml.safe_load_all((EXAMPLES / "mugs.yaml").read_text())
    spec = job["spec"] | {"matrix": {}, "prompts": [{"text": "a red mug"}], "parameters": {"steps": 2, "seeds": [1, 2]}}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump_all([model, job | {"spec": spec | changes}]))
    return path


def test_the_demo_makes_pictures_that_show_what_was_asked(tmp_path: Path) -> None:
    from easel_inference.miniature.judge import judge_files

    done = run(EXAMPLES / "mugs.yaml", "--out", tmp_path)
    items = manifest(tmp_path)["items"]
    assert len(items) >= 16
    paths = [tmp_path / item["delivered"]["key"] for item in items]
    assert sorted(tmp_path.glob("0*.png")) == sorted(paths)
    for item, path in zip(items, paths, strict=True):
        assert sha256_of(path.read_bytes()) == item["delivered"]["sha256"]
    agreement = judge_files(paths, [item["prompt"] for item in items])
    assert agreement.share("product", "colour") >= 0.9
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["mugs:", "16", "pictures,", "text-to-image", "by", "studio-mini"]
    assert ["16", "pictures", "in", str(tmp_path)] in lines
    assert ["contact", "sheet", f"{tmp_path}/contact-sheet.png"] in lines
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 4 * 128
    before = {path: path.stat().st_mtime_ns for path in paths}
    again = run(EXAMPLES / "mugs.yaml", "--out", tmp_path)
    assert "starting Triton" not in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.parametrize(
    ("example", "count", "media_type"),
    [("image-to-image", 4, "image/png"), ("inpaint", 4, "image/png"), ("text-to-video", 4, "video/mp4")],
)
def test_every_other_task_has_an_example_that_works(example: str, count: int, media_type: str, tmp_path: Path) -> None:
    run(EXAMPLES / f"{example}.yaml", EXAMPLES / "modeldeployment.yaml", "--out", tmp_path)
    delivered = [item["delivered"] for item in manifest(tmp_path)["items"]]
    assert len(delivered) == count
    for each in delivered:
        header = read_header((tmp_path / each["key"]).read_bytes())
        assert (header.media_type, header.width, header.height) == (media_type, 128, 128)


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of long items, in a process group of its own as a terminal has it, with its scratch below `tmp_path`."""
    job = small_job(
        tmp_path, parameters={"steps": 100, "seeds": list(range(20))}, output={"previews": {"everySteps": 1}}
    )
    process = subprocess.Popen(
        [*COMMAND, str(job), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    yield process
    process.kill()
    process.wait()


def servers_below(scratch: Path) -> list[int]:
    """Launcher, tritonserver and stub of the run with its scratch there, oldest first."""
    marker, found = f"EASEL_STATE_DIR={scratch}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (process / "environ").read_bytes():
                found.append(int(process.name))
    return sorted(found)


def test_ctrl_c_stops_in_order_and_the_next_run_goes_on(
    interrupted: subprocess.Popen[str], tmp_path: Path, eventually: Any
) -> None:
    previews = tmp_path / "out/previews"
    eventually(lambda: previews.is_dir() and any(previews.iterdir()), "items generate", 120)
    assert servers_below(tmp_path)
    os.killpg(interrupted.pid, signal.SIGINT)
    output, _ = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert "Traceback" not in output
    assert "run it again" in output
    eventually(lambda: not servers_below(tmp_path), "nothing is left behind", 30)
    assert manifest(tmp_path / "out")["total"] == 20


def test_a_killed_run_leaves_no_server_behind(
    interrupted: subprocess.Popen[str], tmp_path: Path, eventually: Any
) -> None:
    previews = tmp_path / "out/previews"
    eventually(lambda: previews.is_dir() and any(previews.iterdir()), "items generate", 120)
    assert len(servers_below(tmp_path)) >= 3
    interrupted.kill()
    interrupted.wait()
    eventually(lambda: not servers_below(tmp_path), "the server goes with its run", 60)


def test_a_server_that_dies_ends_the_run_with_its_log(
    interrupted: subprocess.Popen[str], tmp_path: Path, eventually: Any
) -> None:
    previews = tmp_path / "out/previews"
    eventually(lambda: previews.is_dir() and any(previews.iterdir()), "items generate", 120)
    launcher, *_ = servers_below(tmp_path)
    os.kill(launcher, signal.SIGKILL)
    output, _ = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 1
    assert "the server ended" in output
    assert "server.log" in output
    eventually(lambda: not servers_below(tmp_path), "nothing is left behind", 30)


def test_a_deadline_is_kept(tmp_path: Path) -> None:
    job = small_job(tmp_path, parameters={"steps": 200, "seeds": list(range(40))}, deadlineSeconds=2)
    done = run(job, "--out", tmp_path / "out", code=1)
    assert "spec.deadlineSeconds" in done.stderr


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        job = small_job(tmp_path, parameters={"steps": 2, "seeds": list(range(6))})
        done = run(job, "--out", disk, code=3)
        assert f"{disk}/" in done.stderr
        assert "no room to write" in done.stderr
        assert "No space left on device" in done.stderr
        kept = {path: path.read_bytes() for path in disk.glob("0*.png")}
        assert 0 < len(kept) < 6
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        run(job, "--out", disk)
        assert len(list(disk.glob("0*.png"))) == 6
        assert kept == {path: path.read_bytes() for path in kept}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.s3
def test_results_go_to_the_jobs_bucket_when_no_folder_is_named(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = {"s3": {"bucket": bucket.name, "endpoint": bucket.endpoint, "prefix": "art/"}}
    done = run(small_job(tmp_path, output={"store": store}), **bucket.environment)
    assert f"2 pictures in s3://{bucket.name}/art/mugs" in done.stdout
    assert len(bucket.objects()) == 3
    assert (tmp_path / "easel-output/mugs/contact-sheet.png").is_file()


@pytest.mark.s3
@pytest.mark.parametrize(
    ("changes", "variables", "code", "words"),
    [
        ({"bucket": "no-such-bucket"}, {}, 2, "spec.output.store.s3.bucket: the bucket does not exist"),
        ({}, {"AWS_SECRET_ACCESS_KEY": "wrong-secret-123"}, 3, "S3 refused the credentials"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_told_before_a_model_is_loaded(
    tmp_path: Path, bucket: Any, changes: dict[str, str], variables: dict[str, str], code: int, words: str
) -> None:
    store = {"s3": {"bucket": bucket.name, "endpoint": bucket.endpoint} | changes}
    done = run(small_job(tmp_path, output={"store": store}), code=code, **(bucket.environment | variables))
    assert words in done.stderr
    assert "wrong-secret" not in done.stderr
    assert "starting Triton" not in done.stdout


def test_a_model_folder_with_a_pickle_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(WEIGHTS / "base", model)
    (model / "weights.bin").write_bytes(b"\x80\x04.")
    documents = list(yaml.safe_load_all(small_job(tmp_path).read_text()))
    documents[0]["spec"]["model"]["source"] = "file://model"
    (tmp_path / "job.yaml").write_text(yaml.safe_dump_all(documents))
    done = run(tmp_path / "job.yaml", "--out", tmp_path / "out", code=2)
    assert "weights.bin" in done.stderr
