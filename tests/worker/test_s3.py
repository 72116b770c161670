"""The bucket store against a real S3 server, and what it says when something is wrong with it."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from easel_cluster import tools
from easel_cluster.toxiproxy import toxiproxy

from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, InvalidInput, NotFound
from easel_api.generationjob import S3Store as S3Reference
from easel_inference.artifacts import s3
from easel_inference.artifacts.s3 import Credentials, S3Store, read_credentials
from easel_inference.artifacts.stores import put_checked, read_back, sha256_of
from easel_inference.jobs.worker import generate_at

pytestmark = pytest.mark.s3


def store_of(bucket: Any, **changes: Any) -> S3Store:
    fields = {"credentials": bucket.credentials} | changes
    reference = S3Reference(bucket=fields.get("name", bucket.name), endpoint=fields.get("endpoint", bucket.endpoint))
    return S3Store(reference, reference.bucket, fields["credentials"], threading.Event())


def failure(store: S3Store) -> EaselError:
    with pytest.raises(EaselError) as caught:
        store.get("manifest.json", limit=100)
    with pytest.raises(EaselError) as written:
        store.put("a", b"1", "x/y")
    assert type(caught.value) is type(written.value)
    return caught.value


def test_what_is_put_is_there_with_its_type_and_hash(bucket: Any) -> None:
    data = os.urandom(300_000)
    put_checked(bucket.store(), "art/mugs/a.png", data, "image/png")
    head = bucket.client.head_object(Bucket=bucket.name, Key="art/mugs/a.png")
    assert head["ContentType"] == "image/png"
    assert bucket.store().get("art/mugs/a.png", limit=10**6) == data
    assert bucket.store().uri("art/mugs/a.png") == f"s3://{bucket.name}/art/mugs/a.png"


def test_an_object_that_is_missing_or_another_is_not_taken_for_it(bucket: Any) -> None:
    store, data = bucket.store(), b"12345678"
    store.put("a", data, "x/y")
    assert read_back(store, "a", 8, sha256_of(data))
    assert not read_back(store, "b", 8, sha256_of(data))
    assert not read_back(store, "a", 7, sha256_of(data[:7]))
    bucket.client.put_object(Bucket=bucket.name, Key="a", Body=b"87654321")
    assert not read_back(store, "a", 8, sha256_of(data))
    assert store.get("none", limit=10) is None


def test_an_object_that_is_too_large_is_not_read(bucket: Any) -> None:
    bucket.store().put("a", b"x" * 1000, "x/y")
    with pytest.raises(InvalidInput, match="larger than 999 bytes"):
        bucket.store().get("a", limit=999)


def test_a_missing_bucket_is_named(bucket: Any) -> None:
    error = failure(store_of(bucket, name="no-such-bucket"))
    assert isinstance(error, NotFound)
    assert error.where == "spec.output.store.s3.bucket"
    assert "no-such-bucket" in error.found
    assert "Create it" in error.fix


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_credentials_are_named_and_not_shown(bucket: Any, wrong: str) -> None:
    secret = "not-the-key-0123456789"
    error = failure(store_of(bucket, credentials=dataclasses.replace(bucket.credentials, **{wrong: secret})))
    assert isinstance(error, AuthConfig)
    assert error.where == "spec.output.store.s3.credentialsSecretRef"
    for text in (secret, bucket.secret_key, bucket.access_key):
        assert text not in str(error)
    assert secret not in repr(Credentials(secret, secret, secret))


def test_no_credentials_at_all_are_asked_for(bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    error = failure(store_of(bucket, credentials=None))
    assert isinstance(error, AuthConfig)
    assert "AWS_ACCESS_KEY_ID" in error.fix


def test_an_endpoint_that_is_away_is_tried_again_and_then_named(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_FIRST_WAIT_SECONDS", 0.01)
    error = failure(store_of(bucket, endpoint="http://127.0.0.1:9"))
    assert isinstance(error, EnvironmentFault)
    assert error.where == "spec.output.store.s3.endpoint"
    assert "http://127.0.0.1:9" in error.found
    assert "5 tries" in error.what


@pytest.mark.engine
@pytest.mark.triton
def test_a_job_sits_out_a_bucket_that_is_away_for_a_minute(
    bucket: Any, serving: Any, spec: Any, worker_for: Any, eventually: Any, progress: Any, tmp_path: Path
) -> None:
    program = tools.ensure(["toxiproxy"], progress)["toxiproxy"]
    with toxiproxy(program, urlsplit(bucket.endpoint).netloc, tmp_path) as proxy:
        away = store_of(bucket, endpoint=f"http://127.0.0.1:{proxy.port}")
        worker = worker_for(spec(parameters={"steps": 4, "seeds": list(range(9100, 9124))}), away)
        made: list[Any] = []

        def work() -> None:
            made.append(generate_at(worker, worker.claim(), serving.endpoint, "studio-mini", threading.Event()))

        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: any(key.endswith(".png") for key in bucket.objects()), "the first object")
        proxy.refuse()
        back = threading.Timer(60, proxy.serve)
        back.start()
        thread.join(180)
    assert made, "the job did not end"
    assert (made[0].succeeded, made[0].failed) == (24, 0)
    assert len([key for key in bucket.objects() if key.endswith(".png")]) == 24


def test_what_is_made_is_stored_though_the_worker_stops_while_the_bucket_is_away(
    bucket: Any, progress: Any, tmp_path: Path
) -> None:
    program = tools.ensure(["toxiproxy"], progress)["toxiproxy"]
    with toxiproxy(program, urlsplit(bucket.endpoint).netloc, tmp_path) as proxy:
        stop = threading.Event()
        reference = S3Reference(bucket=bucket.name, endpoint=f"http://127.0.0.1:{proxy.port}")
        store = S3Store(reference, bucket.name, bucket.credentials, stop)
        proxy.refuse()
        stop.set()
        threading.Timer(2, proxy.serve).start()
        store.put("paid", b"for", "x/y")
        proxy.refuse()
        with pytest.raises(EnvironmentFault):
            store.get("paid", limit=10)
    assert bucket.bytes_of("paid") == b"for"


def test_credentials_are_read_from_files(tmp_path: Path) -> None:
    assert read_credentials(tmp_path / "none") is None
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("key\n")
    with pytest.raises(AuthConfig, match="no AWS_SECRET_ACCESS_KEY"):
        read_credentials(tmp_path)
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("secret")
    assert read_credentials(tmp_path) == Credentials("key", "secret")
