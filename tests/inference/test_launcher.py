"""The launcher: what Triton does not notice, it does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from asking import MINIATURE, request
from easel_cluster import processes
from streaming import Stream, status
from waiting import until

from easel_api.errors import EnvironmentFault, InvalidInput, QuotaExhausted, UnsafeModel
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_inference.engine.sources import BUILTINS, cached
from easel_inference.generation import Finished, ModelInfo
from easel_inference.serving import tritonserver
from easel_inference.serving.launcher import Exit, process_lives
from easel_inference.serving.local import start_local
from easel_inference.serving.settings import Settings
from easel_inference.serving.state import FetchState, State

PORTS = ("EASEL_GRPC_PORT", "EASEL_METRICS_PORT", "EASEL_HTTP_PORT")
PLAIN = ModelDeploymentSpec.model_validate({"model": {"source": "builtin://miniature"}})


def spec_of(**model: str) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": model})


def exited(server: Any) -> int:
    until(lambda: server.process.poll() is not None, "the launcher ends")
    return int(server.process.poll())


def pulse(state_dir: Path) -> Any:
    until(lambda: State(state_dir).pulse is not None, "the engine has a pulse")
    return State(state_dir).pulse


@pytest.mark.triton
def test_a_killed_stub_ends_the_launcher_and_the_hanging_stream(tmp_path: Path) -> None:
    with start_local(PLAIN, tmp_path, environment={"EASEL_THREADS": "1"}) as server:
        stream = Stream(server.endpoint).ask(request(steps=200))
        stream.until("step")
        assert status(f"{server.http_url}/livez") == 200
        os.kill(pulse(tmp_path).pid, signal.SIGKILL)
        assert exited(server) == Exit.DIED
        assert status(f"{server.http_url}/livez") == 0
        with pytest.raises(Exception, match=r"UNAVAILABLE|Socket closed|removed"):
            stream.result()
    assert not list(Path("/dev/shm").glob(f"easel-{server.process.pid}-*"))


@pytest.mark.triton
def test_a_killed_tritonserver_ends_the_launcher_its_stub_and_the_hanging_stream(tmp_path: Path) -> None:
    with start_local(PLAIN, tmp_path, environment={"EASEL_THREADS": "1"}) as server:
        stream = Stream(server.endpoint).ask(request(steps=200))
        stream.until("step")
        stub = pulse(tmp_path).pid
        triton = int(Path(f"/proc/{stub}/stat").read_text().rpartition(")")[2].split()[1])
        assert "tritonserver" in Path(f"/proc/{triton}/cmdline").read_text()
        os.kill(triton, signal.SIGKILL)
        assert exited(server) == Exit.DIED
        with pytest.raises(Exception, match=r"UNAVAILABLE|Socket closed|removed"):
            stream.result()
        until(lambda: not process_lives(stub), "the stub is gone too")


@pytest.mark.triton
def test_an_engine_that_stalls_ends_the_launcher(tmp_path: Path) -> None:
    with start_local(PLAIN, tmp_path, environment={"EASEL_THREADS": "1", "EASEL_STALL_SECONDS": "3"}) as server:
        stub = pulse(tmp_path).pid
        os.kill(stub, signal.SIGSTOP)
        assert exited(server) == Exit.DIED
        until(lambda: not process_lives(stub), "the stopped stub is gone too")
    assert b"the engine made no turn" in server.log.read_bytes()


@pytest.mark.triton
def test_a_drained_launcher_lets_items_finish_and_ends_well(tmp_path: Path) -> None:
    environment = {"EASEL_THREADS": "1"}
    with start_local(PLAIN, tmp_path, environment=environment, drain_seconds=60) as server:
        stream = Stream(server.endpoint).ask(request(steps=40))
        stream.until("step")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: status(f"{server.http_url}/readyz") != 200, "readiness ends")
        assert isinstance(stream.result().event, Finished)
        assert exited(server) == Exit.DRAINED


@pytest.mark.triton
def test_nothing_outlives_a_killed_launcher(tmp_path: Path) -> None:
    with start_local(PLAIN, tmp_path, environment={"EASEL_THREADS": "1"}) as server:
        stub = pulse(tmp_path).pid
        server.process.kill()
        until(lambda: not process_lives(stub), "the stub ends")
        until(lambda: not _listens(server.grpc_port), "tritonserver ends")


@pytest.mark.triton
@pytest.mark.parametrize(
    ("spoil", "error", "where"),
    [
        (lambda folder: (folder / "unet" / "x.bin").write_bytes(b"x"), UnsafeModel, "unet/x.bin"),
        (lambda folder: (folder / "tokenizer" / "vocab.json").write_text("{}"), InvalidInput, "tokenizer"),
    ],
)
def test_a_model_that_fails_to_load_is_a_typed_error(tmp_path: Path, spoil: Any, error: type, where: str) -> None:
    folder = Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))
    spoil(folder)
    with pytest.raises(error) as caught, start_local(spec_of(source=f"file://{folder}"), tmp_path / "state"):
        pytest.fail("served a spoilt model")
    assert caught.value.where == where


@contextmanager
def launched(tmp_path: Path, spec: dict[str, Any]) -> Iterator[str]:
    """The launcher as a pod runs it, with claims; yields its URL."""
    ports = processes.free_ports(3)
    environment = os.environ | {
        "EASEL_MODEL_DEPLOYMENT": json.dumps(spec),
        "EASEL_CLAIMS_DIR": str(tmp_path / "claims"),
        "EASEL_STATE_DIR": str(tmp_path / "state"),
        "EASEL_BIND": "127.0.0.1",
        "EASEL_GRPC_PORT": str(ports[0]),
        "EASEL_METRICS_PORT": str(ports[1]),
        "EASEL_HTTP_PORT": str(ports[2]),
        "EASEL_RETRY_SECONDS": "1",
        "EASEL_THREADS": "1",
    }
    launcher = subprocess.Popen([sys.executable, "-m", "easel_inference.serving"], env=environment)
    try:
        yield f"http://127.0.0.1:{ports[2]}"
    finally:
        launcher.terminate()
        assert launcher.wait(30) == Exit.DRAINED


def answers(url: str) -> tuple[int, int, int]:
    return status(f"{url}/livez"), status(f"{url}/readyz"), status(f"{url}/model")


@pytest.mark.triton
def test_a_failed_load_is_shown_and_tried_again(tmp_path: Path) -> None:
    """An empty claim: alive and not ready, with the reason; served once the claim is filled."""
    (tmp_path / "claims" / "models").mkdir(parents=True)
    with launched(tmp_path, {"model": {"source": "pvc://models/studio"}}) as url:
        until(lambda: _model(url).get("reason") == "NotFound", "the reason is shown", seconds=90)
        assert answers(url) == (200, 503, 503)
        shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "claims" / "models" / "studio")
        until(lambda: status(f"{url}/readyz") == 200, "the model serves", seconds=90)
        assert ModelInfo.model_validate(_model(url)).name == "pvc://models/studio"


@pytest.mark.triton
def test_a_model_that_is_fetched_beside_it_is_waited_for(tmp_path: Path) -> None:
    raw = {"model": {"source": "s3://models/studio"}, "cache": {"emptyDir": {"sizeLimit": "1Gi"}}}
    claims = tmp_path / "claims"
    (claims / ".cache").mkdir(parents=True)
    fetch = FetchState(claims / ".cache")
    with launched(tmp_path, raw) as url:
        until(lambda: "fetches the model" in _model(url).get("what", ""), "it says so")
        assert answers(url) == (200, 503, 503)
        fetch.failed(QuotaExhausted("the cache is full"))
        until(lambda: _model(url).get("reason") == "QuotaExhausted", "the reason is shown")
        assert answers(url) == (200, 503, 503)
        shutil.copytree(
            BUILTINS["builtin://miniature"],
            str(cached(ModelDeploymentSpec.model_validate(raw), "s3://models/studio", claims)),
        )
        fetch.succeeded()
        until(lambda: status(f"{url}/readyz") == 200, "the model serves", seconds=90)
        assert ModelInfo.model_validate(_model(url)).name == "s3://models/studio"


@pytest.mark.triton
@pytest.mark.parametrize("variable", PORTS)
def test_a_taken_port_is_named(tmp_path: Path, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = os.environ | {
            "EASEL_MODEL_DEPLOYMENT": '{"model": {"source": "builtin://miniature"}}',
            "EASEL_STATE_DIR": str(tmp_path),
            "EASEL_BIND": "127.0.0.1",
            **{name: str(free) for name, free in zip(PORTS, processes.free_ports(3), strict=True)},
            variable: str(port),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "easel_inference.serving"],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == Exit.WRONG
    assert f"port {port} ({variable})".encode() in ended.stderr
    assert b"Traceback" not in ended.stderr
    report = State(tmp_path).error
    assert report is not None
    assert report.reason == "EnvironmentFault"


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({}, "EASEL_MODEL_DEPLOYMENT"),
        ({"EASEL_MODEL_DEPLOYMENT": "{"}, "EASEL_MODEL_DEPLOYMENT"),
        ({"EASEL_MODEL_DEPLOYMENT": '{"model": {"source": "ftp://x"}}'}, "EASEL_MODEL_DEPLOYMENT.model.source"),
        ({"EASEL_MODEL_DEPLOYMENT": '{"model": {"source": "file:///m"}}', "EASEL_GRPC_PORT": "x"}, "EASEL_GRPC_PORT"),
    ],
)
def test_wrong_settings_name_the_variable(environment: dict[str, str], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Settings.from_environment(environment)
    assert caught.value.where == where


def test_a_missing_tritonserver_says_what_to_install() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        tritonserver.find({"EASEL_TRITONSERVER": "/no/such/tritonserver"})
    assert caught.value.where == "EASEL_TRITONSERVER"


def test_shared_memory_of_the_dead_is_removed_and_of_the_living_kept() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, living = (Path(f"/dev/shm/easel-{pid}-test") for pid in (gone.pid, os.getppid()))
    try:
        dead.touch()
        living.touch()
        tritonserver.clean_shared_memory()
        assert not dead.exists()
        assert living.exists()
    finally:
        living.unlink()


def test_settings_survive_their_way_to_the_stub(tmp_path: Path) -> None:
    settings = Settings(spec=MINIATURE, state_dir=tmp_path, threads=3)
    passed = tritonserver.stub_environment(tritonserver.Installation(Path("/opt/x/bin/tritonserver")), settings, {})
    assert Settings.from_environment(passed).spec == MINIATURE
    assert Settings.from_environment(passed).threads == 3


def _model(url: str) -> dict[str, Any]:
    try:
        return dict(json.loads(urllib3.request("GET", f"{url}/model", retries=False, timeout=30).data))
    except urllib3.exceptions.HTTPError:
        return {}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
