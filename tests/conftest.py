"""The real servers that tests talk to, shared by a whole session and gone with it.

Nothing here is a double: `api_server` is kube-apiserver with etcd, `s3_server` an S3 server nobody here wrote, `cluster` a
node that runs pods. What is missing is built once (minutes, with progress) and kept in a cache folder. The node alone stays
up after a session, as `make e2e` or a person wants to look at it; `python -m easel_cluster down` takes it down.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent / "cluster"))

from easel_cluster import apionly, debian, tools
from easel_cluster import cluster as node_cluster
from easel_cluster.layout import State, default_state_folder
from easel_cluster.s3 import S3Server

from easel_api.errors import EnvironmentFault

# A deadline for an example measures the machine, not the code: two cores may be busy with something else.
hypothesis.settings.register_profile("easel", deadline=None)
hypothesis.settings.load_profile("easel")

NEEDED_TOOLS = {
    "api_server": tools.API_TOOLS,
    "s3_server": ("versitygw",),
    "gcs_program": ("fake-gcs-server",),
    "cluster": tools.NODE_TOOLS,
    "keda_programs": ("keda-operator", "keda-adapter"),
}
"""Fixtures, and the programs that each starts or hands out."""

RUNS_LAST = "test_node_leaves_no_trace.py"
"""Takes the node down, which the other tests of a session share."""

cannot_build = pytest.StashKey[dict[str, str]]()


def pytest_configure() -> None:
    """End in order when asked to, so that servers end, too; the shell of `make test` has its jobs ignore Ctrl-C until they say otherwise."""

    def end(*_: object) -> None:
        # Both may come: a terminal's to all at once, and then that of the shell. The second would end the ending.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(
                number, lambda *_: None
            )  # a program that is started then knows nothing of it, as it would of SIG_IGN
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests so that a shared node is taken down after its last use."""
    items.sort(key=lambda item: item.path.name == RUNS_LAST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build what the chosen tests need before the first one starts: a build of minutes is no test's time."""
    session.config.stash[cannot_build] = {}
    if session.config.option.collectonly:
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fixture, names in NEEDED_TOOLS.items():
        if fixture in used:
            try:
                tools.ensure(names, _progress(session.config))
            except EnvironmentFault as fault:
                session.config.stash[cannot_build][fixture] = str(fault)


def _progress(config: pytest.Config) -> Callable[[str], None]:
    """Print a line past pytest's capture: minutes of silence look like a hang."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {line}", flush=True)

    return report


def _skip_unless_built(request: pytest.FixtureRequest, fixture: str) -> None:
    reason = request.config.stash[cannot_build].get(fixture)
    if reason:
        pytest.skip(f"{fixture} cannot be built on this machine: {reason}")


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Prints a line past pytest's capture."""
    return _progress(pytestconfig)


@pytest.fixture(scope="session")
def api_server(request: pytest.FixtureRequest, progress: Callable[[str], None]) -> Iterator[apionly.ApiServer]:
    """A real kube-apiserver: `.kubeconfig`, `.url`, `.kubectl("get", "pods")`, `.start_controllers()`."""
    _skip_unless_built(request, "api_server")
    with (
        tempfile.TemporaryDirectory(prefix="easel-api-") as folder,
        apionly.temporary_api_server(Path(folder) / "state", progress) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest, progress: Callable[[str], None]) -> Iterator[S3Server]:
    """A real S3 server: `.endpoint`, `.access_key`, `.secret_key`, `.region`; boto3 with path-style addresses."""
    _skip_unless_built(request, "s3_server")
    with (
        tempfile.TemporaryDirectory(prefix="easel-s3-") as folder,
        apionly.temporary_s3(Path(folder) / "state", progress) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def gcs_program(request: pytest.FixtureRequest, progress: Callable[[str], None]) -> Path:
    """fake-gcs-server, for emulators whose account has a bucket of Google's; they run it."""
    _skip_unless_built(request, "gcs_program")
    return tools.ensure(("fake-gcs-server",), progress)["fake-gcs-server"]


@pytest.fixture(scope="session")
def azurite_program(progress: Callable[[str], None]) -> tools.NodeProgram:
    """Azurite, for emulators that leave results in a container of Azure; they run it."""
    try:
        return tools.packaged("azurite", progress)
    except EnvironmentFault as fault:
        pytest.skip(f"no Azurite: {fault}")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, progress: Callable[[str], None]) -> node_cluster.Cluster:
    """A real node with pods: `.kubeconfig`, `.kubectl(…)`, `.s3` (reachable from pods), `.ctr(…)`. Brought up when it is not."""
    _skip_unless_built(request, "cluster")
    try:
        node_cluster.need_root()
        debian.need_node_programs(progress)
    except EnvironmentFault as fault:
        pytest.skip(f"no node on this machine: {fault}")
    return node_cluster.up(State(default_state_folder()), progress)


@pytest.fixture(scope="session")
def prometheus_program(progress: Callable[[str], None]) -> Path:
    """Prometheus itself; `easel_cluster.prometheus` runs it."""
    try:
        return debian.unpacked("prometheus", "prometheus", progress)
    except EnvironmentFault as fault:
        pytest.skip(f"no Prometheus: {fault}")


@pytest.fixture(scope="session")
def keda_programs(request: pytest.FixtureRequest, progress: Callable[[str], None]) -> dict[str, Path]:
    """KEDA's operator and its adapter; `easel_cluster.keda` runs them."""
    _skip_unless_built(request, "keda_programs")
    return tools.ensure(("keda-operator", "keda-adapter"), progress)
