"""The real kube-apiserver, the real controllers, and the operator as a process."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "unit/operator/support"))
sys.path.insert(0, str(Path(__file__).parent))

from easel_cluster import processes, tools
from easel_cluster.apionly import ApiServer, temporary_api_server
from operating.place import Place
from operating.process import OperatorProcess
from operating.rights import grant

from easel_api.errors import EnvironmentFault
from easel_operator.adapters.kube.cluster import KubeCluster
from easel_operator.adapters.kube.transport import Transport

ROOT = Path(__file__).parents[3]

Start = Callable[..., OperatorProcess]
Connect = Callable[[], contextlib.AbstractAsyncContextManager[KubeCluster]]


def need_api_server(progress: Callable[[str], None]) -> None:
    """Skips what cannot be built here."""
    try:
        tools.ensure([*tools.API_TOOLS, "kube-controller-manager"], progress)
    except EnvironmentFault as fault:
        pytest.skip(f"cannot build a Kubernetes API server: {fault}")


def install_kinds(server: ApiServer) -> None:
    """Easel's kinds, established."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        server.kubectl("apply", "--server-side", "-f", str(path))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=90s")


@contextlib.contextmanager
def controlled_server(folder: Path, progress: Callable[[str], None]) -> Iterator[ApiServer]:
    """A server of our own with Kubernetes' controllers and Easel's kinds."""
    need_api_server(progress)
    with temporary_api_server(folder / "state", progress) as started:
        started.start_controllers("*", progress)
        install_kinds(started)
        yield started


@pytest.fixture(scope="package")
def server(progress: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of our own, since its controllers would meddle with other tests' objects."""
    with controlled_server(tmp_path_factory.mktemp("api"), progress) as started:
        yield started


@pytest.fixture
def still(api_server: ApiServer) -> Place:
    """A namespace in which nobody else changes an object: there are no controllers."""
    install_kinds(api_server)
    return Place(api_server.kubectl, f"still-{uuid.uuid4().hex[:8]}").make()


@pytest.fixture
def connect(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """The operator's own way to the API server of `still`."""
    # The library reads the variable when it is imported, and the operator's process has it from its start.
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(api_server.kubeconfig))

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[KubeCluster]:
        transport = await Transport.connect(50)
        try:
            yield KubeCluster(transport, "test")
        finally:
            await transport.close()

    return connected


def new_place(server: ApiServer) -> Place:
    return Place(server.kubectl, f"art-{uuid.uuid4().hex[:8]}").make()


@pytest.fixture
def place(server: ApiServer) -> Place:
    """A namespace for one test."""
    return new_place(server)


def configuration(place: Place, **changes: Any) -> dict[str, Any]:
    """A configuration file as the chart writes it, with ports that nobody uses."""
    metrics, health = processes.free_ports(2)
    return {
        "namespaces": [place.namespace],
        "leaseNamespace": place.namespace,
        "workerImage": "docker.io/easel/operator:dev",
        "workerResources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "runtimeProfiles": {"default": {"image": "docker.io/easel/runtime:dev"}},
        "metricsPort": metrics,
        "healthPort": health,
        "operatorPodSelector": {"podLabels": {"app.kubernetes.io/name": "easel-operator"}},
        "prometheusSelector": {"podLabels": {"app.kubernetes.io/name": "prometheus"}},
        "leaseTimes": {"duration": 3, "renewDeadline": 2, "retry": 0.3},
    } | changes


@pytest.fixture
def start(server: ApiServer, tmp_path: Path) -> Iterator[Start]:
    """Starts operators; none outlives its test."""
    started: list[OperatorProcess] = []

    def begin(place: Place, name: str = "operator", **changes: Any) -> OperatorProcess:
        kubeconfig, environment = changes.pop("kubeconfig", server.kubeconfig), changes.pop("environment", {})
        operator = OperatorProcess(configuration(place, **changes), kubeconfig, tmp_path, name, environment=environment)
        started.append(operator)
        return operator.start()

    yield begin
    for operator in started:
        operator.gone()


@pytest.fixture(scope="module")
def working(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace with an operator at work, for all tests of a module; it has the permissions it declares and no more."""
    place, folder = new_place(server), tmp_path_factory.mktemp("operator")
    operator = OperatorProcess(configuration(place), grant(place, server.kubeconfig, folder), folder).start()
    try:
        operator.ready().leads()
        yield place
        said = operator.log.read_text()
        assert "may not do this" not in said, said
        assert "a defect of the operator" not in said, said
    finally:
        operator.gone()
