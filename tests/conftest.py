"""The real servers that tests talk to, shared by a whole session and gone with it.

Nothing here is a double: `api_server` is kube-apiserver with etcd, `s3_server` an S3 server nobody here wrote, `cluster` a
node that runs pods. What is missing is built once (minutes, with progress) and kept in a cache folder.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "cluster"))

from easel_cluster import apionly, tools
from easel_cluster.s3 import S3Server

from easel_api.errors import EnvironmentFault


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line past pytest's capture: a build of minutes must not look like a hang."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {line}", flush=True)

    return report


def built(names: Iterable[str], report: Callable[[str], None]) -> None:
    """Build the named programs, or skip with the reason where this machine cannot."""
    try:
        tools.ensure(names, report)
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build {', '.join(names)}: {fault}")


@pytest.fixture(scope="session")
def api_server(progress: Callable[[str], None]) -> Iterator[apionly.ApiServer]:
    """A real kube-apiserver: `.kubeconfig`, `.url`, `.kubectl("get", "pods")`, `.start_controllers()`."""
    built(tools.API_TOOLS, progress)
    with (
        tempfile.TemporaryDirectory(prefix="easel-api-") as folder,
        apionly.temporary_api_server(Path(folder) / "state", progress) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def s3_server(progress: Callable[[str], None]) -> Iterator[S3Server]:
    """A real S3 server: `.endpoint`, `.access_key`, `.secret_key`, `.region`; boto3 with path-style addresses."""
    built(("versitygw",), progress)
    with (
        tempfile.TemporaryDirectory(prefix="easel-s3-") as folder,
        apionly.temporary_s3(Path(folder) / "state", progress) as server,
    ):
        yield server
