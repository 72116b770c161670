"""A model from a bucket into a cache, with a real S3 server and the miniature's own weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from easel_api.errors import Cancelled, EaselError, InvalidInput, NotFound, QuotaExhausted, UnsafeModel
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.s3 import S3Access
from easel_api.weights import said
from easel_inference import miniature
from easel_inference.artifacts.s3 import Listed, S3Store
from easel_inference.engine.folders import digest_of
from easel_inference.engine.inspection import check, check_model, weights_of
from easel_inference.engine.sources import model_folder
from easel_inference.serving import fetching
from easel_inference.serving.fetching import File, Progress, fetch, sources_of
from easel_inference.serving.state import FetchState

pytestmark = pytest.mark.s3

BASE = miniature.WEIGHTS / "base"


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def upload(bucket: Any, folder: Path = BASE, prefix: str = "sd/mini/") -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.client.upload_file(str(path), bucket.name, prefix + path.relative_to(folder).as_posix())


def spec_of(bucket: Any, **model: Any) -> ModelDeploymentSpec:
    source = {"source": f"s3://{bucket.name}/sd/mini", "s3": {"endpoint": bucket.endpoint}}
    return ModelDeploymentSpec.model_validate({"model": source | model, "cache": {"persistentVolumeClaim": "cache"}})


class Counted(S3Store):
    """Says what was downloaded."""

    def __init__(self, bucket: Any) -> None:
        super().__init__(S3Access(endpoint=bucket.endpoint), bucket.name, bucket.credentials, threading.Event())
        self.downloaded: list[str] = []

    def download(self, item: Listed, sink: Any) -> None:
        if sink.size < item.size:
            self.downloaded.append(item.key)
        super().download(item, sink)


def fetched(
    bucket: Any, claims: Path, spec: ModelDeploymentSpec | None = None, owner: str = "studio", but: str = ""
) -> list[str]:
    """What had to be downloaded; with `but` none may be."""
    (source,) = sources_of(spec or spec_of(bucket), claims)
    store = Counted(bucket)
    try:
        fetch(source, store, "sd/mini", owner, threading.Event())
    finally:
        assert not (but and store.downloaded)
    return store.downloaded


def whole(claims: Path) -> list[str]:
    """Folders in the cache that are whole."""
    return [path.name for path in claims.glob("cache/easel-models/*") if not path.name.startswith(".")]


def left(claims: Path) -> list[str]:
    """What is in the cache beside those and beside locks."""
    return [path.name for path in claims.glob("cache/easel-models/.*") if path.suffix != ".lock"]


def test_a_folder_is_there_as_it_was_uploaded_and_the_runtime_finds_it(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    bucket.client.put_object(Bucket=bucket.name, Key="sd/mini/unet/", Body=b"")  # some consoles' sign of a folder
    bucket.client.put_object(Bucket=bucket.name, Key="sd/miniature-of-another", Body=b"x")
    spec = spec_of(bucket, digest=digest_of(BASE))
    with pytest.raises(NotFound, match="was not fetched"):
        check(spec, tmp_path)
    assert fetched(bucket, tmp_path, spec)
    assert digest_of(model_folder(spec, tmp_path)) == digest_of(BASE)
    assert check(spec, tmp_path).model.digest == digest_of(BASE)
    assert left(tmp_path) == []
    assert fetched(bucket, tmp_path, spec) == [], "what is there is not fetched again"


def test_another_digest_is_refused_by_both_and_leaves_nothing(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    spec = spec_of(bucket, digest="sha256:" + "0" * 64)
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        fetched(bucket, tmp_path, spec)
    assert whole(tmp_path) == []
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        assert fetched(bucket, tmp_path, spec, but="downloads") == []
    (refusal,) = (tmp_path / "cache/easel-models").glob(".*.refused")
    os.utime(refusal, (0, 0))
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        fetched(bucket, tmp_path, spec)
    assert time.time() - refusal.stat().st_mtime < 600
    bucket.client.put_object(Bucket=bucket.name, Key="sd/mini/README.md", Body=b"changed")
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        fetched(bucket, tmp_path, spec)


def test_what_could_run_code_never_gets_into_the_cache(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    bucket.client.put_object(Bucket=bucket.name, Key="sd/mini/unet/pytorch_model.bin", Body=b"pickle")
    with pytest.raises(UnsafeModel):
        fetched(bucket, tmp_path, but="downloads")
    assert whole(tmp_path) == []


def test_what_a_wrong_specification_says_of_a_folder_leaves_it_to_those_that_serve_it(
    bucket: Any, tmp_path: Path
) -> None:
    upload(bucket)
    right, wrong = spec_of(bucket, digest=digest_of(BASE)), spec_of(bucket, digest=digest_of(BASE), family="Flux")
    fetched(bucket, tmp_path, right)
    inode = model_folder(right, tmp_path).stat().st_ino
    with pytest.raises(InvalidInput, match="another family"):
        fetched(bucket, tmp_path, wrong, but="downloads")
    assert model_folder(right, tmp_path).stat().st_ino == inode


def test_the_same_bucket_at_another_endpoint_is_another_folder(bucket: Any, tmp_path: Path) -> None:
    elsewhere = spec_of(bucket, s3={"endpoint": "https://s3.example.org"})
    assert sources_of(elsewhere, tmp_path)[0].folder != sources_of(spec_of(bucket), tmp_path)[0].folder


def test_a_file_that_is_longer_than_its_object_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345678")
    file = File(tmp_path / "a", 4, Progress("s3://models/sd", 4, threading.Event()))
    file.take(b"abcd")
    file.close()
    assert (tmp_path / "a").read_bytes() == b"abcd"


def test_of_two_pods_of_one_model_the_second_waits(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    (source,) = sources_of(spec_of(bucket), tmp_path)
    stop = threading.Event()
    with fetching._alone(source, "studio", stop):
        second = threading.Thread(target=fetched, args=(bucket, tmp_path))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert not source.folder.exists()
    second.join(30)
    assert source.folder.is_dir()


@pytest.mark.parametrize("key", ["../../escaped.json", "/etc/passwd", "a\nb", "a//b", ".", "a\\b", "unet"])
def test_a_key_that_is_no_path_in_the_folder_is_refused(key: str) -> None:
    listed = [Listed(f"sd/mini/{each}", 1, "e") for each in (key, "unet/config.json")]
    with pytest.raises(InvalidInput, match="no path in a folder") as caught:
        fetching._files("s3://x/sd/mini", listed, "sd/mini/")
    assert caught.value.found == key


def test_an_empty_prefix_is_named(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing is in the bucket") as caught:
        fetched(bucket, tmp_path)
    assert caught.value.where == f"s3://{bucket.name}/sd/mini"


def test_a_try_that_was_stopped_goes_on_where_it_was(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    (source,) = sources_of(spec_of(bucket), tmp_path)
    stop, store = threading.Event(), Counted(bucket)
    half = 0

    def download(item: Listed, sink: Any) -> None:
        nonlocal half
        half += 1
        if half == 4:
            sink.take(bucket.bytes_of(item.key)[:100])
            stop.set()
        Counted.download(store, item, sink)

    store.download = download  # type: ignore[method-assign]  # the fault
    with pytest.raises(Cancelled):
        fetch(source, store, "sd/mini", "studio", stop)
    before = store.downloaded
    again = fetched(bucket, tmp_path)
    assert set(again).isdisjoint(before[:3])
    assert digest_of(source.folder) == digest_of(BASE)


def test_a_source_that_changed_between_two_tries_is_not_mixed(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    (source,) = sources_of(spec_of(bucket), tmp_path)
    stop = threading.Event()
    store = Counted(bucket)
    store.download = lambda item, sink: stop.set() or Counted.download(store, item, sink)  # type: ignore[method-assign,func-returns-value]  # the fault
    with pytest.raises(Cancelled):
        fetch(source, store, "sd/mini", "studio", stop)
    assert len(left(tmp_path)) == 1
    config = json.loads((BASE / "unet/config.json").read_text()) | {"_note": "changed"}
    bucket.client.put_object(Bucket=bucket.name, Key="sd/mini/unet/config.json", Body=json.dumps(config).encode())
    fetched(bucket, tmp_path)
    assert json.loads((source.folder / "unet/config.json").read_text())["_note"] == "changed"
    assert left(tmp_path) == []


def test_a_cached_folder_that_is_not_what_it_was_is_fetched_anew(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    spec = spec_of(bucket, digest=digest_of(BASE))
    fetched(bucket, tmp_path, spec)
    weights = next(model_folder(spec, tmp_path).rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert fetched(bucket, tmp_path, spec)
    assert digest_of(model_folder(spec, tmp_path)) == digest_of(BASE)


def test_two_deployments_of_one_model_share_its_folder(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    threads = [
        threading.Thread(target=fetched, args=(bucket, tmp_path), kwargs={"owner": owner}) for owner in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (name,) = whole(tmp_path)
    assert digest_of(tmp_path / "cache/easel-models" / name) == digest_of(BASE)


def test_a_disk_that_has_no_room_is_named_before_the_download(bucket: Any, tmp_path: Path) -> None:
    (source,) = sources_of(spec_of(bucket), tmp_path)
    with pytest.raises(QuotaExhausted, match="the cache is full") as caught:
        fetching._check_room(source, tmp_path, {"a": Listed("a", 10**18, "e")})
    assert "1000000000.0 GB needed" in caught.value.found


def test_a_cache_of_a_replicas_own_is_never_filled_beyond_its_limit(bucket: Any, tmp_path: Path) -> None:
    """Kubelet would evict the pod, and the next one would download as much."""
    upload(bucket)
    wanted = sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file())
    for mib, refused in ((wanted // 2**20, True), (wanted // 2**20 + 1, False)):
        raw = {"model": {"source": f"s3://{bucket.name}/sd/mini", "s3": {"endpoint": bucket.endpoint}}}
        spec = ModelDeploymentSpec.model_validate(raw | {"cache": {"emptyDir": {"sizeLimit": f"{mib}Mi"}}})
        with pytest.raises(QuotaExhausted, match="needed for") if refused else nullcontext():
            assert fetched(bucket, tmp_path, spec, but="downloads" if refused else "")


def test_a_disk_that_fills_up_is_named(tmp_path: Path) -> None:
    # The device that answers every write with "no space left".
    full = File(Path("/dev/full"), 2**30, Progress("s3://models/sd", 1, threading.Event()))
    with pytest.raises(QuotaExhausted, match="the cache is full"):
        full.take(b"x" * 2**20)


COMMAND = [sys.executable, "-m", "easel_inference.serving.fetching"]


def variables(bucket: Any, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "claims/cache").mkdir(parents=True, exist_ok=True)
    told = {
        "EASEL_MODEL_DEPLOYMENT": spec_of(bucket).model_dump_json(by_alias=True, exclude_none=True),
        "EASEL_OWNER": "studio",
        "EASEL_CLAIMS_DIR": str(tmp_path / "claims"),
        "EASEL_CREDENTIALS_DIR": str(tmp_path / "none"),
        "EASEL_TERMINATION_LOG": str(tmp_path / "last-words"),
    }
    return os.environ | bucket.environment | told


def run(bucket: Any, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    told = variables(bucket, tmp_path) | environment
    return subprocess.run(COMMAND, env=told, capture_output=True, text=True, check=False, timeout=120)


def test_beside_a_replica_it_tries_until_all_is_there_and_then_rests(bucket: Any, tmp_path: Path) -> None:
    spec = ModelDeploymentSpec.model_validate(
        {
            "model": {"source": f"s3://{bucket.name}/sd/mini", "s3": {"endpoint": bucket.endpoint}},
            "cache": {"emptyDir": {"sizeLimit": "1Gi"}},
        }
    )
    environment = variables(bucket, tmp_path) | {
        "EASEL_MODEL_DEPLOYMENT": spec.model_dump_json(by_alias=True, exclude_none=True),
        "EASEL_BESIDE_REPLICA": "yes",
    }
    claims = Path(environment["EASEL_CLAIMS_DIR"])
    (claims / ".cache").mkdir(parents=True)
    state = FetchState(claims / ".cache")
    with subprocess.Popen(COMMAND, env=environment) as process:
        try:
            until(lambda: state.error is not None)
            assert state.error is not None
            assert state.error.reason == "NotFound", "an empty prefix"
            assert not state.done
            upload(bucket)
            until(lambda: state.done)
            assert state.error is None
            assert digest_of(model_folder(spec, claims)) == digest_of(BASE)
            assert process.poll() is None, "an end would be taken for a crash"
        finally:
            process.terminate()
        assert process.wait(10) == 0


def test_the_command_says_what_it_did(bucket: Any, tmp_path: Path) -> None:
    upload(bucket)
    done = run(bucket, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"s3://{bucket.name}/sd/mini is there" in done.stderr
    assert bucket.secret_key not in done.stderr
    weights = said((tmp_path / "last-words").read_text())
    assert weights == weights_of(check_model(BASE))
    assert weights is not None
    assert weights.denoisers > 1e6


@pytest.mark.parametrize(
    ("environment", "code", "reason"),
    [
        ({}, 2, NotFound),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, 3, EaselError),
        ({"EASEL_MODEL_DEPLOYMENT": "{}"}, 2, InvalidInput),
    ],
)
def test_the_commands_last_words_are_the_reason(
    bucket: Any, tmp_path: Path, environment: dict[str, str], code: int, reason: type[EaselError]
) -> None:
    done = run(bucket, tmp_path, **environment)
    assert done.returncode == code, done.stderr
    words = (tmp_path / "last-words").read_text()
    assert words.startswith("AuthConfig: spec.model.s3" if reason is EaselError else f"{reason.reason}: ")
    assert "Traceback" not in done.stderr
    assert "wrong" not in words.lower().replace("wrong way", "") or code == 2
