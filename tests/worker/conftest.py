"""A real Triton with the miniature for all tests here, and fresh buckets of the real S3 server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "emulators"))

from bought import Shop
from easel_emulators.base import Draw, Subject
from worker_pods import ACCOUNT, NAMESPACE, ROOT, Pods, objects_of

from easel_api.generationjob import GenerationJobSpec
from easel_api.generationjob import S3Store as S3Reference
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_inference.artifacts.s3 import Credentials, S3Store
from easel_inference.artifacts.stores import Store
from easel_inference.jobs.opening import Places, open_sources
from easel_inference.jobs.worker import Job, Worker
from easel_inference.serving.local import LocalServer, start_local

STUDIO = {
    "model": {"source": "builtin://miniature"},
    "adapters": [{"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}],
}


@dataclass(frozen=True)
class Served:
    """A running model and what it says it did."""

    server: LocalServer

    @property
    def endpoint(self) -> str:
        return self.server.endpoint

    def metric(self, name: str, labels: str = "") -> float:
        """A value from the engine's own metrics; 0 before its first."""
        text = urllib3.request("GET", self.server.metrics_url, timeout=10).data.decode()
        lines = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for found, value in lines if labels in found)

    def generations(self) -> float:
        return self.metric("easel_engine_generations_total", 'outcome="succeeded"')

    def cancelled(self) -> float:
        return self.metric("easel_engine_generations_total", 'outcome="cancelled"')

    def asked(self) -> float:
        """Results that were delivered, whether made or remembered."""
        return self.generations() + self.metric("easel_engine_reused_results_total")

    def running(self) -> float:
        return self.metric("easel_engine_running_requests")


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    spec = ModelDeploymentSpec.model_validate(STUDIO)
    with start_local(spec, tmp_path_factory.mktemp("serving")) as server:
        yield Served(server)


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket of the real server."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    client: Any

    @property
    def reference(self) -> S3Reference:
        return S3Reference(bucket=self.name, endpoint=self.endpoint)

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.access_key, self.secret_key)

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def store(self) -> S3Store:
        return S3Store(self.reference, self.name, self.credentials, threading.Event())

    def objects(self) -> dict[str, Any]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}

    def bytes_of(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture
def bucket(new_bucket: Callable[[], Bucket]) -> Bucket:
    return new_bucket()


@pytest.fixture(scope="session")
def new_bucket(s3_server: Any) -> Callable[[], Bucket]:
    """Makes fresh buckets."""
    return lambda: make_bucket(s3_server)


def make_bucket(s3_server: Any) -> Bucket:
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    name = f"easel-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(name, s3_server.endpoint, s3_server.access_key, s3_server.secret_key, client)


def make_spec(**fields: Any) -> GenerationJobSpec:
    base = {
        "task": "text-to-image",
        "backends": [{"modelDeployment": "studio-mini"}],
        "prompts": [{"text": "a red mug on a beach, front view"}],
        "parameters": {"steps": 4, "seeds": [1, 2, 3, 4]},
    }
    return GenerationJobSpec.model_validate(base | fields)


@pytest.fixture
def spec() -> Callable[..., GenerationJobSpec]:
    return make_spec


@pytest.fixture
def worker_for(tmp_path: Path) -> Callable[..., Worker]:
    """A worker of a job called `mugs` with its results below `mugs/`."""

    def build(spec: GenerationJobSpec, store: Store, **job: Any) -> Worker:
        places = Places(claims=tmp_path / "claims", credentials=tmp_path / "none", files=tmp_path)
        details = {"name": "mugs", "namespace": "art", "uid": "u-1", "folder": "mugs/"} | job
        return Worker(Job(spec=spec, **details), store, open_sources(spec, places, threading.Event()), time.monotonic)

    return build


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        pause.wait(0.05)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits for a condition with a deadline."""
    return wait_until


@pytest.fixture(scope="module")
def account(api_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a kubelet would mount as the service account."""
    kubectl, folder = api_server.kubectl, tmp_path_factory.mktemp("account")
    for crd in sorted((ROOT / "crds").glob("*.yaml")):
        kubectl("apply", "--server-side", "-f", str(crd))
    kubectl("wait", "--for=condition=Established", "crd/generationjobs.easel.dev", "--timeout=60s")
    kubectl.apply(*objects_of(NAMESPACE))
    (folder / "token").write_text(kubectl("create", "token", ACCOUNT, "-n", NAMESPACE))
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    data = config["clusters"][0]["cluster"]["certificate-authority-data"]
    (folder / "ca.crt").write_bytes(base64.b64decode(data))
    return folder


@pytest.fixture
def pods(api_server: Any, account: Path, serving: Any, bucket: Any, tmp_path: Path) -> Iterator[Pods]:
    (tmp_path / "account").symlink_to(account)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, value in bucket.environment.items():
        (credentials / name).write_text(value)
    made = Pods(api_server.kubectl, api_server.url, tmp_path, bucket, serving.endpoint)
    yield made
    made.kubectl("delete", "generationjobs", "--all", "-n", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def in_a_pod(api_server: Any) -> Iterator[None]:
    """Workers in this process find the API server as in a pod."""
    server = urlsplit(api_server.url)
    told = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def opened(
    api_server: Any,
    account: Path,
    s3_server: Any,
    in_a_pod: None,
    tmp_path_factory: pytest.TempPathFactory,
    new_bucket: Any,
) -> Iterator[Callable[..., contextlib.AbstractContextManager[Shop]]]:
    """Opens a shop with an emulator of a family."""

    @contextlib.contextmanager
    def open_shop(subject: Subject, draw: Draw | None = None) -> Iterator[Shop]:
        folder = tmp_path_factory.mktemp("shop")
        bucket = new_bucket()
        (folder / "credentials").mkdir()
        for name, value in bucket.environment.items():
            (folder / "credentials" / name).write_text(value)
        with subject.start(folder / "emulator", draw=draw) as emulator:
            shop = Shop(api_server.kubectl, account, bucket, folder, subject, emulator)
            shop.open()
            try:
                yield shop
            finally:
                api_server.kubectl("delete", "provider", shop.name, "-n", NAMESPACE)

    yield open_shop
    api_server.kubectl("delete", "generationjobs", "--all", "-n", NAMESPACE, "--wait=false")
